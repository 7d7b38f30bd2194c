"""Batches cut in several ways: edge tables that follow the cut, and rows that fit every mesh."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import DOUBLE, NEEDS_NATIVE, pinhole

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import MeshBatch
from diffrender.raster import (
    interpolate,
    interpolate_derivatives,
    rasterize,
    rasterize_points,
    render_attributes,
    render_silhouette_depth,
    soft_shade,
)

BOTH = pytest.mark.parametrize("backend", [pytest.param("native", marks=NEEDS_NATIVE), "torch"])
CAMERA = pinhole((32, 32), focal=20.0)
FACES = torch.tensor([[0, 1, 2], [4, 5, 6]])


def batch(cut: int, faces: torch.Tensor = FACES) -> MeshBatch:
    """Two triangles and a vertex between them that either mesh may own."""
    vertices = [[-0.51, -0.52, 1.0], [0.5, -0.53, 1.0], [0.0, 0.54, 1.0], [9.0, 9.0, 9.0],
                [-0.3, -0.37, 1.0], [0.33, -0.31, 1.0], [0.02, 0.35, 1.0]]  # fmt: skip
    ends = (torch.tensor([0, cut, 7]), torch.tensor([0, 1, 2]))
    return MeshBatch(torch.tensor(vertices, dtype=DOUBLE), faces, *ends)


@BOTH
def test_other_offsets_of_the_same_faces_are_seen(backend: str) -> None:
    fresh = render_silhouette_depth(batch(4, FACES.clone()), CAMERA, backend=backend)[0]
    render_silhouette_depth(batch(3), CAMERA, backend=backend)
    again = render_silhouette_depth(batch(4), CAMERA, backend=backend)[0]
    assert torch.equal(again, fresh)
    moved = batch(3)
    render_silhouette_depth(moved, CAMERA, backend=backend)
    moved.vertex_offsets[1] = 4  # in place: the faces know nothing of it
    assert torch.equal(render_silhouette_depth(moved, CAMERA, backend=backend)[0], fresh)


@NEEDS_NATIVE
def test_offsets_changed_in_place_are_seen_by_whole_pictures() -> None:
    values, moved = torch.ones(7, 1, dtype=DOUBLE), batch(3)
    fresh = render_attributes(values, batch(4, FACES.clone()), CAMERA)
    render_attributes(values, moved, CAMERA)
    moved.vertex_offsets[1] = 4
    assert torch.equal(render_attributes(values, moved, CAMERA), fresh)


@BOTH
def test_rows_for_all_need_meshes_of_one_size(backend: str) -> None:
    """Six vertices are twice three, but not where the meshes have two and four of them."""
    camera = pinhole((8, 8))
    vertices = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) + 1
    faces = torch.tensor([[0, 1, 1], [2, 3, 4]])
    ragged = MeshBatch(vertices, faces, torch.tensor([0, 2, 6]), torch.tensor([0, 1, 2]))
    equal = MeshBatch(
        vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([0, 3, 6]), ragged.face_offsets
    )
    values = torch.rand(3, 2, dtype=DOUBLE)
    found = rasterize(ragged, camera, backend=backend)
    with pytest.raises(InputError, match=r"attributes has 3 rows for all 2 meshes.*2 to 4 vert"):
        render_attributes(values, ragged, camera, backend=backend)
    for draw in (
        lambda: interpolate(values, found, backend=backend),
        lambda: interpolate_derivatives(values, found),
        lambda: soft_shade(values, ragged, camera, backend=backend),
    ):
        with pytest.raises(InputError, match=r"one row for each of the 6 packed vertices"):
            draw()
    assert render_attributes(values, equal, camera, backend=backend).shape == (2, 8, 8, 2)
    # Corners ask for as many faces each, which these have.
    corners = torch.rand(1, 3, 2, dtype=DOUBLE)
    assert interpolate(corners, found, backend=backend).shape == (2, 8, 8, 2)


@BOTH
def test_radii_for_all_need_clouds_of_one_size(backend: str) -> None:
    camera = pinhole((8, 8))
    generator = torch.Generator().manual_seed(0)
    two, four, three = (torch.rand(n, 3, generator=generator, dtype=DOUBLE) + 1 for n in (2, 4, 3))
    radii = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match=r"radius has shape \(3,\).*clouds of N points each"):
        rasterize_points([two, four], camera, radius=radii, backend=backend)
    with pytest.raises(InputError, match=r"radius has shape \(2,\)"):  # half a cloud
        rasterize_points(four, camera, radius=radii[:2], backend=backend)
    both = rasterize_points([three, three], camera, radius=radii, backend=backend)
    assert torch.equal(both.depth[0], both.depth[1])
    # One for each point of a ragged batch serves every row of cameras.
    each = torch.tensor([1.0, 2.0, 1.0, 2.0, 3.0, 1.0])
    grid = camera.expand(3, 2)
    seen = rasterize_points([two, four], grid, radius=each, backend=backend)
    row = Camera(camera.intrinsics, camera.rotation, camera.translation, camera.size)
    alone = rasterize_points([two, four], row, radius=each, backend=backend)
    assert all(torch.equal(seen.depth[i], alone.depth) for i in range(3))
