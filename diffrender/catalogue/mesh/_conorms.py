"""T-conorms: the ways to say how much a pixel is covered by any of its faces.

A T-conorm ⊥ is commutative, associative, monotone, and has 0 as its neutral element. Nearly all
(the Archimedean ones) have a generator g with a ⊥ b = g⁻¹(g(a) + g(b)), so that the union over the
faces of a pixel is one sum. Generators: Klement, Mesiar and Pap, Triangular Norms, 2000.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "AczelAlsina",
    "Conorm",
    "Dombi",
    "Einstein",
    "Frank",
    "Hamacher",
    "Maximum",
    "Probabilistic",
    "SchweizerSklar",
    "Yager",
]

# Most generators are infinite at 1, and roots have infinite slope at 0.
_FULL, _EMPTY = 1 - 1e-6, 1e-12


class Conorm(Protocol):
    """Anything that unites coverages."""

    def union(self, coverage: Tensor, pixel: Tensor, count: int) -> Tensor:  # (N,), (N,)
        """Coverage of each of `count` pixels by all of its faces. (N,), (N,) -> (count,)."""
        ...


@dataclass(frozen=True)
class Maximum:
    """The largest coverage: only one face of a pixel has a gradient. The smallest T-conorm."""

    def union(self, coverage: Tensor, pixel: Tensor, count: int) -> Tensor:  # (N,), (N,)
        """max(a, b)."""
        return coverage.new_zeros(count).scatter_reduce(0, pixel, coverage, "amax")


class _Archimedean(ABC):
    """A T-conorm with a generator."""

    def union(self, coverage: Tensor, pixel: Tensor, count: int) -> Tensor:  # (N,), (N,)
        """g⁻¹(Σ g(a))."""
        terms = self.generator(coverage.clamp(max=_FULL))
        total = coverage.new_zeros(count).index_add(0, pixel, terms)
        return torch.where(total > 0, self.inverse(total.clamp(min=_EMPTY)), 0.0)

    @abstractmethod
    def generator(self, a: Tensor) -> Tensor:
        """g(a), rising from g(0) = 0."""

    @abstractmethod
    def inverse(self, total: Tensor) -> Tensor:
        """g⁻¹, 1 beyond the range of g."""


@dataclass(frozen=True)
class Probabilistic(_Archimedean):
    """a + b - a b: any of independent events. Soft Rasterizer's and DIB-R's."""

    def generator(self, a: Tensor) -> Tensor:
        """-log(1 - a)."""
        return -torch.log1p(-a)

    def inverse(self, total: Tensor) -> Tensor:
        """1 - e^-s."""
        return -torch.expm1(-total)


@dataclass(frozen=True)
class Einstein(_Archimedean):
    """(a + b) / (1 + a b): velocities in special relativity."""

    def generator(self, a: Tensor) -> Tensor:
        """artanh a."""
        return a.atanh()

    def inverse(self, total: Tensor) -> Tensor:
        """tanh s."""
        return total.tanh()


@dataclass(frozen=True)
class Hamacher(_Archimedean):
    """(a + b + (p - 2) a b) / (1 + (p - 1) a b), p > 0: 1 is probabilistic, 2 is Einstein's."""

    p: float = 0.5

    def generator(self, a: Tensor) -> Tensor:
        """log((p + (1 - p) (1 - a)) / (1 - a))."""
        return torch.log1p(self.p * a / (1 - a))

    def inverse(self, total: Tensor) -> Tensor:
        """1 - p / (e^s - 1 + p)."""
        grown = torch.expm1(total)
        return grown / (grown + self.p)


@dataclass(frozen=True)
class Frank(_Archimedean):
    """1 - log_p(1 + (p^(1 - a) - 1) (p^(1 - b) - 1) / (p - 1)), p > 0 but not 1."""

    p: float = 2.0

    def generator(self, a: Tensor) -> Tensor:
        """-log((p^(1 - a) - 1) / (p - 1))."""
        return -((self.p ** (1 - a) - 1) / (self.p - 1)).log()

    def inverse(self, total: Tensor) -> Tensor:
        """1 - log_p(1 + (p - 1) e^-s)."""
        base = torch.as_tensor(self.p).to(total)
        return 1 - torch.log1p((self.p - 1) * (-total).exp()) / base.log()


@dataclass(frozen=True)
class Yager(_Archimedean):
    """min(1, (a^p + b^p)^(1 / p)), p >= 1: 1 is the bounded sum."""

    p: float = 2.0

    def generator(self, a: Tensor) -> Tensor:
        """a^p."""
        return a**self.p

    def inverse(self, total: Tensor) -> Tensor:
        """s^(1 / p), at most 1."""
        root: Tensor = total.clamp(max=1) ** (1 / self.p)
        return root


@dataclass(frozen=True)
class AczelAlsina(_Archimedean):
    """1 - exp(-((-log(1 - a))^p + (-log(1 - b))^p)^(1 / p)), p > 0: 1 is probabilistic."""

    p: float = 2.0

    def generator(self, a: Tensor) -> Tensor:
        """(-log(1 - a))^p."""
        return (-torch.log1p(-a)) ** self.p

    def inverse(self, total: Tensor) -> Tensor:
        """1 - exp(-s^(1 / p))."""
        return -torch.expm1(-(total ** (1 / self.p)))


@dataclass(frozen=True)
class Dombi(_Archimedean):
    """1 / (1 + ((a / (1 - a))^p + (b / (1 - b))^p)^(-1 / p)), p > 0."""

    p: float = 2.0

    def generator(self, a: Tensor) -> Tensor:
        """(a / (1 - a))^p."""
        return (a / (1 - a)) ** self.p

    def inverse(self, total: Tensor) -> Tensor:
        """s^(1 / p) / (1 + s^(1 / p))."""
        root = total ** (1 / self.p)
        return root / (1 + root)


@dataclass(frozen=True)
class SchweizerSklar(_Archimedean):
    """1 - ((1 - a)^p + (1 - b)^p - 1)^(1 / p), p not 0; for p > 0 the bracket is at least 0."""

    p: float = -1.0

    def generator(self, a: Tensor) -> Tensor:
        """(1 - (1 - a)^p) / p."""
        return (1 - (1 - a) ** self.p) / self.p

    def inverse(self, total: Tensor) -> Tensor:
        """1 - (1 - p s)^(1 / p)."""
        root: Tensor = (1 - self.p * total).clamp(min=_EMPTY) ** (1 / self.p)
        return 1 - root
