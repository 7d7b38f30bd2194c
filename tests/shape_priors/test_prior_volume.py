"""Voxels and overlaps against shapes whose volume is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.shape_priors import load_prior, volumetric_iou, voxel_occupancy

# Corners of a cube in binary order (x slowest), faces outward.
_CORNERS = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]).double()
_CUBE = torch.tensor(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip


def _box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Tensor:
    start, end = torch.tensor(low).double(), torch.tensor(high).double()
    return start + _CORNERS * (end - start)


def _sphere(radius: float) -> tuple[Tensor, Tensor]:
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return torch.tensor(ball.vertices), torch.tensor(ball.faces)


def test_cube_fills_exactly_its_voxels() -> None:
    cube = _box((0.25, 0.0, 0.5), (0.75, 0.5, 1.0))
    grid = voxel_occupancy(cube, _CUBE, torch.zeros(3), torch.ones(3), (8, 4, 2))
    expected = torch.zeros(8, 4, 2, dtype=torch.bool)
    expected[2:6, 0:2, 1] = True
    assert torch.equal(grid, expected)


def test_sphere_agrees_with_the_distance_of_every_centre() -> None:
    vertices, faces = _sphere(1.0)
    n = 40
    grid = voxel_occupancy(vertices, faces, -torch.ones(3) * 1.2, torch.ones(3) * 1.2, (n, n, n))
    centre = (torch.arange(n) + 0.5) * (2.4 / n) - 1.2
    radius = torch.stack(torch.meshgrid(centre, centre, centre, indexing="ij"), -1).norm(dim=-1)
    clear = (radius - 1).abs() > 0.01  # the mesh is a polyhedron within the sphere
    assert torch.equal(grid[clear], (radius < 1)[clear])
    volume = float(grid.sum()) * (2.4 / n) ** 3
    assert volume == pytest.approx(4 / 3 * math.pi, rel=0.01)


def test_overlapping_closed_parts_are_solid() -> None:
    both = torch.cat([_box((0, 0, 0), (2, 1, 1)), _box((1, 0, 0), (3, 1, 1))])
    faces = torch.cat([_CUBE, _CUBE + 8])
    grid = voxel_occupancy(both, faces, torch.zeros(3), torch.tensor([4.0, 1, 1]), (8, 2, 2))
    assert grid[:, 0, 0].tolist() == [True] * 6 + [False] * 2
    inside_out = voxel_occupancy(
        both, faces.flip(1), torch.zeros(3), torch.tensor([4.0, 1, 1]), (8, 2, 2)
    )
    assert torch.equal(grid, inside_out)


def test_iou_of_boxes() -> None:
    one, shifted = _box((0, 0, 0), (4, 1, 1)), _box((1, 0, 0), (5, 1, 1))
    assert volumetric_iou(one, _CUBE, shifted, _CUBE, (100, 8, 8)) == pytest.approx(3 / 5)
    assert volumetric_iou(one, _CUBE, one, _CUBE) == 1.0
    apart = _box((6, 0, 0), (7, 1, 1))
    assert volumetric_iou(one, _CUBE, apart, _CUBE) == 0.0


def test_iou_of_spheres() -> None:
    small, faces = _sphere(1.0)
    assert volumetric_iou(small, faces, small * 1.25, faces, (64, 64, 64)) == pytest.approx(
        0.8**3, abs=0.01
    )


def test_car_volume_is_that_of_its_surface() -> None:
    car = load_prior("car")
    vertices = car.mesh().vertices
    a, b, c = vertices[car.faces].unbind(1)
    surface_volume = float((a * torch.linalg.cross(b, c)).sum() / 6)
    low, high = vertices.amin(0), vertices.amax(0)
    grid = voxel_occupancy(vertices, car.faces, low, high, (96, 48, 48))
    share = float(grid.double().mean())
    assert share * float((high - low).prod()) == pytest.approx(surface_volume, rel=0.01)


def test_open_and_empty_inputs_are_refused() -> None:
    cube = _box((0, 0, 0), (1, 1, 1))
    with pytest.raises(InputError, match="not closed"):
        voxel_occupancy(cube, _CUBE[2:], torch.zeros(3), torch.ones(3))
    with pytest.raises(InputError, match="is empty"):
        voxel_occupancy(cube, _CUBE, torch.zeros(3), torch.zeros(3))
    with pytest.raises(InputError, match="resolution"):
        voxel_occupancy(cube, _CUBE, torch.zeros(3), torch.ones(3), (4096, 4096, 4096))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_vertices_that_are_no_numbers_are_refused(value: float) -> None:
    points = _box((0, 0, 0), (1, 1, 1))
    points[3, 1] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        voxel_occupancy(points, _CUBE, torch.zeros(3), torch.ones(3), (4, 4, 4))
