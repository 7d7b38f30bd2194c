"""Leading dimensions, tensors instead of meshes, and precision."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import EACH_BACKEND, pinhole, sphere, torus

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import MeshBatch, pack_meshes
from diffrender.raster import antialias, interpolate, rasterize, soft_silhouette

pytestmark = EACH_BACKEND
FLOAT = torch.float32


def cameras(*batch: int) -> Camera:
    """A grid of cameras (..., ) at distances that all differ."""
    base = pinhole((20, 24), focal=30.0, dtype=FLOAT)
    count = int(torch.tensor(batch).prod())
    shift = torch.zeros(count, 3)
    shift[:, 2] = torch.linspace(2.5, 4.0, count)
    grid = base.expand(*batch)
    return Camera(grid.intrinsics, grid.rotation, shift.view(*batch, 3), base.size)


def test_one_mesh_under_a_grid_of_cameras(backend: str) -> None:
    mesh, grid = sphere(1, FLOAT), cameras(2, 3)
    found = rasterize(mesh, grid, layers=2, backend=backend)
    assert found.face.shape == (2, 3, 20, 24, 2)
    assert found.bary.shape == (2, 3, 20, 24, 2, 3)
    colours = mesh.vertices.abs()
    image = antialias(interpolate(colours, found, backend=backend), found, mesh, grid,
                      backend=backend)  # fmt: skip
    alpha = soft_silhouette(mesh, grid, backend=backend)
    for i in range(2):
        for j in range(3):
            single = Camera(
                grid.intrinsics[i, j], grid.rotation[i, j], grid.translation[i, j], grid.size
            )
            alone = rasterize(mesh, single, layers=2, backend=backend)
            assert torch.equal(alone.depth, found.depth[i, j])
            one = interpolate(colours, alone, backend=backend)
            one = antialias(one, alone, mesh, single, backend=backend)
            assert torch.equal(one, image[i, j])
            assert torch.equal(soft_silhouette(mesh, single, backend=backend), alpha[i, j])


def test_tensors_broadcast_with_the_cameras(backend: str) -> None:
    mesh, grid = sphere(1, FLOAT), cameras(3)
    sizes = torch.tensor([1.0, 0.8])[:, None, None, None]
    vertices = (mesh.vertices * sizes).requires_grad_()  # (2, 1, V, 3)
    found = rasterize((vertices, mesh.faces), grid, backend=backend)
    assert found.face.shape == (2, 3, 20, 24, 1)
    covered = (found.face >= 0).flatten(2).sum(-1)
    assert (covered[0] > covered[1]).all()
    (grad,) = torch.autograd.grad(found.depth.sum(), vertices)
    assert grad.shape == vertices.shape
    assert bool(grad.isfinite().all())
    assert float(grad.abs().sum()) > 0


def test_a_ragged_batch_seen_by_several_cameras_each(backend: str) -> None:
    batch, grid = pack_meshes([sphere(1, FLOAT), torus(FLOAT)]), cameras(3, 2)
    found = rasterize(batch, grid, backend=backend)
    assert found.face.shape == (3, 2, 20, 24, 1)
    for i in range(3):
        row = Camera(grid.intrinsics[i], grid.rotation[i], grid.translation[i], grid.size)
        assert torch.equal(rasterize(batch, row, backend=backend).depth, found.depth[i])
    assert isinstance(batch.repeat(2), MeshBatch)
    assert len(batch.repeat(2)) == 4


def test_shapes_that_do_not_broadcast_are_refused(backend: str) -> None:
    mesh = sphere(1, FLOAT)
    with pytest.raises(InputError, match="do not broadcast"):
        rasterize((mesh.vertices.expand(2, -1, -1), mesh.faces), cameras(3), backend=backend)
    with pytest.raises(InputError, match="2 meshes"):
        rasterize(pack_meshes([mesh, mesh]), cameras(3), backend=backend)
    with pytest.raises(InputError, match="expected Mesh"):
        rasterize([mesh], cameras(3), backend=backend)  # type: ignore[arg-type]


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32_and_returns_what_came(
    backend: str, half: torch.dtype
) -> None:
    mesh = sphere(1, FLOAT)
    camera = pinhole((20, 24), focal=30.0, translation=(0.0, 0.0, 3.0), dtype=FLOAT)
    vertices = mesh.vertices.to(half).requires_grad_()
    found = rasterize((vertices, mesh.faces), camera, backend=backend)
    exact = rasterize((vertices.detach().float(), mesh.faces), camera, backend=backend)
    assert found.bary.dtype == found.depth.dtype == half
    assert torch.equal(found.face, exact.face)
    assert torch.equal(found.depth, exact.depth.to(half))
    image = interpolate(torch.ones(len(vertices), 2, dtype=half), found, backend=backend)
    smooth = antialias(image, found, (vertices, mesh.faces), camera, backend=backend)
    alpha = soft_silhouette((vertices, mesh.faces), camera, backend=backend)
    assert image.dtype == smooth.dtype == alpha.dtype == half
    (grad,) = torch.autograd.grad(smooth.float().sum() + alpha.float().sum(), vertices)
    assert grad.dtype == half
    assert float(grad.float().abs().sum()) > 0


def test_autocast_changes_nothing(backend: str) -> None:
    mesh = sphere(1, FLOAT)
    camera = pinhole((20, 24), focal=30.0, translation=(0.0, 0.0, 3.0), dtype=FLOAT)
    outside = rasterize(mesh, camera, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rasterize(mesh, camera, backend=backend)
        assert torch.is_autocast_enabled("cpu")
    assert inside.depth.dtype == FLOAT
    assert torch.equal(inside.depth, outside.depth)


def test_a_double_derivative_is_refused_and_not_wrong(backend: str) -> None:
    if backend == "torch":
        pytest.skip("plain torch can differentiate twice")
    mesh = sphere(1, FLOAT)
    camera = pinhole((20, 24), focal=30.0, translation=(0.0, 0.0, 3.0), dtype=FLOAT)
    vertices = mesh.vertices.clone().requires_grad_()
    depth = rasterize((vertices, mesh.faces), camera, backend=backend).depth
    (first,) = torch.autograd.grad(depth.square().sum(), vertices, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first.sum(), vertices)


def test_what_inference_mode_left_behind_does_not_stop_training(backend: str) -> None:
    camera = cameras(2)
    with torch.inference_mode():
        base = sphere(0, FLOAT)
        found = rasterize(base, camera, backend=backend)
        antialias(found.depth, found, base, camera, backend=backend)
    mesh = sphere(0, FLOAT)
    for faces in (base.faces, mesh.faces):
        vertices = mesh.vertices.clone().requires_grad_()
        pair = (vertices, faces.clone())
        found = rasterize(pair, camera, backend=backend)
        antialias(found.depth, found, pair, camera, backend=backend).sum().backward()
        assert vertices.grad is not None and float(vertices.grad.abs().sum()) > 0
