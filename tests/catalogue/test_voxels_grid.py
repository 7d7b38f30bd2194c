"""The voxel grid: which cubes are filled, their colours, and reading them along rays."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import Light, Scene, Triangles
from diffrender.catalogue.voxels._grid import VoxelGrid, as_grid, voxelize
from diffrender.catalogue.voxels._rays import (
    box_depths,
    pixel_rays,
    sample_box,
    sample_grid,
    shared_out,
    stop_chances,
)
from diffrender.catalogue.voxels._solids import filled_share, thicken_open_parts
from diffrender.errors import InputError

CORNERS = torch.tensor(
    [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]
).float()
SIDES = torch.tensor(
    [[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [0, 1, 5], [0, 5, 4]]
    + [[2, 3, 7], [2, 7, 6], [1, 2, 6], [1, 6, 5], [0, 4, 7], [0, 7, 3]]
)
SHEET = (
    torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]]),
    torch.tensor([[0, 1, 2], [2, 1, 3]]),
)


def lit(mesh: Triangles) -> Scene:
    """Under ambient light alone: radiance is the colour."""
    light = Light(torch.tensor([0.0, -1.0, 0.0]), torch.zeros(3), torch.ones(3))
    return Scene(mesh, light, torch.tensor([0.1, 0.2, 0.3]))


def camera(size: tuple[int, int] = (6, 8)) -> Camera:
    """At (0.4, 0.6, -3), looking along z."""
    focal = 1.5 * size[0]
    k = torch.tensor([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]])
    return Camera(k, torch.eye(3), torch.tensor([-0.4, -0.6, 3.0]), size)


def some_grid(dtype: torch.dtype = torch.float32) -> VoxelGrid:
    generator = torch.Generator().manual_seed(3)
    filled = torch.rand(3, 4, 5, generator=generator, dtype=dtype)
    colours = torch.rand(3, 4, 5, 3, generator=generator, dtype=dtype)
    return VoxelGrid(torch.tensor([-0.5, -0.25, 0.5], dtype=dtype), 0.25, filled, colours)


def test_cube_fills_its_volume() -> None:
    low = torch.full((3,), -0.5)
    shares = filled_share(CORNERS, SIDES, low, 0.25, (8, 8, 8))
    assert shares[2:6, 2:6, 2:6].eq(1).all()
    assert shares.sum() == 64
    # A grid shifted by half a voxel has faces half filled, edges to a quarter, corners an eighth.
    shifted = filled_share(CORNERS, SIDES, low - 0.125, 0.25, (8, 8, 8))
    assert shifted.sum() == 64
    assert sorted(shifted.unique().tolist()) == [0, 0.125, 0.25, 0.5, 1]


def test_axes_of_a_grid_are_z_y_x() -> None:
    flat = CORNERS * torch.tensor([4.0, 2.0, 1.0])
    scene = voxelize(lit(Triangles(flat, SIDES, torch.ones(8, 3))), 8)
    depth, height, width = as_grid(scene).occupancy.shape
    assert depth < height < width


def test_open_sheets_get_a_thickness_below_their_front() -> None:
    vertices = torch.cat([CORNERS + 3, SHEET[0]])
    solid, faces = thicken_open_parts(vertices, torch.cat([SIDES, SHEET[1] + 8]), 0.5)
    assert len(faces) == 12 + 2 * 8  # the cube as it was, and two prisms
    low, edge = torch.tensor([-0.5, -0.75, -0.5]), 0.25
    shares = filled_share(solid, faces, low, edge, (8, 8, 8))
    # The front of the sheet looks along -y, as the floor does: it is filled from 0 to +0.5.
    assert shares[2:6, 3:5, 2:6].eq(1).all()
    assert shares.sum() == pytest.approx(32)


def test_triangle_soup_counts_as_sheets() -> None:
    soup = CORNERS[SIDES].reshape(-1, 3)
    solid, faces = thicken_open_parts(soup, torch.arange(36).view(12, 3), 0.25)
    assert len(faces) == 12 * 8
    shares = filled_share(solid, faces, torch.full((3,), -0.5), 0.25, (8, 8, 8))
    assert shares[2, 2, 2] == 1
    assert shares[3:5, 3:5, 3:5].eq(0).all()  # hollow


def test_baked_colours_are_those_of_the_nearest_surface() -> None:
    left, right = CORNERS.clone(), CORNERS + torch.tensor([2.0, 0, 0])
    red = torch.tensor([[1.0, 0, 0]]).expand(8, 3)
    mesh = Triangles(
        torch.cat([left, right]), torch.cat([SIDES, SIDES + 8]), torch.cat([red, red.flip(1)])
    )
    grid = as_grid(voxelize(lit(mesh), 24))
    points = torch.tensor([[0.5, 0.5, 0.01], [2.5, 0.5, 0.01], [0.5, -0.1, 0.5]])
    colours = sample_grid(grid, points)[1]
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1], [1, 0, 0]])  # the last a voxel outside
    torch.testing.assert_close(colours, expected, atol=1e-4, rtol=0)


def test_baked_colours_are_differentiable_to_the_light_and_colours() -> None:
    colours = torch.full((8, 3), 0.5, requires_grad=True)
    grid = as_grid(voxelize(lit(Triangles(CORNERS, SIDES, colours)), 6))
    grid.colours.sum().backward()
    assert colours.grad is not None
    assert (colours.grad > 0).all()


def test_a_prepared_scene_stays_as_it_is() -> None:
    scene = voxelize(lit(Triangles(CORNERS, SIDES, torch.ones(8, 3))), 6)
    assert voxelize(scene, 12) is scene


def test_trilinear_sampling_is_exact_on_a_linear_field() -> None:
    grid = some_grid(torch.float64)
    z, y, x = torch.meshgrid(*(torch.arange(n).double() for n in (3, 4, 5)), indexing="ij")
    middles = grid.low + 0.25 * (torch.stack([x, y, z], dim=-1) + 0.5)
    slope = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    linear = dataclasses.replace(grid, occupancy=middles @ slope, colours=middles)
    generator = torch.Generator().manual_seed(0)
    inner = torch.rand(50, 3, generator=generator, dtype=torch.float64)
    points = grid.low + 0.125 + inner * (torch.tensor([5, 4, 3]) - 1) * 0.25
    occupancy, colours = sample_grid(linear, points)
    torch.testing.assert_close(occupancy, points @ slope)
    torch.testing.assert_close(colours, points)
    assert sample_grid(linear, grid.high + 0.01)[0] == 0


def test_sampling_gradients() -> None:
    grid = some_grid(torch.float64)
    points = torch.tensor([[-0.31, 0.1, 0.77], [0.4, 0.21, 1.02]], dtype=torch.float64)

    def read(occupancy: Tensor, colours: Tensor, places: Tensor) -> Tensor:
        there = VoxelGrid(grid.low, 0.25, occupancy, colours)
        return torch.cat([t.reshape(-1) for t in sample_grid(there, places)])

    inputs = [t.clone().requires_grad_() for t in (grid.occupancy, grid.colours, points)]
    assert torch.autograd.gradcheck(read, inputs)
    assert torch.autograd.gradgradcheck(read, inputs)


def test_rays_enter_and_leave_the_box() -> None:
    grid = some_grid()
    centre, direction = pixel_rays(camera())
    torch.testing.assert_close(direction[:, 2], torch.ones(48))  # as deep as the parameter
    near, far = box_depths(grid, centre, direction)
    inside = centre + ((near + far) / 2)[:, None] * direction
    hit = far > near
    assert 0 < int(hit.sum()) < 48
    assert ((inside[hit] >= grid.low) & (inside[hit] <= grid.high)).all()
    assert sample_box(grid, camera(), 7).occupancy[~hit].eq(0).all()


def test_chances_of_stopping_add_up() -> None:
    chances = stop_chances(torch.tensor([[0.5, 0.5, 1.0, 0.3], [0.0, 0.2, 0.0, 0.0]]))
    expected = torch.tensor([[0.5, 0.25, 0.25, 0, 0], [0, 0.2, 0, 0, 0.8]])
    torch.testing.assert_close(chances, expected)


def test_shared_amounts_add_up() -> None:
    shares = torch.tensor([[0.2, 0.6, 0.0], [0.0, 0.0, 0.0]])
    out = shared_out(torch.tensor([[0.8], [0.3]]), shares)
    torch.testing.assert_close(out.sum(1), torch.tensor([0.8, 0.3]))
    assert out[0, 1] == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: voxelize(lit(Triangles(*SHEET, torch.ones(4, 3))), 3), "at least 4 voxels"),
        (
            lambda: voxelize(lit(Triangles(SHEET[0] * 0, SHEET[1], torch.ones(4, 3))), 8),
            "no extent",
        ),
        (lambda: as_grid(lit(Triangles(*SHEET, torch.ones(4, 3)))), "expected a scene of voxels"),
        (lambda: some_grid().replaced("vertices", torch.zeros(3)), "attributes, density"),
        (
            lambda: VoxelGrid(torch.zeros(3), 0.0, torch.zeros(2, 2, 2), torch.zeros(2, 2, 2, 3)),
            "positive length",
        ),
        (
            lambda: VoxelGrid(torch.zeros(3), 1.0, torch.zeros(2, 2, 2), torch.zeros(2, 2, 3)),
            "VoxelGrid.colours has shape",
        ),
    ],
)
def test_broken_inputs(call, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        call()
