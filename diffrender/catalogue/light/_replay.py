"""The radiance along paths, and its adjoint by replaying the same paths (Vicini et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from diffrender.catalogue.light._materials import Lit
from diffrender.catalogue.light._paths import Step

__all__ = ["Paths", "radiance", "replayed_radiance"]


class Paths(Protocol):
    """Paths that can be walked as often as one likes, each time the same."""

    def steps(self) -> Iterator[Step]:
        """The bounces, from the camera on."""
        ...

    def gained(self, step: Step, lit: Lit) -> tuple[Tensor, Tensor]:
        """What a step adds to its paths (R, 3), and the factor of all that comes later (G, 3).

        The factor is for the rows `step.hit[step.going]`. Differentiable to `lit`.
        """
        ...

    @property
    def count(self) -> int:
        """How many paths."""
        ...


def radiance(paths: Paths, lit: Lit) -> Tensor:
    """(paths, 3) radiance that each path brings to the camera. Differentiable to `lit`.

    Plain automatic differentiation keeps every step of every path for the backward pass.
    """
    total = lit.materials.new_zeros(paths.count, 3)
    throughput = torch.ones_like(total)
    for step in paths.steps():
        direct, factor = paths.gained(step, lit)
        total = total.index_add(0, step.path, throughput[step.path] * direct)
        onward = step.path[step.hit[step.going]]
        throughput = throughput.index_copy(0, onward, throughput[onward] * factor)
    return total


def replayed_radiance(paths: Paths, lit: Lit) -> Tensor:
    """The same value and derivative; memory does not grow with the number of bounces."""
    found: Tensor = _Replay.apply(paths, lit.materials, lit.environment, lit.light)
    return found


class _Replay(torch.autograd.Function):
    """Forward keeps the paths' radiance only.

    Backward walks again. Before a step the radiance still to come is L; take off what the step
    itself adds, and the rest has been multiplied by the step's factor, so its derivative is
    L / factor times that of the factor. Both derivatives are those of one step alone.
    """

    @staticmethod
    def forward(
        ctx: Any, paths: Paths, materials: Tensor, environment: Tensor, light: Tensor
    ) -> Tensor:
        found = radiance(paths, Lit(materials, environment, light))
        ctx.paths = paths
        ctx.save_for_backward(materials, environment, light, found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        *held, found = ctx.saved_tensors
        paths: Paths = ctx.paths
        again = torch.is_grad_enabled()  # who asks for derivatives of this backward pass
        with torch.enable_grad():
            inputs = [tensor.detach().requires_grad_() for tensor in held]
            lit = Lit(*inputs)
            sums = [torch.zeros_like(tensor) for tensor in inputs]
            rest = found.detach()
            throughput = torch.ones_like(rest)
            for step in paths.steps():
                direct, factor = paths.gained(step, lit)
                onward = step.path[step.hit[step.going]]
                rest = rest.index_add(0, step.path, -throughput[step.path] * direct.detach())
                held_factor = factor.detach()
                later = rest[onward] / torch.where(held_factor == 0, torch.inf, held_factor)
                outputs = [direct, factor]
                weights = [throughput[step.path] * gradient[step.path], later * gradient[onward]]
                used = [k for k, output in enumerate(outputs) if output.requires_grad]
                if used:
                    found_now = torch.autograd.grad(
                        [outputs[k] for k in used],
                        inputs,
                        [weights[k] for k in used],
                        create_graph=again,
                        allow_unused=True,
                    )
                    sums = [
                        total if part is None else total + part
                        for total, part in zip(sums, found_now, strict=True)
                    ]
                throughput = throughput.index_copy(0, onward, throughput[onward] * held_factor)
        return None, *sums
