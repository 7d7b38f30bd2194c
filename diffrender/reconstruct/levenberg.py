"""Levenberg-Marquardt: a small dense system per hypothesis, from the drawing's own Jacobian."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.losses import LossValue
from diffrender.reconstruct.descent import Iterate, Linear, Objective
from diffrender.reconstruct.hypotheses import Hypotheses

__all__ = ["LevenbergMarquardt"]

_LEAST, _MOST = 1e-4, 1e4  # of the damping; beyond it no step is left to take


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss-Newton steps on the loss itself, not on a sum of squares.

    The step d of a hypothesis solves (A + damping (diag A + 1 / (reach step)^2)) d = -g with g the
    gradient and A the generalised Gauss-Newton curvature J^T D J (`diffrender.losses.Tangents`),
    and no variable moves by more than `reach` steps. It is taken only where the loss falls; the
    damping follows the ratio of that fall to the one foreseen. A hypothesis that no longer falls
    leaves the batch, and so does one that stands hopelessly above another of the same object.

    Attributes:
        damping: at the start.
        hopeless: so much above the best hypothesis of its object, after `patience` steps.
        reach: the longest step, in units of `StepSizes`.
        share: iterations that it needs, as a share of Adam's.

    Source: Marquardt, An algorithm for least-squares estimation of nonlinear parameters, 1963;
    damping after Nielsen, Damping parameter in Marquardt's method, 1999, eq. 2.4.
    """

    damping: float = 0.1
    reach: float = 8.0
    hopeless: float = 25.0
    patience: int = 5
    share: float = 7 / 32

    def iterates(self, iterations: int) -> int:
        """The start, and every step."""
        return iterations + 1

    def run(self, objective: Objective, start: Hypotheses, iterations: int) -> Iterator[Iterate]:
        """At most `iterations` steps; ends once every hypothesis has settled.

        A step takes one Jacobian, where it begins; nothing follows the last one, so it is only
        weighed.
        """
        point = objective.pack(start)
        bound = self.reach * objective.step_sizes()
        here = objective.linear(start)
        now, state = start, _State.start(here, self.damping)
        yield Iterate(now, here.value)
        for iteration in range(iterations):
            if iteration >= self.patience:
                state.give_up(start.owner, self.hopeless)
            active = torch.nonzero(~state.settled)[:, 0]
            if not len(active):
                return
            step = state.step(active, bound)
            tried = objective.unpack(point[active] + step, start[active])
            there = None
            if iteration + 1 < iterations:
                there = objective.linear(tried)
                value = there.value
            else:
                with torch.no_grad():
                    value = objective.value(tried)
            better = state.update(active, step, value, objective.tolerance)
            if there is not None:
                state.linearise(active, better, there)
            point = point.index_add(0, active[better], step[better])
            now = objective.unpack(point, start)
            yield Iterate(now, state.value())


@dataclass
class _State:
    """The linearisation at the point of every hypothesis, and its damping."""

    total: Tensor  # (N,)
    terms: dict[str, Tensor]
    gradient: Tensor  # (N, K)
    curvature: Tensor  # (N, K, K)
    damping: Tensor  # (N,)
    growth: Tensor  # (N,)
    small: Tensor  # (N,) how often in a row the loss hardly fell
    settled: Tensor  # (N,)

    @classmethod
    def start(cls, here: Linear, damping: float) -> _State:
        total = _finite(here.value.total)
        one = torch.ones_like(total)
        return cls(
            total=total,
            terms={name: term.clone() for name, term in here.value.terms.items()},
            gradient=_number(here.gradient),
            curvature=_number(here.curvature),
            damping=damping * one,
            growth=2 * one,
            small=torch.zeros_like(total),
            settled=~torch.isfinite(total),
        )

    def value(self) -> LossValue:
        return LossValue(self.total.clone(), {n: t.clone() for n, t in self.terms.items()})

    def step(self, active: Tensor, bound: Tensor) -> Tensor:
        """(A, K) the damped step of the active hypotheses, in double precision inside."""
        g, a = self.gradient[active].double(), self.curvature[active].double()
        unit = bound.double()
        g, a = g * unit, a * unit[:, None] * unit  # variables in units of their longest step
        weight = 1 + a.diagonal(dim1=-2, dim2=-1)
        damped = a + torch.diag_embed(self.damping[active].double()[:, None] * weight)
        step = -torch.linalg.solve(damped, g[..., None])[..., 0]
        return (_number(step).clamp(-1, 1) * unit).to(self.gradient)

    def give_up(self, owner: Tensor, hopeless: float) -> None:
        """Settle what stands far above the best of its owner."""
        best = torch.full_like(self.total, torch.inf).scatter_reduce(0, owner, self.total, "amin")
        self.settled |= self.total > best[owner] + hopeless

    def update(self, active: Tensor, step: Tensor, value: LossValue, tolerance: float) -> Tensor:
        """Take what is better, and damp by how well it was foreseen; (A,) which were taken."""
        old, new = self.total[active], _finite(value.total)
        better = new < old
        bent = (self.curvature[active] @ step[..., None])[..., 0]
        foreseen = -(step * (self.gradient[active] + 0.5 * bent)).sum(-1)
        ratio = (old - new) / foreseen.clamp(min=1e-9)
        easier = (1 - (2 * ratio - 1) ** 3).clamp(1 / 3, 2)
        growth, damping = self.growth[active], self.damping[active]
        damping = torch.where(better, damping * easier, damping * growth)
        self.damping[active] = damping.clamp(min=_LEAST)
        self.growth[active] = torch.where(better, 2.0, 2 * growth)
        little = (old - new < tolerance * old.abs().clamp(min=1.0)) & better
        small = self.small[active]
        self.small[active] = torch.where(better, (small + 1) * little, small)
        self.settled[active] = (self.small[active] >= 2) | (damping > _MOST)
        taken = active[better]
        self.total[taken] = new[better]
        for name, term in value.terms.items():
            self.terms[name][taken] = term[better]
        return better

    def linearise(self, active: Tensor, better: Tensor, there: Linear) -> None:
        """Slopes of what was taken, for the next step."""
        taken = active[better]
        self.gradient[taken] = _number(there.gradient)[better]
        self.curvature[taken] = _number(there.curvature)[better]


def _finite(total: Tensor) -> Tensor:
    return torch.nan_to_num(total, nan=torch.inf, posinf=torch.inf, neginf=torch.inf).clone()


def _number(value: Tensor) -> Tensor:
    return torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
