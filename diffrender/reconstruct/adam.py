"""Adam: small sure steps, the sizes of which are known beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from diffrender.reconstruct.descent import Iterate, Objective
from diffrender.reconstruct.hypotheses import Hypotheses

__all__ = ["Adam"]


@dataclass(frozen=True)
class Adam:
    """Adam with one step size per variable, decaying along a half cosine to a twentieth.

    Source: Kingma and Ba, Adam, 2015, algorithm 1; moments 0.9 and 0.99.
    """

    share: float = 1.0

    def iterates(self, iterations: int) -> int:
        """An evaluation each; the last one's step is not weighed."""
        return max(iterations, 1)

    def run(self, objective: Objective, start: Hypotheses, iterations: int) -> Iterator[Iterate]:
        """Every hypothesis for that many steps; the loss may rise on the way."""
        point = objective.pack(start)
        rates = objective.step_sizes()
        first, second = torch.zeros_like(point), torch.zeros_like(point)
        b1, b2 = 0.9, 0.99
        count = self.iterates(iterations)
        for iteration in range(count):
            leaf = point.detach().requires_grad_()
            now = objective.unpack(leaf, start)
            value = objective.value(now)
            (gradient,) = torch.autograd.grad(value.total.sum(), leaf)
            gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
            slow = 0.5 * (1 + math.cos(math.pi * iteration / count)) * 0.95 + 0.05
            first = b1 * first + (1 - b1) * gradient
            second = b2 * second + (1 - b2) * gradient**2
            ahead = first / (1 - b1 ** (iteration + 1))
            spread = torch.sqrt(second / (1 - b2 ** (iteration + 1))) + 1e-8
            point = point - slow * rates * ahead / spread
            yield Iterate(objective.unpack(leaf.detach(), start), value)
