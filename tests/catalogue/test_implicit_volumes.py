"""Weights along rays: NeuS, VolSDF, UNISURF and what they share, against closed forms."""

from __future__ import annotations

import pytest
import torch
from implicit_scenes import RADIUS, ball, ball_depth, camera, centre

from diffrender.catalogue import find_technique
from diffrender.catalogue.implicit._sdf import as_sdf
from diffrender.catalogue.implicit._volume import absorption, blend_weights, resample
from diffrender.catalogue.implicit.neus import NeuS, section_opacity
from diffrender.catalogue.implicit.unisurf import Unisurf
from diffrender.catalogue.implicit.volsdf import VolSdf, laplace_density
from diffrender.errors import InputError

SOFT = ("neus", "volsdf", "unisurf")


def test_weights_are_those_of_emission_and_absorption() -> None:
    generator = torch.Generator().manual_seed(0)
    density, length = 3 * torch.rand(2, 4, 9, generator=generator).double()
    weights = blend_weights(absorption(density, length))
    before = torch.cat([torch.zeros(4, 1).double(), (density * length).cumsum(1)[:, :-1]], dim=1)
    torch.testing.assert_close(weights, torch.exp(-before) * (1 - torch.exp(-density * length)))
    passed = torch.exp(-(density * length).sum(1))
    torch.testing.assert_close(weights.sum(1), 1 - passed)


def test_laplace_density_is_the_distribution_of_minus_the_distance() -> None:
    distance = torch.linspace(-0.3, 0.3, 41, dtype=torch.float64)
    law = torch.distributions.Laplace(torch.zeros(()).double(), 0.05)
    torch.testing.assert_close(laplace_density(distance, 0.05), law.cdf(-distance) / 0.05)
    moving = distance[distance != 0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda d: laplace_density(d, 0.05), (moving,))


def test_neus_transmittance_telescopes_to_the_sigmoid() -> None:
    """Along a falling distance what is left is Φ(last) / Φ(first), however it is cut."""
    values = torch.tensor([[0.5, 0.3, 0.05, -0.02, -0.2]], dtype=torch.float64)
    left = 1 - blend_weights(section_opacity(values, 0.05)).sum()
    phi = torch.sigmoid(values / 0.05)
    torch.testing.assert_close(left, phi[0, -1] / phi[0, 0])
    rising = section_opacity(values.flip(1), 0.05)
    assert (rising == 0).all()
    inside = section_opacity(torch.tensor([[-40.0, -80.0]]), 0.01)  # Φ vanishes there
    torch.testing.assert_close(inside, torch.ones(1, 1))


def test_resampled_edges_share_the_weight() -> None:
    edges = torch.linspace(1, 3, 9).expand(2, 9)
    weights = torch.zeros(2, 8)
    weights[0, 3] = 0.8
    found = resample(edges, weights, 20)
    assert found.shape == (2, 21)
    assert (found.diff(dim=1) >= 0).all()
    torch.testing.assert_close(found[:, 0], torch.ones(2))
    torch.testing.assert_close(found[:, -1], 3 * torch.ones(2))
    # Nine tenths, and the even share, of the sections lie where the weight is.
    within = (found[0] >= edges[0, 3]) & (found[0] <= edges[0, 4])
    assert int(within.sum()) >= 18
    torch.testing.assert_close(found[1], torch.linspace(1, 3, 21))  # no weight: even


@pytest.mark.parametrize("name", SOFT)
def test_ball_has_its_depth_and_outline(name: str) -> None:
    seen_by = camera((24, 32))
    expected, hit = ball_depth(seen_by)
    drawn = find_technique(name).render(ball(), seen_by)
    height, width = seen_by.size
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    off = torch.hypot(column + 0.5 - width / 2, row + 0.5 - height / 2)
    inside, outside = off < 3.5, off > 8  # the outline's radius is 4.9 pixels
    assert hit[inside].all() and not hit[outside].any()
    assert (drawn.silhouette[inside] > 0.95).all()
    assert (drawn.silhouette[outside] < 0.02).all()
    # VolSDF and UNISURF absorb within some widths of the surface, 2 cm.
    assert (drawn.depth - expected)[inside].abs().max() < 0.08
    assert drawn.silhouette.sum().item() == pytest.approx(float(hit.sum()), rel=0.2)


def test_neus_becomes_the_surface_as_the_width_shrinks() -> None:
    seen_by, scene = camera(), ball()
    expected, _ = ball_depth(seen_by)
    ahead = (seen_by.size[0] // 2, seen_by.size[1] // 2)
    errors = []
    for width in (0.08, 0.02, 0.005):
        drawn = NeuS(width=width, coarse=128, fine=128).render(scene, seen_by)
        errors.append(abs(float((drawn.depth - expected)[ahead])))
    assert errors[2] < errors[1] < errors[0] and errors[2] < 5e-3


@pytest.mark.parametrize("technique", [NeuS(), VolSdf(), Unisurf()], ids=SOFT)
def test_gradient_to_the_values_gathers_at_the_surface(technique: NeuS) -> None:
    scene = ball(0.1)
    values = as_sdf(scene).values.clone().requires_grad_()
    technique.render(scene.replaced("density", values), camera()).silhouette.sum().backward()
    assert values.grad is not None
    off = ((as_sdf(scene).nodes() - centre()).norm(dim=-1) - RADIUS).abs()
    total = values.grad.abs().sum()
    assert total > 0 and values.grad[off < 0.25].abs().sum() / total > 0.9
    assert values.grad.sum() < 0  # larger distances: a smaller ball


def test_wrong_settings_are_named() -> None:
    with pytest.raises(InputError, match=r"NeuS.width is 0.0, expected metres above 0"):
        NeuS(width=0.0)
    with pytest.raises(InputError, match=r"VolSdf.beta is -1.0, expected metres above 0"):
        VolSdf(beta=-1.0)
    with pytest.raises(InputError, match=r"Unisurf.width is 0.0 and interval 0.1"):
        Unisurf(width=0.0)
