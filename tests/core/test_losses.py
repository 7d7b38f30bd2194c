"""Losses: the algebra, and every term on inputs whose value is known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

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
    Silhouette,
    SizePrior,
    Structure,
)
from diffrender.road import Road

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
        depth_sigma=torch.tensor([0.5]).double(),
        depth_floor=torch.zeros(1).double(),
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
    )


def value(term: object, drawn: Rendering, seen: Evidence) -> float:
    return float(term.value(drawn, seen)[0])  # type: ignore[attr-defined]


def test_a_sum_prints_its_formula_and_returns_its_terms() -> None:
    loss = Silhouette(levels=1) + 0.1 * Box() + 2 * (3.0 * LatentPrior())
    assert repr(loss) == "Silhouette(levels=1) + 0.1 * Box(margin=0.02) + 6 * LatentPrior()"
    drawn = dataclasses.replace(rendering(square(2, 6)), latent=torch.ones(1, 8).double())
    result = loss(drawn, evidence(square(2, 6)))
    assert set(result.terms) == {"silhouette", "box", "latent"}
    assert float(result.total[0]) == pytest.approx(6 * 4.0, abs=1e-3)


def test_the_same_term_twice_is_refused() -> None:
    with pytest.raises(InputError, match="each term once"):
        Silhouette() + 2.0 * Silhouette()


def test_silhouette_is_one_minus_iou() -> None:
    seen = evidence(square(2, 6))
    assert value(Silhouette(levels=1), rendering(square(2, 6)), seen) == pytest.approx(
        0.0, abs=1e-9
    )
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
    rigid = Depth(scale=1e-6, samples=1.0, patch=2)
    one_sigma = pytest.approx(math.sqrt(2) - 1, rel=1e-4)
    assert value(rigid, rendering(square(2, 6), 10.5), seen) == one_sigma
    beyond = rendering(torch.ones(1, SIZE, SIZE).double(), 10.5)
    assert value(rigid, beyond, seen) == one_sigma
    assert value(rigid, rendering(square(6, 8)), seen) == 0.0
    assert value(Depth(1e-6, 20.0, 2), beyond, seen) == pytest.approx(
        20 * (math.sqrt(2) - 1), rel=1e-4
    )


def test_depth_explains_a_common_factor_at_the_price_of_its_prior() -> None:
    seen = evidence(square(2, 6))
    drawn = rendering(square(2, 6), 9.0)
    s = torch.linspace(0, 0.2, 2001).double()
    residual = (9.0 * torch.exp(s) - 10.0) / 0.5
    brute = 20 * (torch.sqrt(1 + residual**2) - 1) + 0.5 * (s / 0.05) ** 2
    assert value(Depth(0.05, 20.0, 2), drawn, seen) == pytest.approx(float(brute.min()), rel=1e-4)


def test_depth_gradient_is_that_of_the_optimal_factor() -> None:
    seen = evidence(square(2, 6))
    depth = torch.full((1, SIZE, SIZE), 9.6, dtype=torch.float64)
    depth = depth + 0.3 * torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    depth = depth.requires_grad_()

    def loss(d: torch.Tensor) -> torch.Tensor:
        return Depth(0.05, 20.0, 2).value(
            dataclasses.replace(rendering(square(2, 6)), depth=d), seen
        )

    assert torch.autograd.gradcheck(loss, (depth,), rtol=2e-3, atol=1e-4)


def test_depth_forgives_an_error_of_shape_on_slanted_surfaces() -> None:
    nothing = torch.zeros(1).double()
    shape = dataclasses.replace(
        evidence(square(2, 6)), depth_sigma=nothing, depth_floor=torch.tensor([0.5]).double()
    )
    facing = torch.full((1, SIZE, SIZE), 0.5).double()
    slanted = dataclasses.replace(rendering(square(2, 6), 11.0), facing=facing)
    straight = rendering(square(2, 6), 10.5)
    rigid = Depth(scale=1e-6, patch=2)
    per_sigma = 20 * math.log(2)  # twice the sigma, twice the width of the likelihood
    expected = value(rigid, straight, shape) + per_sigma
    assert value(rigid, slanted, shape) == pytest.approx(expected, rel=1e-4)
    noisy = evidence(square(2, 6))  # noise in z does not care which way a surface faces
    flat = dataclasses.replace(slanted, facing=None)
    assert value(rigid, slanted, noisy) == pytest.approx(value(rigid, flat, noisy))


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
    assert value(GroundContact(Road(near=0.1, bend=0.0, doubt=0.0)), sunk, seen) == pytest.approx(
        0.5
    )
    far = dataclasses.replace(drawn, location=torch.tensor([[0.0, 2.05, 20.0]]).double())
    assert value(GroundContact(Road(near=0.0, bend=0.02, doubt=0.0)), far, seen) == pytest.approx(
        0.5
    )


def test_the_ground_does_not_care_where_on_the_road_an_object_stands() -> None:
    term, seen = GroundContact(Road(height=1.6, slope=0.03, bank=-0.02)), evidence(square(2, 6))
    for x, z in ((0.0, 10.0), (-4.0, 10.0), (3.0, 40.0)):
        feet = torch.tensor([[x, 1.6 + 0.03 * z - 0.02 * x, z]], dtype=torch.float64)
        drawn = dataclasses.replace(rendering(square(2, 6)), location=feet)
        assert value(term, drawn, seen) == pytest.approx(0.0, abs=1e-12)
        sunk = dataclasses.replace(drawn, location=feet + torch.tensor([0.0, 0.5, 0.0]))
        assert value(term, sunk, seen) > 0.1


def test_nothing_is_broadcast() -> None:
    seen, drawn = evidence(square(2, 6)), rendering(square(2, 6))
    loss = Silhouette(levels=1) + SizePrior()
    assert torch.isfinite(loss(drawn, seen).total).all()
    fields = {f.name: getattr(drawn, f.name) for f in dataclasses.fields(drawn)}
    twice = Rendering(**{k: None if v is None else torch.cat([v, v]) for k, v in fields.items()})
    with pytest.raises(
        InputError, match=r"Evidence.mask has shape \(1, 8, 8\), expected \(2, 8, 8\)"
    ):
        loss(twice, seen)
    for name in ("mask", "care", "depth", "image", "size_sigma"):
        flat = dataclasses.replace(seen, **{name: getattr(seen, name)[0]})
        with pytest.raises(InputError, match=f"Evidence.{name} has shape"):
            loss(drawn, flat)
    with pytest.raises(InputError, match="Rendering.box has shape"):
        loss(dataclasses.replace(drawn, box=drawn.box[0]), seen)


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf, -1.0])
def test_depth_that_is_no_number_is_unknown(unknown: float) -> None:
    mask, drawn = square(2, 6), rendering(square(2, 6))
    half = square(2, 4)
    seen = dataclasses.replace(evidence(mask), depth=torch.where(half > 0, 11.0, 0.0).double())
    holes = torch.where(half > 0, 11.0, unknown).double()
    term = Depth(patch=2)
    surface = drawn.depth.clone().requires_grad_(True)
    found = term.value(
        dataclasses.replace(drawn, depth=surface), dataclasses.replace(seen, depth=holes)
    )
    assert float(found.detach()) == value(term, drawn, seen)
    (slope,) = torch.autograd.grad(found.sum(), surface)
    assert torch.isfinite(slope).all()


def test_terms_refuse_what_they_cannot_work_with() -> None:
    palette, spread = ((0.1, 0.1, 0.1), (0.5, 0.5, 0.5)), (0.1, 0.2)
    for make, words in (
        (lambda: Silhouette(levels=0), "levels is 0"),
        (lambda: Box(margin=math.nan), "margin is nan"),
        (lambda: Depth(patch=0), "patch is 0"),
        (lambda: Depth(samples=-1.0), "samples is -1.0"),
        (lambda: Depth(scale=0.0), "Depth has scale 0.0"),
        (lambda: Depth(scale=math.inf), "Depth has scale inf"),
        (lambda: Depth(common=math.nan), "common nan"),
        (lambda: Photometric(palette, spread, noise=0.0), "noise is 0.0"),
        (lambda: Photometric(palette, spread, bend=0.0), "bend is 0.0"),
        (lambda: Photometric(palette, spread, space="hsv"), "space is 'hsv'"),  # type: ignore[arg-type]
        (lambda: Photometric(palette, spread[:1]), "2 colours and spread 1 deviations"),
        (lambda: Structure(palette, (0.0, 0.1)), "expected positive deviations"),
        (lambda: math.nan * Silhouette(), "weight of silhouette is nan"),
    ):
        with pytest.raises(InputError, match=words):
            make()  # type: ignore[no-untyped-call]
    seen, drawn = evidence(square(2, 6)), rendering(square(2, 6))
    with pytest.raises(InputError, match="5 levels got 1 windows of 8 x 8 pixels"):
        Silhouette(levels=5)(drawn, seen)
    with pytest.raises(InputError, match="patches of 16 got 1 windows of 8 x 8 pixels"):
        Depth(patch=16)(drawn, seen)
    with pytest.raises(InputError, match=r"Rendering.parts has shape \(1, 8, 8, 3\)"):
        Photometric(palette, spread)(
            dataclasses.replace(drawn, parts=torch.zeros(1, 8, 8, 3).double()), seen
        )


_COLOURS = (((0.0, 0.0, 0.0), (0.6, 0.1, 0.1)), (0.1, 0.1))
_TERMS = (
    Silhouette(), Box(), Depth(), Photometric(*_COLOURS), Structure(*_COLOURS), SizePrior(),
    LatentPrior(),
)  # fmt: skip


@pytest.mark.parametrize("term", _TERMS, ids=lambda term: term.name)
def test_convention_nothing_is_differentiable_to_the_evidence(term: Any) -> None:
    seen = evidence(square(2, 6))
    leaves = {
        f.name: getattr(seen, f.name).clone().requires_grad_()
        for f in dataclasses.fields(seen)
        if getattr(seen, f.name).is_floating_point()
    }
    drawn = rendering(square(1, 5), 11.0)
    parts = torch.rand(1, SIZE, SIZE, 2, generator=torch.Generator().manual_seed(0)).double()
    drawn = dataclasses.replace(
        drawn,
        coverage=drawn.coverage.requires_grad_(),
        size=(1.1 * drawn.size).requires_grad_(),
        latent=drawn.latent.clone().requires_grad_(),
        box=(drawn.box + 0.5).requires_grad_(),
        depth=drawn.depth.detach().requires_grad_(),
        parts=parts.requires_grad_(),
    )
    term(drawn, dataclasses.replace(seen, **leaves)).total.sum().backward()
    assert all(leaf.grad is None for leaf in leaves.values())
