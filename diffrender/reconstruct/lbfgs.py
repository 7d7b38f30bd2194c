"""L-BFGS on many hypotheses at once: curvature learned from the last steps of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.losses import LossValue
from diffrender.reconstruct.descent import Iterate, Objective
from diffrender.reconstruct.hypotheses import Hypotheses

__all__ = ["LBFGS"]

_ARMIJO = 1e-4


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS, each hypothesis with a memory and a step length of its own.

    Variables are counted in units of `StepSizes`, which makes the first curvature a good one. A
    step that lowers the loss enough (Armijo) is taken; else the hypothesis stays and tries half of
    it in the next iteration, so an iteration is one evaluation for the whole batch.

    Attributes:
        memory: steps remembered.
        reach: the longest step of any variable, in units of `StepSizes`.
        share: iterations that it needs, as a share of Adam's.

    Source: Nocedal and Wright, Numerical Optimization, 2006, algorithms 7.4 and 3.1.
    """

    memory: int = 8
    reach: float = 8.0
    share: float = 0.75

    def iterates(self, iterations: int) -> int:
        """An evaluation each, of which the first is the start."""
        return max(iterations, 1)

    def run(self, objective: Objective, start: Hypotheses, iterations: int) -> Iterator[Iterate]:
        """`iterations` evaluations; the loss of an iterate never rises."""
        unit, held = objective.step_sizes(), objective.pack(start)

        def values(point: Tensor) -> Tensor:  # a variable whose step is 0 stays where it starts
            return torch.where(unit > 0, point * unit, held)

        point = held / torch.where(unit > 0, unit, 1.0)
        value, gradient = _evaluate(objective, values(point), start)
        total = value.total.detach()
        terms = {n: t.detach().clone() for n, t in value.terms.items()}
        memory: list[tuple[Tensor, Tensor, Tensor]] = []
        direction = self._direction(gradient, memory)
        length = torch.ones_like(total)
        yield Iterate(start, LossValue(total, dict(terms)))
        for _ in range(iterations - 1):
            step = length[:, None] * direction
            value, there = _evaluate(objective, values(point + step), start)
            new = torch.nan_to_num(value.total.detach(), nan=torch.inf)
            better = new < total + _ARMIJO * (gradient * step).sum(-1)
            taken = better[:, None]
            moved = torch.where(taken, step, torch.zeros_like(step))
            bent = torch.where(taken, there - gradient, torch.zeros_like(step))
            memory.append((moved, bent, (moved * bent).sum(-1)))
            memory = memory[-self.memory :]
            point = point + moved
            gradient = torch.where(taken, there, gradient)
            total = torch.where(better, new, total)
            terms = {n: torch.where(better, value.terms[n].detach(), t) for n, t in terms.items()}
            # The length must not fall for ever: a refused step halves it, a taken one frees it.
            length = torch.where(better, 1.0, 0.5 * length)
            stuck = length < 1e-3
            length = torch.where(stuck, 1.0, length)
            memory = [(s, y, torch.where(stuck, 0.0, sy)) for s, y, sy in memory]
            fresh = self._direction(gradient, memory)
            direction = torch.where((better | stuck)[:, None], fresh, direction)
            yield Iterate(objective.unpack(values(point), start), LossValue(total, dict(terms)))

    def _direction(self, gradient: Tensor, memory: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Two-loop recursion per row; a pair without positive curvature is passed over."""
        q = gradient
        scale = torch.ones_like(gradient[:, 0])
        shares: list[Tensor] = []
        for s, y, sy in reversed(memory):
            good = sy > 1e-8
            share = torch.where(good, (s * q).sum(-1) / sy.clamp(min=1e-8), 0.0)
            shares.append(share)
            q = q - share[:, None] * y
        fitted = torch.zeros_like(scale, dtype=torch.bool)
        for _, y, sy in reversed(memory):  # the newest good pair says how long a step is
            use = (sy > 1e-8) & ~fitted
            scale = torch.where(use, sy / (y * y).sum(-1).clamp(min=1e-12), scale)
            fitted = fitted | use
        first = 1 / gradient.norm(dim=-1).clamp(min=1.0)  # about one step before anything is known
        q = q * torch.where(fitted, scale, first)[:, None]
        for (s, y, sy), share in zip(memory, reversed(shares), strict=True):
            good = sy > 1e-8
            back = torch.where(good, (y * q).sum(-1) / sy.clamp(min=1e-8), 0.0)
            q = q + torch.where(good, share - back, 0.0)[:, None] * s
        downhill = ((q * gradient).sum(-1) > 0)[:, None]
        q = torch.where(downhill, q, gradient * first[:, None])
        longest = q.abs().amax(-1, keepdim=True) / self.reach
        return -q / longest.clamp(min=1.0)


def _evaluate(objective: Objective, values: Tensor, like: Hypotheses) -> tuple[LossValue, Tensor]:
    """Loss and its gradient in units of the step sizes."""
    leaf = values.detach().requires_grad_()
    value = objective.value(objective.unpack(leaf, like))
    (gradient,) = torch.autograd.grad(value.total.sum(), leaf)
    gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
    return value, gradient * objective.step_sizes()
