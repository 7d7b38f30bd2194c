"""Colours in CIELAB, the robust photometric norm, and structure."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffrender.errors import InputError
from diffrender.losses import Evidence, Photometric, Rendering, Structure, srgb_to_lab

SIDE = 16
PALETTE = ((0.5, 0.5, 0.5), (0.1, 0.1, 0.1))
SPREAD = (0.3, 0.3)


def parts(shift: int) -> torch.Tensor:
    """Left part 0, right part 1, the border `shift` pixels right of the middle."""
    which = torch.arange(SIDE) >= SIDE // 2 + shift
    one = torch.stack([~which, which], dim=-1).double()
    return one.expand(1, SIDE, SIDE, 2).clone()


def rendering(shift: int = 0) -> Rendering:
    nothing = torch.zeros(1, 4, dtype=torch.float64)
    full = torch.ones(1, SIDE, SIDE, dtype=torch.float64)
    return Rendering(
        coverage=full, depth=10 * full, box=nothing, location=nothing[:, :3],
        size=nothing[:, :3], latent=nothing, parts=parts(shift),
    )  # fmt: skip


def evidence(left: float = 0.8, right: float = 0.2) -> Evidence:
    full = torch.ones(1, SIDE, SIDE, dtype=torch.float64)
    shades = torch.tensor([left, right], dtype=torch.float64)
    image = (parts(0) @ shades)[..., None].expand(-1, -1, -1, 3).clone()
    one = torch.ones(1, dtype=torch.float64)
    return Evidence(
        mask=full, care=full, depth=full, depth_sigma=one, depth_floor=one, image=image,
        box=torch.zeros(1, 4), open_sides=torch.ones(1, 4, dtype=torch.bool),
        size_mean=torch.ones(1, 3), size_sigma=torch.ones(1, 3),
    )  # fmt: skip


def test_lab_of_known_colours() -> None:
    colours = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    expected = torch.tensor(
        [[100.0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [0] * 3]
    )
    assert torch.allclose(100 * srgb_to_lab(colours), expected.double(), atol=0.1)
    inner = torch.rand(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(srgb_to_lab, inner)


@pytest.mark.parametrize("space", ["rgb", "lab"])
@pytest.mark.parametrize("bend", [None, 0.1])
def test_parts_in_their_place_cost_less_in_every_norm(space: str, bend: float | None) -> None:
    term = Photometric(PALETTE, SPREAD, space=space, bend=bend)  # type: ignore[arg-type]
    values = [float(term.value(rendering(shift), evidence())) for shift in (0, 2, 4)]
    assert values[0] < values[1] < values[2]


def test_a_reflection_weighs_less_in_the_robust_norm() -> None:
    spoiled = evidence()
    spoiled.image[:, :4, :4] = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    extra = {}
    for bend in (None, 0.05):
        term = Photometric(PALETTE, SPREAD, bend=bend)
        extra[bend] = float(term.value(rendering(), spoiled) - term.value(rendering(), evidence()))
    assert extra[0.05] < 0.8 * extra[None]


@pytest.mark.parametrize(
    "term",
    [Photometric(PALETTE, SPREAD, space="lab", bend=0.1), Photometric(PALETTE, SPREAD)],
    ids=["lab-robust", "rgb"],
)
def test_the_gradient_holds_the_colours_fixed_and_is_still_exact(term: Photometric) -> None:
    draws = torch.Generator().manual_seed(2)
    soft = torch.rand(1, SIDE, SIDE, 2, generator=draws, dtype=torch.float64)
    direction = torch.rand(soft.shape, generator=draws, dtype=torch.float64) - 0.5

    def value(share: torch.Tensor) -> torch.Tensor:
        moved = dataclasses.replace(rendering(), parts=share)
        return term.value(moved, evidence()).sum()

    leaf = soft.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    step = 1e-5
    quotient = (value(soft + step * direction) - value(soft - step * direction)) / (2 * step)
    ours = float((gradient * direction).sum())
    # Twelve rounds of reweighting come near the optimum of the robust norm, not onto it.
    assert ours == pytest.approx(float(quotient), rel=1e-6 if term.bend is None else 1e-4)


def test_structure_asks_where_not_how_dark() -> None:
    term = Structure(PALETTE, SPREAD)
    assert float(term.value(rendering(), evidence())) < 0.05
    faint = float(term.value(rendering(), evidence(0.6, 0.4)))
    assert faint < 0.05
    assert float(term.value(rendering(4), evidence())) > 0.2
    leaf = parts(1).requires_grad_()
    moved = dataclasses.replace(rendering(), parts=leaf)
    (gradient,) = torch.autograd.grad(term.value(moved, evidence()).sum(), leaf)
    assert torch.isfinite(gradient).all()


def test_parts_are_needed() -> None:
    bare = dataclasses.replace(rendering(), parts=None)
    for term in (Photometric(PALETTE, SPREAD), Structure(PALETTE, SPREAD)):
        with pytest.raises(InputError, match="render the parts"):
            term.value(bare, evidence())
