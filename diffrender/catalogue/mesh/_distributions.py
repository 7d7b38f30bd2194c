"""Distributions whose distribution function turns a signed distance into coverage.

Each has `cdf(x)`, which rises from 0 to 1, for distances in units of the softness. Formulas are
textbook ones; scales are those where they are written most simply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "Cauchy",
    "CubicHermite",
    "Distribution",
    "Gamma",
    "Gaussian",
    "GumbelMax",
    "GumbelMin",
    "HyperbolicSecant",
    "Laplace",
    "Logistic",
    "Reciprocal",
    "ReversedExponential",
    "Uniform",
    "WignerSemicircle",
]


class Distribution(Protocol):
    """Anything with a distribution function."""

    def cdf(self, x: Tensor) -> Tensor:
        """The share of the distribution below x. (...) -> (...) in [0, 1]."""
        ...


@dataclass(frozen=True)
class Uniform:
    """On [-1, 1]: coverage rises along a straight line."""

    def cdf(self, x: Tensor) -> Tensor:
        """(1 + x) / 2, clipped."""
        return ((1 + x) / 2).clamp(0, 1)


@dataclass(frozen=True)
class CubicHermite:
    """On [-1, 1]: the smooth step, without kinks."""

    def cdf(self, x: Tensor) -> Tensor:
        """t² (3 - 2 t) with t = (1 + x) / 2, clipped."""
        t = ((1 + x) / 2).clamp(0, 1)
        return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class WignerSemicircle:
    """On [-1, 1]: a half disc's area. For round pixels this is their covered share."""

    def cdf(self, x: Tensor) -> Tensor:
        """1/2 + (x √(1 - x²) + arcsin x) / π."""
        # The slope of arcsin is infinite at ±1, where that of the whole is 0.
        y = x.clamp(-1 + 1e-6, 1 - 1e-6)
        inner = 0.5 + (y * (1 - y * y).sqrt() + y.asin()) / math.pi
        return torch.where(x <= -1, 0.0, torch.where(x >= 1, 1.0, inner))


@dataclass(frozen=True)
class Gaussian:
    """The normal distribution."""

    def cdf(self, x: Tensor) -> Tensor:
        """(1 + erf(x / √2)) / 2."""
        return torch.special.ndtr(x)


@dataclass(frozen=True)
class Laplace:
    """Exponential tails on both sides of a kinked density."""

    def cdf(self, x: Tensor) -> Tensor:
        """e^x / 2 below 0, 1 - e^-x / 2 above."""
        tail = (-x.abs()).exp() / 2
        return torch.where(x < 0, tail, 1 - tail)


@dataclass(frozen=True)
class Logistic:
    """The sigmoid: Soft Rasterizer's, on squared distances."""

    def cdf(self, x: Tensor) -> Tensor:
        """1 / (1 + e^-x)."""
        return x.sigmoid()


@dataclass(frozen=True)
class HyperbolicSecant:
    """Between the normal and the logistic distribution."""

    def cdf(self, x: Tensor) -> Tensor:
        """2 / π arctan(e^(π x / 2))."""
        # exp overflows for large x, where arctan's limit is what is wanted.
        return 2 / math.pi * (math.pi / 2 * x).clamp(-80, 80).exp().atan()


@dataclass(frozen=True)
class Cauchy:
    """Tails so heavy that it has no mean: far pixels count."""

    def cdf(self, x: Tensor) -> Tensor:
        """1/2 + arctan(x) / π."""
        return 0.5 + x.atan() / math.pi


@dataclass(frozen=True)
class Reciprocal:
    """A rational sigmoid, with tails as heavy as Cauchy's."""

    def cdf(self, x: Tensor) -> Tensor:
        """1/2 + x / (2 + 2 |x|)."""
        return 0.5 + x / (2 + 2 * x.abs())


@dataclass(frozen=True)
class GumbelMax:
    """Falls off very fast outside, slowly inside."""

    def cdf(self, x: Tensor) -> Tensor:
        """e^(-e^-x)."""
        return (-(-x).clamp(max=80).exp()).exp()


@dataclass(frozen=True)
class GumbelMin:
    """The mirror image: falls off slowly outside, very fast inside."""

    def cdf(self, x: Tensor) -> Tensor:
        """1 - e^(-e^x)."""
        return -torch.expm1(-x.clamp(max=80).exp())


@dataclass(frozen=True)
class ReversedExponential:
    """Full coverage inside, an exponential tail outside: DIB-R's, on squared distances."""

    def cdf(self, x: Tensor) -> Tensor:
        """e^x below 0, 1 above."""
        return x.clamp(max=0).exp()


@dataclass(frozen=True)
class Gamma:
    """Nothing outside; coverage rises inside only.

    Attributes:
        shape: larger starts flatter.
    """

    shape: float = 0.5

    def cdf(self, x: Tensor) -> Tensor:
        """The regularised lower incomplete gamma function of x, 0 below 0.

        Written for torch, which has no derivative of it: the density is used instead.
        """
        result: Tensor = _GammaCdf.apply(x, self.shape)
        return result


class _GammaCdf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, shape: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.shape = shape  # type: ignore[attr-defined]
        return torch.special.gammainc(torch.full_like(x, shape), x.clamp(min=0))

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        shape = ctx.shape  # type: ignore[attr-defined]
        # For shape < 1 the density grows without bound towards 0.
        y = x.clamp(min=1e-6)
        density = ((shape - 1) * y.log() - y - math.lgamma(shape)).exp()
        return grad * torch.where(x > 0, density, 0.0), None
