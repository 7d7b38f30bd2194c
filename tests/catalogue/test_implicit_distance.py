"""Signed distances of triangles on a grid: against closed forms and against all pairs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from implicit_scenes import ball, camera
from torch import Tensor

from diffrender.catalogue import Scene, Triangles, standard_scene
from diffrender.catalogue.implicit._distance import nearest_points, thicken, winding_numbers
from diffrender.catalogue.implicit._rays import camera_rays
from diffrender.catalogue.implicit._sdf import SdfGrid, as_sdf, interpolate_grid, sdf_scene
from diffrender.errors import InputError
from diffrender.shape_priors.free_form import icosphere


def box(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Twelve triangles, counter-clockwise from outside."""
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    vertices = low + bits * (high - low)  # corner 4 x + 2 y + z
    faces = torch.tensor([
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ])  # fmt: skip
    return vertices, faces


def box_distance(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    beyond = torch.maximum(low - points, points - high)
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)


def scene_of(vertices: Tensor, faces: Tensor) -> Scene:
    light = standard_scene().light
    mesh = Triangles(
        vertices, faces, torch.linspace(0, 1, len(vertices) * 3).view(-1, 3).to(vertices)
    )
    double = dataclasses.replace(
        light,
        direction=light.direction.to(vertices),
        colour=light.colour.to(vertices),
        ambient=light.ambient.to(vertices),
    )
    return Scene(mesh, double, torch.zeros(3).to(vertices))


def test_box_has_its_closed_form() -> None:
    low, high = torch.tensor([-0.5, 0.1, 0.2]).double(), torch.tensor([0.7, 0.6, 1.9]).double()
    grid = as_sdf(sdf_scene(scene_of(*box(low, high)), 24))
    torch.testing.assert_close(
        grid.values, box_distance(grid.nodes(), low, high), atol=1e-9, rtol=0
    )


def test_ball_of_triangles_is_nearly_a_ball() -> None:
    directions, faces = icosphere(3)
    grid = as_sdf(sdf_scene(scene_of(directions.double(), faces), 20))
    exact = grid.nodes().norm(dim=-1) - 1
    # Faces of the third subdivision lie at most 0.6 % inside the sphere.
    assert (grid.values - exact).abs().max() < 0.006


def test_two_boxes_that_overlap_are_one_inside() -> None:
    one = box(torch.tensor([0.0, 0.0, 0.0]).double(), torch.tensor([1.0, 1.0, 1.0]).double())
    other = box(torch.tensor([0.5, 0.2, 0.2]).double(), torch.tensor([1.6, 0.8, 0.9]).double())
    faces = torch.cat([one[1], other[1] + 8])
    grid = as_sdf(sdf_scene(scene_of(torch.cat([one[0], other[0]]), faces), 24))
    nodes = grid.nodes()
    inside = torch.minimum(
        box_distance(nodes, one[0].amin(0), one[0].amax(0)),
        box_distance(nodes, other[0].amin(0), other[0].amax(0)),
    )
    assert torch.equal(grid.values < 0, inside < 0)


def test_winding_counts_both_boxes() -> None:
    one = box(torch.zeros(3).double(), torch.ones(3).double())
    other = box(torch.full((3,), 0.3).double(), torch.full((3,), 0.7).double())
    faces = torch.cat([one[1], other[1] + 8])
    solid = thicken(torch.cat([one[0], other[0]]), faces, 0.1)
    grid = as_sdf(sdf_scene(scene_of(solid.vertices, solid.faces), 20))
    winding = winding_numbers(solid, grid.nodes())
    assert set(winding.unique().tolist()) == {0.0, 1.0, 2.0}
    middle = (grid.nodes() - 0.5).abs().amax(-1)
    assert torch.equal(winding == 2, middle < 0.2)


def test_open_sheet_gets_thickness_below() -> None:
    # Two tiles that do not share vertices, seen from above: y down, the normal is -y.
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]]).double()
    vertices = torch.cat([corners, corners + torch.tensor([1.0, 0, 0]).double()])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    solid = thicken(vertices, faces, 0.25)
    assert len(solid.vertices) == 12  # six merged corners, twice
    grid = as_sdf(sdf_scene(scene_of(vertices, faces), 32))
    low, high = (
        torch.zeros(3).double(),
        torch.tensor([2.0, 1.5 * grid.spacing, 1.0], dtype=torch.float64),
    )
    torch.testing.assert_close(
        grid.values, box_distance(grid.nodes(), low, high), atol=1e-9, rtol=0
    )


def test_nearest_points_agree_with_all_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    vertices = torch.rand(30, 3, generator=generator).double()
    faces = torch.randint(30, (40, 3), generator=generator)
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2])]
    faces = faces[faces[:, 0] != faces[:, 2]]
    solid = thicken(vertices, faces, 0.01)
    blank = SdfGrid(
        torch.zeros(9, 10, 11).double(), torch.zeros(9, 10, 11, 3).double(),
        torch.full((3,), -0.1).double(), 0.12,
    )  # fmt: skip
    nodes = blank.nodes()
    found = nearest_points(solid, nodes)
    # Another way: points of a fine barycentric mesh of every triangle are never nearer.
    steps = torch.linspace(0, 1, 13).double()
    u, v = torch.cartesian_prod(steps, steps).unbind(1)
    u, v = u[u + v <= 1], v[u + v <= 1]
    bary = torch.stack([1 - u - v, u, v], dim=1)
    samples = (bary @ solid.vertices[solid.faces]).reshape(-1, 3)
    sampled = torch.cdist(nodes.reshape(-1, 3), samples).amin(1)
    assert (found.distance <= sampled + 1e-9).all()
    assert (sampled - found.distance).max() < 0.06  # half the longest step between samples


def test_colours_are_those_of_the_nearest_point() -> None:
    directions, faces = icosphere(2)
    scene = scene_of(directions.double(), faces)
    mesh = scene.content
    assert isinstance(mesh, Triangles)
    scene = dataclasses.replace(
        scene, content=dataclasses.replace(mesh, colours=(directions.double() + 1) / 2)
    )
    grid = as_sdf(sdf_scene(scene, 24))
    nodes = grid.nodes()
    expected = (torch.nn.functional.normalize(nodes, dim=-1) + 1) / 2
    near = grid.values.abs() < 0.2
    assert (grid.colours - expected)[near].abs().max() < 0.05


def test_trilinear_values_and_gradients() -> None:
    grid = as_sdf(ball(0.2))
    plane = grid.nodes() @ torch.tensor([0.3, -1.2, 0.7]).double() + 0.1
    generator = torch.Generator().manual_seed(0)
    points = grid.low + torch.rand(50, 3, generator=generator).double() * (grid.high - grid.low)
    found = interpolate_grid(grid, plane[..., None], points)[:, 0]
    torch.testing.assert_close(found, points @ torch.tensor([0.3, -1.2, 0.7]).double() + 0.1)
    values = grid.values[:4, :4, :4].clone().requires_grad_()
    small = SdfGrid(values.detach(), grid.colours[:4, :4, :4], grid.low, grid.spacing)
    at = (grid.low + 0.55 * torch.rand(5, 3, generator=generator).double()).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v, p: dataclasses.replace(small, values=v).distance(p), (values, at)
    )
    assert torch.autograd.gradgradcheck(
        lambda v, p: dataclasses.replace(small, values=v).distance(p), (values, at)
    )


def test_rays_pass_through_their_pixels_and_enter_the_box() -> None:
    grid, seen_by = as_sdf(ball(0.2)), camera()
    rays = camera_rays(seen_by, grid.low, grid.high)
    ahead = rays.at(torch.full_like(rays.near, 2.5))
    pixels, depth = seen_by.project(ahead)
    torch.testing.assert_close(depth, torch.full_like(depth, 2.5))
    flat = pixels.floor().long()
    assert torch.equal(flat[:, 1] * seen_by.size[1] + flat[:, 0], rays.pixels)
    entry, leave = rays.at(rays.near), rays.at(rays.far)
    for place in (entry, leave):
        beyond = torch.maximum(grid.low - place, place - grid.high).amax(-1)
        assert beyond.abs().max() < 1e-9


def test_broken_inputs_are_named() -> None:
    scene = standard_scene()
    with pytest.raises(InputError, match="resolution is 4 nodes, expected 8 to 512"):
        sdf_scene(scene, 4)
    with pytest.raises(InputError, match="expected at least two nodes"):
        SdfGrid(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, 3), torch.zeros(3), 0.1)
    with pytest.raises(InputError, match="spacing is 0, expected metres above 0"):
        SdfGrid(torch.zeros(2, 2, 2), torch.zeros(2, 2, 2, 3), torch.zeros(3), 0)
    with pytest.raises(InputError, match="no parameter 'vertices' here"):
        ball(0.5).replaced("vertices", torch.zeros(3))
