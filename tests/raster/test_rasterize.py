"""Visibility: fill rule, watertightness, order, the near plane, and broken inputs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from raster_scenes import (
    DOUBLE,
    EACH_BACKEND,
    flat_camera,
    flat_mesh,
    pinhole,
    random_square,
    rectangle,
    sphere,
    torus,
)

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch, pack_meshes
from diffrender.raster import rasterize

pytestmark = EACH_BACKEND


def test_convention_pixel_centres_lie_at_half(backend: str) -> None:
    """A vertex that OpenCV projects to integer (u, v) covers the pixel in column u, row v."""
    intrinsics = np.array([[50.0, 0.0, 15.3], [0.0, 52.0, 11.7], [0.0, 0.0, 1.0]])
    point = np.array([[(18.0 - 15.3) * 2.0 / 50.0, (10.0 - 11.7) * 2.0 / 52.0, 2.0]])
    pixel = cv2.projectPoints(point, np.zeros(3), np.zeros(3), intrinsics, None)[0].reshape(2)
    camera = Camera.from_intrinsics(torch.tensor(intrinsics), (24, 32), pixel_centres="integer")
    small = 0.4 / 50.0 * 2.0  # a triangle under one pixel wide around the point
    offsets = torch.tensor([[-1.0, -1.0, 0.0], [1.2, -1.0, 0.0], [0.0, 1.4, 0.0]], dtype=DOUBLE)
    vertices = torch.tensor(point) + small * offsets
    face = rasterize(Mesh(vertices, torch.tensor([[0, 1, 2]])), camera, backend=backend).face
    hit = (face[..., 0] >= 0).nonzero().tolist()
    np.testing.assert_allclose(pixel, [18.0, 10.0], atol=1e-9)
    assert hit == [[10, 18]]


def test_convention_top_left_edges_belong_to_the_face(backend: str) -> None:
    """A rectangle whose borders pass through pixel centres owns its top and left ones only."""
    face = rasterize(rectangle(2.5, 1.5, 5.5, 4.5), flat_camera((8, 8)), backend=backend).face
    rows, columns = (face[..., 0] >= 0).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (1, 3, 2, 4)
    assert len(rows) == 9


def test_convention_depth_is_z_and_bary_is_perspective_correct(backend: str) -> None:
    camera = pinhole((20, 30))
    mesh = Mesh(
        torch.tensor([[-1.0, -0.6, 2.0], [1.1, -0.5, 4.0], [0.1, 0.7, 3.0]], dtype=DOUBLE),
        torch.tensor([[0, 1, 2]]),
    )
    fragments = rasterize(mesh, camera, backend=backend)
    hit = fragments.face[..., 0] >= 0
    assert int(hit.sum()) > 50
    points = fragments.bary[hit][:, 0] @ mesh.vertices
    rows, columns = hit.nonzero(as_tuple=True)
    pixels, depth = camera.project(points)
    torch.testing.assert_close(pixels, torch.stack([columns, rows], -1).double() + 0.5)
    torch.testing.assert_close(depth, fragments.depth[hit][:, 0])
    assert bool((fragments.bary[~hit] == 0).all())
    assert bool((fragments.depth[~hit] == 0).all())


def test_convention_distance_is_in_pixels_and_negative_inside(backend: str) -> None:
    mesh = flat_mesh([(1.0, 1.0), (21.0, 1.0), (1.0, 21.0)], [(0, 1, 2)])
    fragments = rasterize(mesh, flat_camera((24, 24)), with_distance=True, backend=backend)
    assert fragments.distance is not None
    assert fragments.distance[4, 2, 0].item() == pytest.approx(-1.5)  # to the left edge
    assert fragments.distance[1, 9, 0].item() == pytest.approx(-0.5)  # to the top edge
    assert fragments.distance[9, 9, 0].item() == pytest.approx(-(22.0 - 19.0) / 2**0.5)
    assert fragments.distance[0, 0, 0].item() == 0.0
    assert rasterize(mesh, flat_camera((24, 24)), backend=backend).distance is None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_triangulated_square_is_hit_exactly_once(backend: str, seed: int) -> None:
    mesh = random_square(150, 40.0, np.random.default_rng(seed))
    face = rasterize(mesh, flat_camera((40, 40)), layers=2, backend=backend).face
    assert bool((face[..., 0] >= 0).all()), "a crack"
    assert bool((face[..., 1] < 0).all()), "a double hit"


def test_shared_edges_through_pixel_centres_are_hit_exactly_once(backend: str) -> None:
    """Vertices on pixel centres: rows, columns and diagonals of centres lie on shared edges."""
    steps = [0.5 + 3 * i for i in range(5)]
    points = [(x, y) for y in steps for x in steps]
    faces = []
    for j in range(4):
        for i in range(4):
            a = 5 * j + i
            faces += [(a, a + 1, a + 6), (a, a + 6, a + 5)]
    fragments = rasterize(
        flat_mesh(points, faces), flat_camera((14, 14)), layers=2, backend=backend
    )
    inside = fragments.face[:12, :12]
    assert bool((inside[..., 0] >= 0).all())
    assert bool((inside[..., 1] < 0).all())
    assert int((fragments.face[..., 0] >= 0).sum()) == 144


@pytest.mark.parametrize("make", [sphere, torus])
def test_rays_enter_and_leave_closed_meshes(backend: str, make) -> None:  # type: ignore[no-untyped-def]
    mesh = make()
    camera = pinhole((48, 48), focal=60.0, translation=(0.03, 0.02, 3.0))
    face = rasterize(mesh, camera, layers=6, backend=backend).face
    hits = (face >= 0).sum(-1)
    assert bool((hits % 2 == 0).all())
    corners = mesh.vertices[mesh.faces] + camera.translation
    facing = torch.linalg.det(corners) < 0  # outward normals look at the camera
    for layer in range(4):
        seen = face[..., layer]
        assert bool((facing[seen[seen >= 0]] == (layer % 2 == 0)).all())
    culled = rasterize(mesh, camera, layers=6, cull_backfaces=True, backend=backend).face
    assert bool(((culled >= 0).sum(-1) * 2 == hits).all())
    assert torch.equal(culled[..., 0], face[..., 0])


def test_layers_come_nearest_first_and_ties_go_to_the_lower_face(backend: str) -> None:
    near, far = rectangle(0, 0, 9, 9), rectangle(0, 0, 9, 9)
    vertices = torch.cat([far.vertices * 3.0, near.vertices, near.vertices * 2.0])
    faces = torch.cat([near.faces + 4 * i for i in range(3)])
    fragments = rasterize(Mesh(vertices, faces), flat_camera((8, 8)), layers=4, backend=backend)
    torch.testing.assert_close(fragments.depth[3, 5], torch.tensor([1.0, 2.0, 3.0, 0.0]).double())
    assert fragments.face[3, 5, 3] == -1
    twice = Mesh(near.vertices, torch.cat([near.faces, near.faces]))
    face = rasterize(twice, flat_camera((8, 8)), layers=2, backend=backend).face
    assert int(face[..., 0].max()) == 1
    assert bool((face[..., 1] == face[..., 0] + 2).all())


def test_a_ground_quad_behind_the_camera_fills_everything_below_the_horizon(backend: str) -> None:
    """1.6 m below the camera, from 50 m behind it to 10 km ahead: all rows below the horizon."""
    camera = pinhole((40, 60), focal=50.0, centre=(30.0, 17.0))
    z = torch.tensor([-50.0, -50.0, 10000.0, 10000.0], dtype=DOUBLE)
    x = torch.tensor([-50000.0, 50000.0, 50000.0, -50000.0], dtype=DOUBLE)
    vertices = torch.stack([x, torch.full_like(x, 1.6), z], dim=-1)
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    fragments = rasterize(mesh, camera, with_distance=True, backend=backend)
    hit = fragments.face[..., 0] >= 0
    assert not bool(hit[:17].any())
    assert bool(hit[17:].all())
    rows = torch.arange(17, 40, dtype=DOUBLE) + 0.5
    expected = (1.6 * 50.0 / (rows - 17.0))[:, None].expand(-1, 60)
    torch.testing.assert_close(fragments.depth[17:, :, 0], expected)
    assert fragments.distance is not None
    assert bool(torch.isfinite(fragments.distance).all())


def test_nothing_nearer_than_the_near_plane_is_drawn(backend: str) -> None:
    mesh = rectangle(0, 0, 8, 8)
    for depth, drawn in ((0.011, True), (0.009, False), (-1.0, False)):
        scaled = Mesh(mesh.vertices * depth, mesh.faces)
        face = rasterize(scaled, flat_camera((8, 8)), backend=backend).face
        assert bool((face >= 0).all()) == drawn
        assert bool((face >= 0).any()) == drawn


def test_degenerate_off_screen_and_empty_meshes_draw_nothing(backend: str) -> None:
    camera = flat_camera((8, 8))
    needle = flat_mesh([(1, 1), (4, 4), (7, 7)], [(0, 1, 2), (0, 0, 1), (2, 2, 2)])
    aside = rectangle(20, 20, 30, 30)
    empty = flat_mesh([(0, 0), (1, 0), (0, 1)], [])
    nothing = Mesh(torch.zeros(0, 3, dtype=DOUBLE), torch.zeros(0, 3, dtype=torch.int64))
    for mesh in (needle, aside, empty, nothing):
        face = rasterize(mesh, camera, layers=2, with_distance=True, backend=backend).face
        assert face.shape == (8, 8, 2)
        assert bool((face == -1).all())


def test_ragged_batches_equal_their_members(backend: str) -> None:
    members = [sphere(1), torus(), rectangle(-0.4, -0.3, 0.5, 0.2)]
    windows = torch.tensor([[0.0, 0, 24, 20], [4, 2, 20, 18], [8, 5, 18, 14]], dtype=DOUBLE)
    camera = pinhole((20, 24), translation=(0.0, 0.0, 3.0)).crop_resize(windows, (16, 18))
    batch = pack_meshes(members)
    together = rasterize(batch, camera, layers=2, backend=backend)
    assert together.face.shape == (3, 16, 18, 2)
    for i, mesh in enumerate(members):
        alone = rasterize(mesh, camera[i], layers=2, backend=backend)
        shifted = torch.where(alone.face >= 0, alone.face + batch.face_offsets[i], -1)
        assert torch.equal(together.face[i], shifted)
        torch.testing.assert_close(together.bary[i], alone.bary)
        torch.testing.assert_close(together.depth[i], alone.depth)


def test_one_mesh_under_many_cameras(backend: str) -> None:
    mesh = torus()
    windows = torch.tensor([[0.0, 0, 24, 20], [4, 2, 20, 18]], dtype=DOUBLE)
    camera = pinhole((20, 24), translation=(0.0, 0.0, 3.0)).crop_resize(windows, (16, 18))
    many = rasterize(mesh, camera, backend=backend)
    assert many.face.shape == (2, 16, 18, 1)
    torch.testing.assert_close(many.depth[1], rasterize(mesh, camera[1], backend=backend).depth)


def test_an_empty_batch_gives_empty_maps(backend: str) -> None:
    batch = MeshBatch.shared(torch.zeros(0, 8, 3, dtype=DOUBLE), torch.tensor([[0, 1, 2]]))
    assert rasterize(batch, flat_camera((4, 4)), backend=backend).face.shape == (0, 4, 4, 1)


def test_broken_inputs_are_named(backend: str) -> None:
    camera = pinhole((8, 8), translation=(0.0, 0.0, 3.0))
    mesh = sphere(1)
    vertices = mesh.vertices.clone()
    vertices[7, 1] = torch.nan
    with pytest.raises(InputError, match=r"meshes\.vertices holds 1 NaN .* at \(7, 1\)"):
        rasterize(Mesh(vertices, mesh.faces), camera, backend=backend)
    broken = Camera(camera.intrinsics, camera.rotation, camera.translation * torch.inf, (8, 8))
    with pytest.raises(InputError, match=r"camera\.translation holds"):
        rasterize(mesh, broken, backend=backend)
    batch = MeshBatch.shared(mesh.vertices.expand(2, -1, -1), mesh.faces)
    swapped = MeshBatch(
        batch.vertices, batch.faces.flip(0), batch.vertex_offsets, batch.face_offsets
    )
    with pytest.raises(InputError, match="outside its own mesh"):
        rasterize(swapped, camera, backend=backend)
    with pytest.raises(InputError, match="layers is 0"):
        rasterize(mesh, camera, layers=0, backend=backend)
    with pytest.raises(InputError, match=r"batch shape \(3,\) but there are 2 meshes"):
        rasterize(batch, camera.expand(3), backend=backend)
    with pytest.raises(InputError, match="camera is torch"):
        rasterize(mesh, camera.to(torch.float32), backend=backend)
    with pytest.raises(InputError, match="backend is 'opengl'"):
        rasterize(mesh, camera, backend="opengl")
