"""Soft rasterizers of triangles: pictures, closed forms, derivatives of their own pictures."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from soft_scenes import hard, slopes, toy_camera, toy_scene, weighed

from diffrender.cameras import Camera
from diffrender.catalogue import (
    Triangles,
    as_triangles,
    find_technique,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.mesh import _conorms, _distributions
from diffrender.catalogue.mesh.dib_r import DIBR
from diffrender.catalogue.mesh.gendr import GenDR
from diffrender.catalogue.mesh.soft_rasterizer import SoftRasterizer
from diffrender.catalogue.mesh.unclamped_barycentrics import barycentrics
from diffrender.errors import InputError
from diffrender.raster import rasterize

SIZE = (36, 48)
NAMES = ["soft-rasterizer", "gendr", "dib-r", "unclamped-barycentrics"]


@pytest.mark.parametrize("name", NAMES)
def test_the_standard_scene_is_drawn_where_the_hard_one_is(name: str) -> None:
    camera = standard_camera(SIZE)
    drawn = find_technique(name).render(standard_scene(), camera)
    mask, depth = hard(camera)
    assert drawn.image.shape == (*SIZE, 3)
    assert 0 <= drawn.silhouette.min() and drawn.silhouette.max() <= 1
    # Blur moves the half level by less than a pixel, and the outline has some 90 of 900 pixels.
    both = torch.minimum(mask, (drawn.silhouette > 0.4).float()).sum()
    either = torch.maximum(mask, (drawn.silhouette > 0.4).float()).sum()
    assert both / either > 0.95
    seen = (mask > 0) & (drawn.silhouette > 0.9)
    error = (drawn.depth - depth).abs()[seen]
    assert error.median() < 0.02
    assert drawn.depth[0, 0] == 0 and drawn.silhouette[0, 0] == 0
    assert torch.equal(drawn.image[0, 0], standard_scene().background)


@pytest.mark.parametrize("parameter", ["vertices", "attributes", "pose", "intrinsics", "light"])
@pytest.mark.parametrize("name", ["soft-rasterizer", "gendr", "unclamped-barycentrics"])
def test_gradients_are_those_of_the_own_picture(name: str, parameter: str) -> None:
    """For hard visibility too: a step this small takes no pixel centre across an outline."""
    technique = find_technique(name)
    if name == "soft-rasterizer":
        technique = SoftRasterizer(sigma=1e-2, gamma=1e-2)
    slope, difference = slopes(technique, toy_scene(), parameter)
    assert slope == pytest.approx(difference, rel=1e-5, abs=1e-6)
    assert abs(difference) > 1e-2


@pytest.mark.parametrize("parameter", ["vertices", "attributes", "pose", "intrinsics", "light"])
def test_dib_r_is_exact_inside_and_its_halo_is_its_own(parameter: str) -> None:
    slope, difference = slopes(DIBR(100.0, margin=0.4), toy_scene(), parameter)
    assert slope == pytest.approx(difference, rel=1e-5, abs=1e-6)


def test_dib_r_pulls_a_silhouette_from_outside_only() -> None:
    scene, camera = toy_scene(), toy_camera()
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    mesh = as_triangles(scene)
    drawn = DIBR(sharpness=100.0, margin=0.4).render(
        scene.replaced("vertices", mesh.vertices + shift), camera
    )
    covered = drawn.silhouette == 1
    assert not drawn.silhouette[covered].detach().std() > 0
    (inside,) = torch.autograd.grad(drawn.silhouette[covered].sum(), shift, retain_graph=True)
    (outside,) = torch.autograd.grad(drawn.silhouette[~covered].sum(), shift)
    assert inside.abs().max() == 0
    assert outside.abs().max() > 1e-3


def test_dib_r_mask_is_a_point_of_gendr() -> None:
    scene, camera = toy_scene(), toy_camera()
    unit = min(camera.size) / 2
    mask = DIBR(sharpness=50.0, margin=0.5).render(scene, camera).silhouette
    same = GenDR(
        _distributions.ReversedExponential(),
        _conorms.Probabilistic(),
        softness=unit / math.sqrt(50.0),
        reach=0.5 * unit,
        squared=True,
    )
    assert (same.render(scene, camera).silhouette - mask).abs().max() < 2e-6


def test_soft_rasterizer_silhouette_is_a_point_of_gendr() -> None:
    scene, camera = toy_scene(), toy_camera()
    sigma, unit = 1e-2, min(camera.size) / 2
    same = GenDR(
        _distributions.Logistic(),
        _conorms.Probabilistic(),
        softness=unit * math.sqrt(sigma),
        reach=unit * math.sqrt(sigma * math.log(1e4 - 1)),
        squared=True,
    )
    expected = SoftRasterizer(sigma=sigma).render(scene, camera).silhouette
    assert (same.render(scene, camera).silhouette - expected).abs().max() < 2e-6


def test_soft_rasterizer_by_definition_is_the_fast_one() -> None:
    technique = SoftRasterizer(sigma=1e-3, gamma=1e-2)
    for scene, camera in [
        (toy_scene(), toy_camera()),
        (standard_scene(), standard_camera(SIZE)),
    ]:
        vertices = as_triangles(scene).vertices
        tolerance = 1e-9 if vertices.dtype == torch.float64 else 2e-3
        maps, gradients = [], []
        for render in (technique.render, technique.render_by_definition):
            leaf = vertices.clone().requires_grad_()
            drawn = render(scene.replaced("vertices", leaf), camera)
            maps.append(torch.cat([drawn.image, drawn.silhouette[..., None]], -1).detach())
            weighed(drawn).backward()
            assert leaf.grad is not None
            gradients.append(leaf.grad)
        assert (maps[0] - maps[1]).abs().max() < tolerance
        difference = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
        assert difference < 10 * tolerance


def test_soft_coverage_of_a_half_plane_is_the_distribution_function() -> None:
    """Far from its corners a large triangle is a half plane, whose distance is known."""
    vertices = torch.tensor([[0.3, -90.0, 1], [0.3, 90.0, 1], [-150.0, 0, 1]]).double()
    scene = toy_scene()
    mesh = Triangles(vertices, torch.tensor([[0, 1, 2]]), torch.ones(3, 3).double())
    scene = dataclasses.replace(scene, content=mesh)
    camera = Camera(
        torch.tensor([[1.0, 0, 4], [0, 1, 2], [0, 0, 1]]).double(),
        torch.eye(3).double(),
        torch.zeros(3).double(),
        (4, 8),
    )
    distance = 4.3 - (torch.arange(8) + 0.5)  # pixels, positive inside
    for distribution in (_distributions.Gaussian(), _distributions.Cauchy()):
        drawn = GenDR(distribution, softness=1.5, reach=100).render(scene, camera)
        expected = distribution.cdf((distance / 1.5).double())
        assert torch.allclose(drawn.silhouette, expected.expand(4, 8), atol=1e-6)


def test_a_hidden_face_is_pulled_forward() -> None:
    """The loss wants the colour of the face behind: its depth has a gradient towards the camera."""
    scene, camera = toy_scene(), toy_camera()
    leaf = as_triangles(scene).vertices.clone().requires_grad_()
    drawn = SoftRasterizer(sigma=1e-3, gamma=1e-2).render(scene.replaced("vertices", leaf), camera)
    row, column = 8, 10
    colour = as_triangles(scene).colours[3:].mean(0)
    (drawn.image[row, column] - colour).square().sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[3:, 2].sum() > 0  # a step down the gradient lessens z


def test_unclamped_barycentrics_are_those_of_the_rasterizer() -> None:
    scene, camera = toy_scene(), toy_camera()
    mesh = as_triangles(scene)
    fragments = rasterize((mesh.vertices, mesh.faces), camera)
    drawn = find_technique("unclamped-barycentrics").render(scene, camera)
    assert torch.allclose(drawn.depth, fragments.depth[..., 0])
    pixels = torch.tensor([[[0.0, 0], [8, 0], [0, 8]]]).double()
    depth = torch.tensor([[2.0, 4, 4]]).double()
    at = torch.tensor([[4.0, -1.0]]).double()
    share = barycentrics(pixels, depth, at)
    assert share.sum().item() == pytest.approx(1)
    assert share[0, 2] < 0
    scaled = (share * depth)[..., None] * pixels  # in space, points are (x z, y z, z)
    assert torch.allclose(scaled.sum(1), (share * depth).sum() * at)
    inputs = (pixels.requires_grad_(), depth.requires_grad_(), at)
    assert torch.autograd.gradcheck(barycentrics, inputs)


DISTRIBUTIONS = [
    getattr(_distributions, name)() for name in _distributions.__all__ if name != "Distribution"
]
CONORMS = [getattr(_conorms, name)() for name in _conorms.__all__ if name != "Conorm"]


def test_there_are_enough_of_both() -> None:
    assert len(DISTRIBUTIONS) == 13
    assert len(CONORMS) == 9


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda d: type(d).__name__)
def test_distribution_functions(distribution: _distributions.Distribution) -> None:
    x = torch.linspace(-200, 200, 4001, dtype=torch.float64)
    values = distribution.cdf(x)
    assert (values.diff() >= 0).all()
    assert values[0] < 0.01 and values[-1] > 0.99
    inner = torch.tensor([-0.73, -0.2, 0.31, 0.66], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(distribution.cdf, (inner,))
    ends = torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4], requires_grad=True)
    distribution.cdf(ends).sum().backward()
    assert ends.grad is not None and ends.grad.isfinite().all()
    symmetric = not type(distribution).__name__.startswith(("Gumbel", "Reversed", "Gamma"))
    if symmetric:
        assert torch.allclose(values + values.flip(0), torch.ones_like(values))


def test_distribution_functions_at_known_points() -> None:
    one = torch.tensor([1.0], dtype=torch.float64)
    gamma = _distributions.Gamma(shape=1.0)  # the exponential distribution
    assert gamma.cdf(one).item() == pytest.approx(1 - math.exp(-1))
    assert _distributions.Gaussian().cdf(one).item() == pytest.approx(0.841344746)
    assert _distributions.Cauchy().cdf(one).item() == pytest.approx(0.75)
    assert _distributions.GumbelMin().cdf(one).item() == pytest.approx(1 - math.exp(-math.e))
    assert _distributions.CubicHermite().cdf(one / 2).item() == pytest.approx(27 / 32)


BINARY = {
    "Maximum": max,
    "Probabilistic": lambda a, b: a + b - a * b,
    "Einstein": lambda a, b: (a + b) / (1 + a * b),
    "Hamacher": lambda a, b: (a + b - 1.5 * a * b) / (1 - 0.5 * a * b),
    "Frank": lambda a, b: 1 - math.log2(1 + (2 ** (1 - a) - 1) * (2 ** (1 - b) - 1)),
    "Yager": lambda a, b: min(1.0, math.hypot(a, b)),
    "AczelAlsina": lambda a, b: 1 - math.exp(-math.hypot(math.log(1 - a), math.log(1 - b))),
    "Dombi": lambda a, b: 1 / (1 + 1 / math.hypot(a / (1 - a), b / (1 - b))),
    "SchweizerSklar": lambda a, b: 1 - 1 / (1 / (1 - a) + 1 / (1 - b) - 1),
}


@pytest.mark.parametrize("conorm", CONORMS, ids=lambda c: type(c).__name__)
def test_unions_follow_the_binary_formulas(conorm: _conorms.Conorm) -> None:
    binary = BINARY[type(conorm).__name__]
    a, b, c = 0.3, 0.55, 0.12
    coverage = torch.tensor([a, b, c, a, 0.0], dtype=torch.float64, requires_grad=True)
    pixel = torch.tensor([0, 0, 2, 2, 3])
    united = conorm.union(coverage, pixel, 4)
    expected = [binary(a, b), 0.0, binary(c, a), 0.0]
    assert united.tolist() == pytest.approx(expected, abs=1e-9)
    united.sum().backward()
    assert coverage.grad is not None and coverage.grad.isfinite().all()
    single = torch.tensor([0.2, 0.4, 0.6, 0.35], dtype=torch.float64, requires_grad=True)
    inputs = (single, torch.tensor([0, 0, 1, 1]), 2)
    assert torch.autograd.gradcheck(conorm.union, inputs)
    full = torch.tensor([1.0, 1.0, 0.5], requires_grad=True)
    whole = conorm.union(full, torch.tensor([0, 0, 0]), 1)
    whole.sum().backward()
    assert whole.item() == pytest.approx(1, abs=2e-3)
    assert full.grad is not None and full.grad.isfinite().all()


def test_special_cases_of_conorms_agree() -> None:
    coverage = torch.rand(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pixel = torch.tensor([0, 0, 0, 1, 1, 1])
    for first, second in [
        (_conorms.Hamacher(p=2.0), _conorms.Einstein()),
        (_conorms.Hamacher(p=1.0), _conorms.Probabilistic()),
        (_conorms.AczelAlsina(p=1.0), _conorms.Probabilistic()),
        (_conorms.Yager(p=1.0), _conorms.SchweizerSklar(p=1.0)),
    ]:
        ours, theirs = first.union(coverage, pixel, 2), second.union(coverage, pixel, 2)
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_gendr_refuses_a_softness_of_zero() -> None:
    with pytest.raises(InputError, match="softness is 0, expected a positive number"):
        GenDR(softness=0)
