"""The hindsight loss: only the winner learns, the student learns who won."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from predict_cases import TINY, prior, some

from diffrender.errors import InputError
from diffrender.predict import (
    Hindsight,
    HindsightSettings,
    Prediction,
    decode,
    hindsight,
    network_inputs,
)
from diffrender.predict.network import output_sizes
from diffrender.predict.training import training_loss


def numbers() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    raw = 0.2 * torch.randn(4, sum(output_sizes(TINY).values()), generator=draw)
    return raw.requires_grad_()


def outcome(
    raw: torch.Tensor, settings: HindsightSettings | None = None
) -> tuple[Prediction, Hindsight]:
    prediction = decode(raw, network_inputs(some()), some(), TINY)
    return prediction, hindsight(prior(), some(), prediction, training_loss(prior()), settings)


def test_only_the_best_hypothesis_learns() -> None:
    raw = numbers()
    value = outcome(raw, HindsightSettings(belief=0.0))[1]
    assert torch.equal(value.winner, value.losses.argmin(1))
    value.total.backward()
    assert raw.grad is not None
    sizes = output_sizes(TINY)
    part = dict(zip(sizes, raw.grad.split(list(sizes.values()), dim=1), strict=True))
    own = part["own"].unflatten(1, (4, -1)).abs().sum(-1)
    for grad in (own, part["turn"].abs()):
        for row, winner in zip(grad, value.winner.tolist(), strict=True):
            assert row[winner] > 0
            assert row.sum() == row[winner]
    for name in ("common", "belief", "colours", "trust"):
        assert (part[name].abs().sum(1) > 0).all(), name


def test_the_student_is_drawn_to_the_winner() -> None:
    raw = numbers()
    prediction, value = outcome(raw)
    (grad,) = torch.autograd.grad(value.total, prediction.belief)
    best = value.losses.argmin(1)
    assert (grad.gather(1, best[:, None]) < 0).all()  # descending raises it
    torch.testing.assert_close(grad.sum(1), torch.zeros(4), atol=1e-6, rtol=0)


def test_belief_decides_where_the_objective_hardly_does() -> None:
    raw = numbers()
    prediction, value = outcome(raw)
    second = value.losses.topk(2, dim=1, largest=False).indices[:, 1]
    gap = value.losses.topk(2, dim=1, largest=False).values.diff(dim=1)[:, 0]
    sure = torch.zeros(4, 4).scatter_(1, second[:, None], (gap[:, None] + 30) / 1.0)
    convinced = dataclasses.replace(prediction, belief=sure)
    again = hindsight(prior(), some(), convinced, training_loss(prior()))
    assert torch.equal(again.winner, second)
    plain = hindsight(
        prior(), some(), convinced, training_loss(prior()), HindsightSettings(belief=0.0)
    )
    assert torch.equal(plain.winner, value.losses.argmin(1))


def test_descending_it_draws_better() -> None:
    """The numbers themselves, without a network: what is learned follows from the pictures."""
    raw = torch.zeros(4, sum(output_sizes(TINY).values()), requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    trace = []
    for _ in range(25):
        value = outcome(raw)[1]
        optimizer.zero_grad()
        value.total.backward()
        optimizer.step()
        trace.append({k: float(v) for k, v in value.terms.items()})
    assert trace[-1]["objective"] < 0.6 * trace[0]["objective"]
    assert trace[-1]["silhouette"] < 0.8 * trace[0]["silhouette"]
    assert trace[-1]["colour"] < trace[0]["colour"]
    assert trace[-1]["agreed"] == 1.0


def test_refusals() -> None:
    with pytest.raises(InputError, match="temperature is 0"):
        HindsightSettings(temperature=0.0)
    with pytest.raises(InputError, match=r"belief is -1"):
        HindsightSettings(belief=-1.0)
