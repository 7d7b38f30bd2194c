"""Named terms that add up: `Silhouette() + 0.1 * Depth()` is a loss and prints as its formula."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.losses.records import Evidence, Rendering, check_alike
from diffrender.losses.tangents import Tangents

__all__ = ["Algebra", "Curved", "Loss", "LossValue", "Term"]


@dataclass(frozen=True)
class LossValue:
    """Weighted total (B,) and the unweighted terms {name: (B,)}."""

    total: Tensor
    terms: dict[str, Tensor]


class Term(Protocol):
    """One named loss: (rendering, evidence) -> (B,)."""

    @property
    def name(self) -> str: ...

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor: ...


@runtime_checkable
class Curved(Protocol):
    """A term that also knows its curvature, (B, K, K), positive semi-definite."""

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor: ...


@dataclass(frozen=True)
class Loss:
    """A weighted sum of terms; `repr` is its formula."""

    parts: tuple[tuple[float, Term], ...]

    def __post_init__(self) -> None:
        names = [term.name for _, term in self.parts]
        for weight, term in self.parts:
            if isinstance(weight, float) and not math.isfinite(weight):
                raise InputError(f"the weight of {term.name} is {weight}, expected a finite number")
        if len(set(names)) != len(names):
            raise InputError(f"a loss holds each term once, got {names}: add up their weights")

    def __call__(self, rendering: Rendering, evidence: Evidence) -> LossValue:
        """Every term, and their sum.

        Raises:
            InputError: rendering and evidence are not of the same objects and windows, or do not
                hold what a term needs.
        """
        check_alike(rendering, evidence)
        evidence = evidence.detach()
        terms = {term.name: term.value(rendering, evidence) for _, term in self.parts}
        total = torch.zeros_like(rendering.depth[:, 0, 0])
        for weight, term in self.parts:
            total = total + weight * terms[term.name]
        return LossValue(total, terms)

    @torch.no_grad()
    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        """Weighted sum of the terms' J^T D J, (B, K, K); a term without one adds nothing."""
        count, variables = len(rendering.box), tangents.box.shape[-1]
        total = rendering.box.new_zeros(count, variables, variables)
        for weight, term in self.parts:
            if isinstance(term, Curved):
                total = total + weight * term.curvature(rendering, evidence, tangents)
        return total

    def __add__(self, other: Loss | Algebra) -> Loss:
        return Loss(self.parts + _as_loss(other).parts)

    def __rmul__(self, weight: float) -> Loss:
        return Loss(tuple((weight * w, t) for w, t in self.parts))

    __mul__ = __rmul__

    def __repr__(self) -> str:
        return " + ".join(repr(t) if w == 1 else f"{w:g} * {t!r}" for w, t in self.parts)


class Algebra:
    """Lets a single term be added and scaled."""

    def __add__(self, other: Loss | Algebra) -> Loss:
        return _as_loss(self) + other

    def __rmul__(self, weight: float) -> Loss:
        return weight * _as_loss(self)

    __mul__ = __rmul__

    def __call__(self, rendering: Rendering, evidence: Evidence) -> LossValue:
        return _as_loss(self)(rendering, evidence)


def _as_loss(term: Loss | Algebra) -> Loss:
    return term if isinstance(term, Loss) else Loss(((1.0, term),))  # type: ignore[arg-type]
