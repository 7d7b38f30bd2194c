"""Rendering through a distorting lens."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from raster_scenes import BACKENDS, DOUBLE, EACH_BACKEND, FACES, VERTICES, pinhole, sphere, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.lens import bend
from diffrender.meshes import Mesh, pack_meshes
from diffrender.raster import antialias, rasterize, soft_silhouette

pytestmark = EACH_BACKEND

LENS = torch.tensor([-0.25, 0.06, 2e-3, -3e-3, 0.004], dtype=DOUBLE)


def with_lens(camera: Camera, lens: Tensor = LENS) -> Camera:
    return dataclasses.replace(camera, distortion=lens)


def test_vertices_are_drawn_where_the_camera_projects_them(backend: str) -> None:
    mesh = sphere(2)
    camera = with_lens(pinhole((40, 44), focal=30.0, translation=(0.2, -0.3, 2.0)))
    found = rasterize(mesh, camera, backend=backend)
    pixels, depth = camera.project(mesh.vertices)
    torch.testing.assert_close(found.homogeneous[:, 2], depth)
    torch.testing.assert_close(found.homogeneous[:, :2] / depth[:, None], pixels)
    plain = rasterize(mesh, dataclasses.replace(camera, distortion=None), backend=backend)
    assert int((plain.face != found.face).sum()) > 50


def test_one_lens_for_each_image_of_a_ragged_batch(backend: str) -> None:
    meshes = [sphere(1), Mesh(VERTICES - torch.tensor([0, 0, 2.0]).double(), FACES)]
    camera = pinhole((20, 22), focal=20.0, translation=(0.0, 0.1, 2.2))
    lenses = torch.stack([LENS, -0.5 * LENS])
    batch = rasterize(pack_meshes(meshes), with_lens(camera, lenses), backend=backend)
    for b, mesh in enumerate(meshes):
        alone = rasterize(mesh, with_lens(camera, lenses[b]), backend=backend)
        torch.testing.assert_close(batch.depth[b], alone.depth, rtol=0, atol=1e-12)


def test_gradients_reach_the_lens(backend: str) -> None:
    """The card's cells: inside faces exactly, at silhouettes through the soft image."""
    base = pinhole((7, 8), focal=9.0)

    def render(vertices: Tensor, rows: Tensor, shift: Tensor, lens: Tensor):  # type: ignore[no-untyped-def]
        k = torch.cat([rows, base.intrinsics[2:]])
        camera = Camera(k, base.rotation, shift, base.size, lens)
        mesh = Mesh(vertices, FACES)
        found = rasterize(mesh, camera, with_distance=True, backend=backend)
        soft = soft_silhouette(mesh, camera, sigma=0.02, backend=backend)
        return found.bary, found.depth, found.distance, soft

    shift = torch.tensor([0.01, -0.02, 0.3], dtype=DOUBLE)
    leaves = [t.clone().requires_grad_() for t in (VERTICES, base.intrinsics[:2], shift, LENS)]
    assert torch.autograd.gradcheck(render, leaves, eps=1e-7, atol=1e-5)


def test_antialiasing_moves_with_the_lens(backend: str) -> None:
    """The covered area of a sphere against k1: slope by antialiasing and by a finer render."""
    mesh = sphere(2)
    fine = "native" if "native" in BACKENDS else "torch"

    def area(k1: Tensor, size: int, name: str) -> Tensor:
        lens = torch.cat([k1[None], torch.zeros(3, dtype=DOUBLE)])
        camera = with_lens(pinhole((size, size), focal=0.9 * size, translation=(0.6, 0, 3.0)), lens)
        found = rasterize(mesh, camera, backend=name)
        image = antialias(found.mask()[..., None], found, mesh, camera, backend=name)
        return image.sum() / size**2

    k1 = torch.tensor(-0.2, dtype=DOUBLE, requires_grad=True)
    (got,) = torch.autograd.grad(area(k1, 64, backend), k1)
    with torch.no_grad():
        up, down = area(k1 + 0.02, 256, fine), area(k1 - 0.02, 256, fine)
    assert got.item() == pytest.approx(float(up - down) / 0.04, rel=0.02)


def test_a_face_across_the_camera_plane_is_drawn_without_folding(backend: str) -> None:
    """A floor from behind the camera to far ahead: below the horizon floor, above it nothing."""
    rows = torch.linspace(-4.0, 40.0, 89, dtype=DOUBLE)
    vertices = torch.stack(
        [torch.tensor([x, 1.0, float(z)]).double() for z in rows for x in (-30, 30)]
    )
    steps = 2 * torch.arange(len(rows) - 1)[:, None]
    faces = torch.cat([steps + torch.tensor([0, 1, 2]), steps + torch.tensor([1, 3, 2])])
    mesh = Mesh(vertices.requires_grad_(), faces)
    camera = with_lens(pinhole((48, 48), focal=60.0), torch.tensor([-0.3, 0, 0, 0]).double())
    found = rasterize(mesh, camera, backend=backend)
    assert bool((found.face[:20] < 0).all())
    assert bool((found.face[32:] >= 0).all())
    (grad,) = torch.autograd.grad(found.depth.sum(), mesh.vertices)
    assert bool(torch.isfinite(grad).all())


def test_the_map_is_continuous_at_the_camera_plane(backend: str) -> None:
    k = pinhole((48, 48), focal=60.0).intrinsics
    z = torch.linspace(-0.05, 0.05, 2001, dtype=DOUBLE)
    points = torch.stack([torch.full_like(z, 0.7), torch.full_like(z, -0.2), z], -1)
    lens = torch.tensor([-0.3, 0, 2e-3, -3e-3], dtype=DOUBLE)
    moved = bend(points @ k.mT, k, lens)
    assert bool(torch.isfinite(moved).all())
    assert float(moved.diff(dim=0).abs().max()) < 0.01  # steps of z are 5e-5, K has 60
    assert torch.equal(moved[z <= 0], (points @ k.mT)[z <= 0])


def test_a_nan_in_the_lens_is_named(backend: str) -> None:
    lens = LENS.clone()
    lens[1] = torch.nan
    camera = with_lens(pinhole((8, 8), translation=(0, 0, 3.0)), lens)
    with pytest.raises(InputError, match="camera.distortion holds 1 NaN"):
        rasterize(sphere(0), camera, backend=backend)


def test_a_zero_lens_changes_nothing(backend: str) -> None:
    camera = pinhole((30, 31), focal=30.0, translation=(0.1, 0.2, 2.5))
    plain = rasterize(sphere(1), camera, backend=backend)
    lens = rasterize(sphere(1), with_lens(camera, LENS * 0), backend=backend)
    assert torch.equal(plain.face, lens.face)
    torch.testing.assert_close(plain.depth, lens.depth, rtol=0, atol=1e-12)
    assert float(weights(plain.depth.shape).sum()) > 0
