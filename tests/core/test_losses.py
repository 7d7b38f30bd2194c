"""Losses: the algebra, and every term on inputs whose value is known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from diffrender.errors import InputError
from diffrender.losses import (
    Box,
    Depth,
    Evidence,
    GroundContact,
    LatentPrior,
    Photometric,
    Rendering,
    ScalePrior,
    Silhouette,
    SizePrior,
)

SIZE = 8


def square(left: int, right: int) -> torch.Tensor:
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.float64)
    mask[:, 2:6, left:right] = 1
    return mask


def evidence(mask: torch.Tensor) -> Evidence:
    box = torch.tensor([[2.0, 2.0, 6.0, 6.0]], dtype=torch.float64)
    return Evidence(
        mask=mask,
        care=torch.ones_like(mask),
        depth=10.0 * mask,
        depth_sigma=torch.full_like(mask, 0.5),
        image=mask[..., None].expand(1, SIZE, SIZE, 3),
        box=box,
        open_sides=torch.ones(1, 4, dtype=torch.bool),
        size_mean=torch.tensor([[3.88, 1.63, 1.53]]).double(),
        size_sigma=torch.tensor([[0.4, 0.1, 0.13]]).double(),
    )


def rendering(coverage: torch.Tensor, depth: float = 10.0) -> Rendering:
    return Rendering(
        coverage=coverage,
        depth=depth * (coverage > 0),
        box=torch.tensor([[2.0, 2.0, 6.0, 6.0]], dtype=torch.float64),
        location=torch.tensor([[0.0, 1.65, 10.0]], dtype=torch.float64),
        size=torch.tensor([[3.88, 1.63, 1.53]], dtype=torch.float64),
        latent=torch.zeros(1, 8, dtype=torch.float64),
        depth_scale=torch.zeros(1, dtype=torch.float64),
    )


def value(term: object, drawn: Rendering, seen: Evidence) -> float:
    return float(term.value(drawn, seen)[0])  # type: ignore[attr-defined]


def test_a_sum_prints_its_formula_and_returns_its_terms() -> None:
    loss = Silhouette(levels=1) + 0.1 * Depth() + 2 * (3.0 * LatentPrior())
    assert repr(loss) == "Silhouette(levels=1) + 0.1 * Depth() + 6 * LatentPrior()"
    drawn = dataclasses.replace(rendering(square(2, 6)), latent=torch.ones(1, 8).double())
    result = loss(drawn, evidence(square(2, 6)))
    assert set(result.terms) == {"silhouette", "depth", "latent"}
    assert float(result.total[0]) == pytest.approx(6 * 4.0, abs=1e-3)


def test_the_same_term_twice_is_refused() -> None:
    with pytest.raises(InputError, match="each term once"):
        Silhouette() + 2.0 * Silhouette()


def test_silhouette_is_one_minus_iou() -> None:
    seen = evidence(square(2, 6))
    assert value(Silhouette(levels=1), rendering(square(2, 6)), seen) == pytest.approx(0.0, abs=1e-9)
    shifted = value(Silhouette(levels=1), rendering(square(4, 8)), seen)
    assert shifted == pytest.approx(1 - 8 / 24, abs=1e-3)


def test_silhouette_ignores_what_another_object_may_hide() -> None:
    seen = evidence(square(2, 4))  # the right half is behind another instance
    care = torch.ones_like(seen.mask)
    care[:, :, 4:] = 0
    hidden = dataclasses.replace(seen, care=care)
    assert value(Silhouette(), rendering(square(2, 6)), hidden) == pytest.approx(0.0, abs=1e-9)
    assert value(Silhouette(), rendering(square(2, 6)), seen) > 0.3


def test_box_is_flat_inside_its_margin_and_one_sided_where_closed() -> None:
    seen = evidence(square(2, 6))
    near = dataclasses.replace(rendering(square(2, 6)), box=seen.box + 0.05)
    assert value(Box(margin=0.02), near, seen) == 0.0
    wide = dataclasses.replace(near, box=seen.box + torch.tensor([0.0, 0, 2.0, 0]).double())
    assert value(Box(margin=0.02), wide, seen) == pytest.approx(2 / 4 - 0.02)
    cut = dataclasses.replace(seen, open_sides=torch.tensor([[True, True, False, True]]))
    assert value(Box(margin=0.02), wide, cut) == 0.0
    narrow = dataclasses.replace(near, box=seen.box - torch.tensor([0.0, 0, 2.0, 0]).double())
    assert value(Box(margin=0.02), narrow, cut) == pytest.approx(2 / 4 - 0.02)


def test_depth_counts_standard_deviations_inside_the_mask_only() -> None:
    seen = evidence(square(2, 6))
    assert value(Depth(), rendering(square(2, 6), 10.5), seen) == pytest.approx(math.sqrt(2) - 1)
    beyond = rendering(torch.ones(1, SIZE, SIZE).double(), 10.5)
    assert value(Depth(), beyond, seen) == pytest.approx(math.sqrt(2) - 1)
    assert value(Depth(), rendering(square(6, 8)), seen) == 0.0


def test_depth_scale_explains_a_common_factor_at_a_price() -> None:
    seen = evidence(square(2, 6))
    drawn = dataclasses.replace(
        rendering(square(2, 6), 9.0), depth_scale=torch.tensor([math.log(10 / 9)]).double()
    )
    assert value(Depth(), drawn, seen) == pytest.approx(0.0, abs=1e-9)
    assert value(ScalePrior(0.05), drawn, seen) == pytest.approx(0.5 * (math.log(10 / 9) / 0.05) ** 2)


def test_depth_is_measured_along_the_normal() -> None:
    seen = evidence(square(2, 6))
    facing = torch.full((1, SIZE, SIZE), 0.5).double()
    slanted = dataclasses.replace(rendering(square(2, 6), 11.0), facing=facing)
    straight = rendering(square(2, 6), 10.5)
    assert value(Depth(), slanted, seen) == pytest.approx(value(Depth(), straight, seen))


def test_photometric_prefers_parts_in_their_places_and_needs_parts() -> None:
    mask = square(2, 6)
    image = torch.zeros(1, SIZE, SIZE, 3).double()
    image[:, 4:6, 2:6] = torch.tensor([0.6, 0.1, 0.1]).double()
    seen = dataclasses.replace(evidence(mask), image=image)
    term = Photometric(palette=((0.0, 0.0, 0.0), (0.6, 0.1, 0.1)), spread=(0.1, 0.1))
    parts = torch.zeros(1, SIZE, SIZE, 2).double()
    parts[:, 2:4, 2:6, 0] = 1
    parts[:, 4:6, 2:6, 1] = 1
    right = dataclasses.replace(rendering(mask), parts=parts)
    wrong = dataclasses.replace(rendering(mask), parts=parts.flip(-1))
    assert value(term, right, seen) == pytest.approx(0.0, abs=1e-9)
    assert value(term, wrong, seen) > 0.1
    with pytest.raises(InputError, match=r"needs Rendering.parts"):
        term.value(rendering(mask), seen)


def test_photometric_gradient_is_that_of_the_optimal_colours() -> None:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(1, 4, 4).double()
    image = torch.rand(1, 4, 4, 3, generator=generator).double()
    box = evidence(square(2, 6))
    seen = dataclasses.replace(box, mask=mask, care=mask, image=image)
    term = Photometric(palette=((0.2,) * 3, (0.7,) * 3), spread=(0.3, 0.2))
    parts = torch.rand(1, 4, 4, 2, generator=generator).double().requires_grad_()

    def loss(p: torch.Tensor) -> torch.Tensor:
        return term.value(dataclasses.replace(rendering(square(2, 6)), parts=p), seen)

    assert torch.autograd.gradcheck(loss, (parts,))


def test_priors_are_half_squared_standard_deviations() -> None:
    seen = evidence(square(2, 6))
    drawn = rendering(square(2, 6))
    assert value(SizePrior(), drawn, seen) == pytest.approx(0.0, abs=1e-9)
    long = dataclasses.replace(drawn, size=torch.tensor([[4.28, 1.63, 1.53]]).double())
    assert value(SizePrior(), long, seen) == pytest.approx(0.5)
    sunk = dataclasses.replace(drawn, location=torch.tensor([[0.0, 1.75, 0.0]]).double())
    assert value(GroundContact(near=0.1, slope=0.0), sunk, seen) == pytest.approx(0.5)
    far = dataclasses.replace(drawn, location=torch.tensor([[0.0, 2.05, 20.0]]).double())
    assert value(GroundContact(near=0.0, slope=0.02), far, seen) == pytest.approx(0.5)
