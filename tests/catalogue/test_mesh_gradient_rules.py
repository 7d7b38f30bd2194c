"""Derivative filters, the scan-line rule and the neighbour rule, on pictures worked out by hand."""

from __future__ import annotations

import exact_scenes as toy
import pytest
import torch
from torch import Tensor

from diffrender.catalogue import (
    Rendering,
    Technique,
    as_triangles,
    find_technique,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.evaluate import Subject, check_claims
from diffrender.catalogue.mesh.derivative_filters import DerivativeFilters
from diffrender.catalogue.mesh.scan_line_gradient import ScanLineGradient
from diffrender.catalogue.mesh.view_prior_gradient import ViewPriorGradient
from diffrender.raster import interpolate, rasterize

SIZE = (36, 48)
NAMES = ["derivative-filters", "scan-line-gradient", "view-prior-gradient"]
RIGHT = toy.LEFT + toy.SIDE


@pytest.mark.parametrize("name", NAMES)
def test_they_draw_the_hard_picture(name: str) -> None:
    camera, scene = standard_camera(SIZE), standard_scene()
    mesh = as_triangles(scene)
    fragments = rasterize((mesh.vertices, mesh.faces), camera)
    mask = fragments.mask()
    colour = interpolate(scene.radiance(), fragments) + (1 - mask[..., None]) * scene.background
    drawn = find_technique(name).render(scene, camera)
    assert torch.equal(drawn.silhouette, mask)
    torch.testing.assert_close(drawn.depth, fragments.depth[..., 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(drawn.image, colour, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("derivative-filters", 10.0),
        # Not linear in the incoming gradient: every pixel is asked by itself.
        pytest.param("scan-line-gradient", 300.0, marks=pytest.mark.slow),
        pytest.param("view-prior-gradient", 300.0, marks=pytest.mark.slow),
    ],
)
def test_claims_hold(name: str, seconds: float) -> None:
    for result in check_claims(Subject(find_technique(name), (24, 32), seconds)):
        assert result.holds, str(result)


def test_filters_share_an_outline_between_the_two_pixels_beside_it() -> None:
    def draw(t: Tensor) -> Rendering:
        return DerivativeFilters().render(toy.shifted(toy.square(), t), toy.camera())

    expected = torch.zeros(16, 20, dtype=torch.float64)
    expected[4:12, 5:7] = -0.5  # the left side passes between the centres 5.5 and 6.5
    expected[4:12, 13:15] = 0.5
    torch.testing.assert_close(toy.slope(draw)[..., 3], expected)


def test_filters_differentiate_a_ramp_exactly() -> None:
    scene = toy.square()
    ramp = torch.tensor([[0.0] * 3, [1.0] * 3, [1.0] * 3, [0.0] * 3], dtype=torch.float64)
    scene = scene.replaced("attributes", ramp)

    def draw(t: Tensor) -> Rendering:
        return DerivativeFilters().render(toy.shifted(scene, t), toy.camera())

    # The colour rises by 1 over 8.4 pixels, so it falls by that where the square moves on.
    inside = toy.slope(draw)[5:11, 7:13, 0]
    torch.testing.assert_close(inside, torch.full_like(inside, -1 / 8.4))


def _pull(technique: Technique, pixel: tuple[int, int], incoming: float) -> Tensor:
    """(3, 2) gradient of the triangle's corners in pixels, for one pixel of the silhouette."""
    vertices = as_triangles(toy.triangle()).vertices.clone().requires_grad_()
    drawn = technique.render(toy.triangle().replaced("vertices", vertices), toy.camera())
    u = torch.zeros_like(drawn.silhouette)
    u[pixel] = incoming
    (found,) = torch.autograd.grad(drawn.silhouette, vertices, u)
    return found[:, :2] / toy.SCALE


def test_scan_lines_reach_far_and_weigh_by_the_way() -> None:
    technique = ScanLineGradient(softening=0.1)
    away = 17.5 - RIGHT  # from the right side to the pixel that should be covered
    down = (8.5 - toy.TOP) / toy.SIDE  # how far down the side the row is
    found = _pull(technique, (8, 17), -1.0)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    expected[1, 0] = -1 / (away / (1 - down) + 0.1)
    expected[2, 0] = -1 / (away / down + 0.1)
    torch.testing.assert_close(found, expected)
    # The swap would be unwelcome if the loss rose with the pixel.
    assert _pull(technique, (8, 17), 1.0).abs().max() == 0


def test_scan_lines_push_out_of_pixels_that_should_be_empty() -> None:
    found = _pull(ScanLineGradient(), (8, 13), 1.0)
    assert found[1, 0] > 0 and found[2, 0] > 0  # descent moves the right side to the left
    assert _pull(ScanLineGradient(), (8, 13), -1.0).abs().max() == 0


def test_neighbours_pull_by_one_pixel() -> None:
    found = _pull(ViewPriorGradient(), (8, 14), -1.0)
    # The covered neighbour's coordinate should grow by a unit of loss a pixel.
    assert found[:, 0].sum().item() == pytest.approx(-1)
    assert found[:, 1].abs().max() == 0
    weights = -found[:, 0]
    corners = torch.tensor([[toy.LEFT, toy.TOP], [RIGHT, toy.TOP], [RIGHT, toy.TOP + toy.SIDE]])
    torch.testing.assert_close(
        (weights[:, None] * corners).sum(0), torch.tensor([13.5, 8.5]).double()
    )
    assert _pull(ViewPriorGradient(), (8, 14), 1.0).abs().max() == 0
    assert _pull(ViewPriorGradient(), (8, 16), -1.0).abs().max() == 0  # out of reach


@pytest.mark.parametrize("technique", [ScanLineGradient(), ViewPriorGradient()])
def test_rules_pass_colours_on_and_scale_with_the_loss(technique: Technique) -> None:
    scene, camera = toy.overlapping(), toy.camera()
    vertices = as_triangles(scene).vertices.clone().requires_grad_()
    colours = as_triangles(scene).colours.clone().requires_grad_()
    changed = scene.replaced("vertices", vertices).replaced("attributes", colours)
    image = technique.render(changed, camera).image
    u = torch.rand(image.shape, generator=torch.Generator().manual_seed(1), dtype=image.dtype) - 0.5
    once, painted = torch.autograd.grad(image, (vertices, colours), u, retain_graph=True)
    twice, _ = torch.autograd.grad(image, (vertices, colours), 2 * u, retain_graph=True)
    torch.testing.assert_close(twice, 2 * once)
    assert once.norm() > 0
    plain = DerivativeFilters().render(scene.replaced("attributes", colours), camera).image
    (expected,) = torch.autograd.grad(plain, colours, u)
    torch.testing.assert_close(painted, expected)
    # Backward is made of torch operations: its own derivative along u is what it is worth.
    u = u.requires_grad_()
    (answer,) = torch.autograd.grad(image, vertices, u, create_graph=True)
    (slope,) = torch.autograd.grad(answer.sum(), u)
    torch.testing.assert_close((slope * u).sum(), answer.sum())
