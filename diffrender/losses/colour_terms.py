"""Terms that compare a rendering with the image's colours."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from diffrender.errors import InputError, check_shape
from diffrender.losses.algebra import Algebra
from diffrender.losses.colour import srgb_to_lab
from diffrender.losses.records import Evidence, Rendering
from diffrender.losses.tangents import Tangents

__all__ = ["Photometric", "Structure"]

_PATCHES = 30.0
_COLOUR_NOISE = 0.2  # standard deviation of a patch's colour about its part's
_ROUNDS = 12  # of reweighting, where the norm is robust
_WINDOW = 7  # pixels of the structural similarity's windows


@dataclass(frozen=True)
class _Colours:
    """The best colour of every part.

    Attributes:
        share: (B, N) weight of each pixel, before the norm has its say.
        robust: (B, N) what the robust norm leaves of it.
        colours: (B, P, 3) in the term's colour space.
        penalty: (B,) what they cost by the prior.
        image: (B, N, 3) what was seen, in that space.
        left: (B,) what they leave over, penalty included.
    """

    share: Tensor
    robust: Tensor
    colours: Tensor
    penalty: Tensor
    image: Tensor
    left: Tensor


@dataclass(frozen=True)
class Photometric(Algebra):
    """Colour left over inside the mask when every part has one colour of its own.

    The colours are the least-squares optimum, held by a prior (tyres and glass are dark, tail
    lamps red), so the term needs no texture yet tells front from rear. The gradient with the
    colours held fixed is the gradient of the optimum (envelope theorem). With `bend` the optimum is
    found by twelve rounds of reweighting, and the gradient is off by what they leave: some 1e-5.

    Attributes:
        palette: (P, 3) prior mean colours, sRGB, tuple of tuples.
        spread: (P,) prior standard deviations.
        noise: standard deviation below which colours are not compared any more.
        space: "rgb" compares sRGB, "lab" CIELAB over 100.
        bend: distance of two colours from which on it counts linearly (Charbonnier), so that a
            reflection or a number plate weighs less; None squares all.
    """

    palette: tuple[tuple[float, float, float], ...]
    spread: tuple[float, ...]
    noise: float = 0.05
    space: Literal["rgb", "lab"] = "rgb"
    bend: float | None = None
    name: str = dataclasses.field(default="photometric", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_palette(self.palette, self.spread)
        if not 0 < self.noise < math.inf:
            raise InputError(f"Photometric.noise is {self.noise}, expected a positive number")
        if self.bend is not None and not 0 < self.bend < math.inf:
            raise InputError(f"Photometric.bend is {self.bend}, expected a positive number or None")
        if self.space not in ("rgb", "lab"):
            raise InputError(f"Photometric.space is {self.space!r}, expected 'rgb' or 'lab'")

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        fitted = self._fit(rendering, evidence)
        squares = ((_parts(rendering) @ fitted.colours - fitted.image) ** 2).sum(-1)
        left = (fitted.share * self._norm(squares)).sum(-1) + fitted.penalty
        # The noise is not known: its own optimum turns the squares into a logarithm.
        return 0.5 * torch.log1p(left / self.noise**2)

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        """Of the squares that are left, the colours held fixed."""
        fitted = self._fit(rendering, evidence)
        left, outline = fitted.left, tangents.outline
        change = (outline.difference[:, 1:, None] * fitted.colours[outline.image]).sum(1)  # (C, 3)
        weight = (fitted.robust / (left + self.noise**2)[:, None]).flatten()[outline.target]
        rows = (change * torch.sqrt(weight)[:, None])[..., None] * outline.rate[:, None]
        return outline.normal(rows, len(left))

    def _norm(self, squares: Tensor) -> Tensor:
        if self.bend is None:
            return squares
        return 2 * self.bend**2 * (torch.sqrt(1 + squares / self.bend**2) - 1)

    @torch.no_grad()
    def _fit(self, rendering: Rendering, evidence: Evidence) -> _Colours:
        parts = _parts(rendering)
        check_shape("Rendering.parts", rendering.parts, None, None, None, len(self.palette))
        weight = (evidence.mask * evidence.care).flatten(1)  # (B, N)
        image = evidence.image.flatten(1, 2)
        mean = torch.tensor(self.palette).to(parts)
        if self.space == "lab":
            image, mean = srgb_to_lab(image), srgb_to_lab(mean)
        # Pixels of a part err together: all of an object are worth `_PATCHES` independent ones.
        share = weight / weight.sum(1, keepdim=True).clamp(min=1)
        trust = (_COLOUR_NOISE / torch.tensor(self.spread).to(parts)) ** 2 / _PATCHES
        robust = share
        for _ in range(1 if self.bend is None else _ROUNDS):
            weighted = parts * robust[..., None]
            own, cross = weighted.mT @ parts, weighted.mT @ image
            colours = torch.linalg.solve(own + torch.diag(trust), cross + trust[:, None] * mean)
            if self.bend is not None:
                squares = ((parts @ colours - image) ** 2).sum(-1)
                robust = share / torch.sqrt(1 + squares / self.bend**2)
        penalty = (trust[:, None] * (colours - mean) ** 2).sum((-2, -1))
        if self.bend is None:  # from sums over pixels, which are there already
            total = (colours * (own @ colours - 2 * cross)).sum((-2, -1))
            total = total + (share * (image**2).sum(-1)).sum(-1)
        else:
            total = (share * self._norm(squares)).sum(-1)
        left = total.clamp(min=0) + penalty
        return _Colours(share, robust, colours, penalty, image, left)


@dataclass(frozen=True)
class Structure(Algebra):
    """1 - SSIM of the image's lightness and of the drawn parts in their best shades.

    It asks where things are darker and lighter, not how dark: wheels, windows and roof must lie
    where the image has edges. Inside the mask, windows of 7 x 7 pixels. In [0, 2]. The
    gradient holds the shades fixed, and is not quite that of the value.

    Attributes:
        palette, spread: as `Photometric`.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity,
    2004, eq. 13, with flat windows.
    """

    palette: tuple[tuple[float, float, float], ...]
    spread: tuple[float, ...]
    name: str = dataclasses.field(default="structure", init=False, repr=False)

    def __post_init__(self) -> None:
        _check_palette(self.palette, self.spread)

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        fitted = Photometric(self.palette, self.spread, space="lab")._fit(rendering, evidence)
        seen = fitted.image[..., 0].view_as(evidence.mask)
        shade = fitted.colours[..., :1]
        drawn = (_parts(rendering) @ shade)[..., 0].view_as(evidence.mask)
        weight = evidence.mask * evidence.care

        def mean(values: Tensor) -> Tensor:
            return avg_pool2d(values, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)

        amount = mean(weight).clamp(min=1e-6)
        x, y = (mean(weight * v) / amount for v in (seen, drawn))
        xx, yy, xy = (
            mean(weight * a * b) / amount - p * q
            for a, b, p, q in ((seen, seen, x, x), (drawn, drawn, y, y), (seen, drawn, x, y))
        )
        first, second = 0.01**2, 0.03**2
        alike = (2 * x * y + first) * (2 * xy + second)
        alike = alike / ((x * x + y * y + first) * (xx + yy + second))
        share = weight / weight.sum((-2, -1), keepdim=True).clamp(min=1)
        return (share * (1 - alike)).sum((-2, -1))


def _check_palette(
    palette: tuple[tuple[float, float, float], ...], spread: tuple[float, ...]
) -> None:
    if not palette or len(palette) != len(spread) or any(len(colour) != 3 for colour in palette):
        raise InputError(
            f"palette has {len(palette)} colours and spread {len(spread)} deviations, expected one "
            "RGB colour and one deviation for each part"
        )
    if not all(0 < one < math.inf for one in spread):
        raise InputError(f"spread is {spread}, expected positive deviations")


def _parts(rendering: Rendering) -> Tensor:
    if rendering.parts is None:
        raise InputError("this term of colours needs Rendering.parts, got None: render the parts")
    return rendering.parts.flatten(1, 2)
