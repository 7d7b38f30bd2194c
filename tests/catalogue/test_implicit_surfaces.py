"""DVR, DIST, SDFDiff and projected points on a ball, whose depth and outline are known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from implicit_scenes import RADIUS, around, ball, ball_depth, camera, centre
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import Scene, Technique, find_technique
from diffrender.catalogue.implicit._rays import attach_root, camera_rays, first_crossing
from diffrender.catalogue.implicit._sdf import as_sdf
from diffrender.catalogue.implicit.projected_points import ProjectedPoints, project_to_surface
from diffrender.errors import InputError

HARD = ("dvr", "dist", "sdfdiff")


def inner(seen_by: Camera, by: float = 0.03) -> Tensor:
    """(H, W) pixels whose ray passes well within the ball: no grazing rays."""
    depth, hit = ball_depth(seen_by)
    height, width = seen_by.size
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ray = torch.stack([
        (column + 0.5 - width / 2) / 24, (row + 0.5 - height / 2) / 24, torch.ones(height, width)
    ], dim=-1).double()  # fmt: skip
    ray = ray / ray.norm(dim=-1, keepdim=True)
    miss = (centre() - (ray @ centre())[..., None] * ray).norm(dim=-1)
    return hit & (miss < RADIUS - by) & (depth > 0)


def closer(times: int) -> Camera:
    """The camera with a picture so many times as large."""
    seen_by = camera()
    return seen_by.resize((seen_by.size[0] * times, seen_by.size[1] * times))


@pytest.mark.parametrize("name", HARD)
def test_depth_of_a_ball(name: str) -> None:
    seen_by = camera()
    expected, _ = ball_depth(seen_by)
    drawn = find_technique(name).render(ball(), seen_by)
    where = inner(seen_by)
    # The trilinear ball is inside the true one by about h² / 4 r = 1 mm; slanted rays see more.
    assert (drawn.depth - expected)[where].abs().max() < 0.012
    assert (drawn.silhouette[inner(seen_by, 0.1)] == 1).all()  # half a pixel is 6 cm there
    assert (drawn.depth[drawn.silhouette == 0] == 0).all()


@pytest.mark.parametrize("name", HARD)
def test_shading_of_a_ball(name: str) -> None:
    scene, seen_by = ball(), camera()
    drawn, where = find_technique(name).render(scene, seen_by), inner(seen_by, 0.1)
    height, width = seen_by.size
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([column, row], dim=-1).reshape(-1, 2).double() + 0.5
    depth, _ = ball_depth(seen_by)
    points = seen_by.unproject(pixels, depth.reshape(-1)).reshape(height, width, 3)
    normals = (points - centre()) / RADIUS
    expected = scene.light.shade(torch.full((3,), 0.5).double(), normals)
    torch.testing.assert_close(drawn.image[where], expected[where], atol=0.01, rtol=0)


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("ahead", [-0.5, 0.0, 0.5])  # of the ball's centre, metres
def test_an_eye_inside_the_ball_sees_nothing(name: str, ahead: float) -> None:
    eye = centre() + torch.tensor([0.0, 0.0, ahead], dtype=torch.float64)
    scene, values = ball(), as_sdf(ball()).values.requires_grad_()
    moved = dataclasses.replace(camera(), translation=-eye)
    drawn = find_technique(name).render(scene.replaced("density", values), moved)
    assert not drawn.depth.any() and not drawn.silhouette.any()
    assert torch.equal(drawn.image, scene.background.expand_as(drawn.image))
    total = drawn.depth.sum() + drawn.silhouette.sum() + drawn.image.sum()
    assert not torch.autograd.grad(total, values)[0].any()


@pytest.mark.parametrize("name", HARD)
def test_rays_that_enter_the_box_inside_see_nothing(name: str) -> None:
    """All is solid left of x = 0, the box before the eye ahead of z = 2: only there is a wall."""
    grid, seen_by = as_sdf(ball()), camera()
    scene = around(grid, grid.nodes()[..., 0].clone())
    right = torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64)
    drawn = find_technique(name).render(scene, dataclasses.replace(seen_by, translation=-right))
    slope = (torch.arange(20).double() + 0.5 - 10) / 24
    wall = torch.where(slope < 0, -0.5 / slope, torch.inf)  # depth at which a column meets x = 0
    inside, before = wall < 1.9, (wall > 2.1) & (wall < 3.9)
    assert inside.sum() == 4 and before.sum() == 3
    assert not drawn.depth[:, inside].any() and not drawn.silhouette[:, inside].any()
    seen = drawn.depth[4:12, before]  # rays that stay within the box above and below
    torch.testing.assert_close(seen, wall[before].expand_as(seen), atol=5e-3, rtol=0)


def test_depth_derivative_is_that_of_the_implicit_function() -> None:
    """All values raised by ε shrink the ball by ε: the depth grows by ε over the cosine."""
    seen_by, scene = camera(), ball()
    grid = as_sdf(scene)
    where, expected = inner(seen_by, 0.1), {}
    for name in HARD:
        raised = torch.zeros((), dtype=torch.float64, requires_grad=True)
        moved = scene.replaced("density", grid.values + raised)
        depth = find_technique(name).render(moved, seen_by).depth
        rows = depth[where]
        expected[name] = torch.stack([
            torch.autograd.grad(row, raised, retain_graph=True)[0] for row in rows
        ])  # fmt: skip
    step = 1e-5
    ends = [
        find_technique("dvr").render(scene.replaced("density", grid.values + t), seen_by).depth
        for t in (-step, step)
    ]
    difference = ((ends[1] - ends[0]) / (2 * step))[where]
    torch.testing.assert_close(expected["dvr"], difference, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(expected["dist"], difference, atol=5e-3, rtol=5e-3)
    # SDFDiff's last step lacks the cosine: its depth moves by ε over the ray's length.
    length = find_technique("sdfdiff").render(scene, seen_by).depth
    assert length[where].min() > 0
    assert (expected["sdfdiff"] <= difference + 1e-6).all()
    assert (expected["sdfdiff"] <= 1 + 1e-9).all() and (expected["sdfdiff"] > 0.8).all()


def test_attached_root_gradcheck() -> None:
    """The root of (‖x‖² - 1) s along rays: to the field's scale, offset, and to the rays."""
    seen_by = camera((4, 5))
    low, high = torch.tensor([-2.0, -2, 1]).double(), torch.tensor([2.0, 2, 5]).double()

    def depth(offset: Tensor, translation: Tensor) -> Tensor:
        moved = dataclasses.replace(seen_by, translation=translation)
        rays = camera_rays(moved, low, high)

        def field(points: Tensor) -> Tensor:
            return (points - centre()).square().sum(-1) - offset

        def slope(points: Tensor) -> Tensor:
            return 2 * (points - centre())

        found, hit = first_crossing(field, rays, 32, 60)
        assert hit.all()
        return attach_root(found, field, slope, rays)

    offset = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    translation = torch.tensor([0.02, -0.01, 0.03], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(depth, (offset, translation))


def test_dist_covers_the_area_of_the_ball() -> None:
    seen_by = closer(2)
    drawn = find_technique("dist").render(ball(), seen_by)
    # The outline is a circle of radius f r / sqrt(z² - r²) around the middle.
    radius = 48 * RADIUS / math.sqrt(9 - RADIUS**2)
    assert drawn.silhouette.sum().item() == pytest.approx(math.pi * radius**2, rel=0.01)
    partly = (drawn.silhouette > 0) & (drawn.silhouette < 1)
    assert partly.sum() > 20


def test_dist_outline_moves_with_the_distance() -> None:
    """Raising all values by ε shrinks the circle: its area falls by its length times f ε / z."""
    seen_by, scene = closer(4), ball()
    raised = torch.zeros((), dtype=torch.float64, requires_grad=True)
    moved = scene.replaced("density", as_sdf(scene).values + raised)
    area = find_technique("dist").render(moved, seen_by).silhouette.sum()
    (slope,) = torch.autograd.grad(area, raised)
    distance = math.sqrt(9 - RADIUS**2)
    # d/dr of π (f r)² / (z² - r²)
    expected = 2 * math.pi * 96**2 * RADIUS * 9 / distance**4
    assert -slope.item() == pytest.approx(expected, rel=0.05)


def test_dvr_has_no_gradient_at_the_outline() -> None:
    scene = ball()
    raised = torch.zeros((), dtype=torch.float64, requires_grad=True)
    moved = scene.replaced("density", as_sdf(scene).values + raised)
    covered = find_technique("dvr").render(moved, camera()).silhouette.sum()
    assert torch.autograd.grad(covered, raised)[0] == 0


def test_projected_points_lie_on_the_surface() -> None:
    grid = as_sdf(ball())
    points, normals, weight = project_to_surface(grid, 0.75)
    assert (weight > 0).all() and (weight <= 1).all()
    assert len(points) > 500
    assert ((points - centre()).norm(dim=-1) - RADIUS).abs().max() < 2e-3
    outward = torch.nn.functional.normalize(points - centre(), dim=-1)
    assert (normals * outward).sum(-1).min() > 0.999


def test_projected_points_follow_the_values() -> None:
    """dx/df = -n: where all values rise by ε, the points move inward by ε."""
    scene = ball(0.1)
    grid = as_sdf(scene)
    raised = torch.zeros((), dtype=torch.float64, requires_grad=True)
    lifted = dataclasses.replace(grid, values=grid.values + raised)
    points, normals, _ = project_to_surface(lifted, 0.75)
    found = torch.stack([
        torch.autograd.grad(points[:, i].sum(), raised, retain_graph=True)[0] for i in range(3)
    ])  # fmt: skip
    torch.testing.assert_close(found, -normals.detach().sum(0))


def test_projected_points_draw_the_ball() -> None:
    seen_by = camera()
    drawn = find_technique("projected-points").render(ball(), seen_by)
    expected, hit = ball_depth(seen_by)
    where = inner(seen_by, 0.1)
    assert (drawn.silhouette[where] > 0.95).all()
    assert (drawn.depth - expected)[where].abs().max() < 0.03
    assert (drawn.silhouette > 0.5).sum() / hit.sum() == pytest.approx(1, abs=0.15)


def test_a_batch_of_cameras_and_wrong_settings_are_named() -> None:
    technique: Technique = find_technique("dvr")
    scene: Scene = ball(0.5)
    with pytest.raises(InputError, match="the camera is a batch"):
        technique.render(scene, camera().expand(3))
    with pytest.raises(InputError, match="window is 4, expected an odd number"):
        ProjectedPoints(window=4)
