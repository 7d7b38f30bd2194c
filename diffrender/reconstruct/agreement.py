"""One depth factor and one road per image: what its objects, their sizes and the map agree on.

A network errs by a factor that is partly the same everywhere in an image. The log factor of object
i is s_i = S + e_i with S ~ N(0, shared scale^2) and e_i ~ N(0, (1 - shared) scale^2). Each fit
knows its own s_i from size and ground; the best S given all of them is their shrunken mean. Fits
and S take turns (coordinate descent on the joint loss), at the boundaries of the stages.

So do fits and the slope of the road: a camera pitches by half a degree, which is 30 cm at 30 m,
and one object cannot tell that from its own depth; all of them together can.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from diffrender.losses import Depth
from diffrender.reconstruct.observations import DepthNoise
from diffrender.road import Road

__all__ = ["agree", "agree_on_road", "depth_term"]

_LEAST = 1e-4  # log factor below which there is nothing to agree on


def depth_term(noise: DepthNoise, common: float | None) -> Depth:
    """The depth term before (`common` None) and after the objects have agreed on a factor."""
    if common is None or noise.shared == 0:
        return Depth(noise.scale)
    own = noise.scale * math.sqrt(1 - noise.shared)
    return Depth(max(own, _LEAST), common=common)


def agree(factors: Tensor, noise: DepthNoise) -> float:  # (B,)
    """The common log factor given every object's own, NaN where one has none.

    A robust mean (Huber, bent at two standard deviations of e), shrunk by the prior of S; 0 where
    nothing is shared.
    """
    known = factors[torch.isfinite(factors)].double()
    shared = noise.scale * math.sqrt(noise.shared)
    own = max(noise.scale * math.sqrt(1 - noise.shared), _LEAST)
    if shared < _LEAST or not len(known):
        return 0.0
    start = float(known.median())
    return _shrunken_mean(known, torch.full_like(known, own), start, 0.0, shared**-2)[0]


def agree_on_road(
    road: Road,
    stood: Road,
    feet: Tensor,  # (B, 3)
    own: Tensor,  # (B,)
) -> Road:
    """`road` with the slope that objects and it agree on, and less doubt.

    Object i alone would stand at y_i with deviation `own_i`; its fit was drawn to the road on which
    it stood, which is undone first. The least joint loss over all y_i is then that of the slopes
    y_i / z_i, each with the deviations of object and road together (a profile likelihood; Huber,
    bent at two).

    Args:
        road: what is known without the objects. Not a road that they agreed on before: they would
            count twice.
        stood: on which the objects stood while they were fitted.
        feet: bottoms of the fitted objects, metres, frame of the labels.
        own: deviation of each one's y without a road, metres.
    """
    x, y, z = feet.double().unbind(dim=1)
    own, ahead = own.double(), z.clamp(min=1.0)
    drawn = (own / stood.sigma(feet.double())) ** 2
    alone = y + (y - stood.y(feet.double())) * drawn
    slopes = (alone - road.height - road.bank * x) / ahead
    spread = torch.sqrt(own**2 + road.near**2 + (road.bend * ahead) ** 2) / ahead
    before = max(road.doubt, 1e-6) ** -2
    slope, precision = _shrunken_mean(slopes, spread, road.slope, road.slope, before)
    return dataclasses.replace(road, slope=slope, doubt=precision**-0.5)


def _shrunken_mean(
    values: Tensor,  # (B,)
    spread: Tensor,  # (B,)
    start: float,
    prior: float,
    precision: float,
) -> tuple[float, float]:
    """Huber's mean of values and of what was known before (`prior`, `precision`); its precision."""
    mean, total = start, precision
    for _ in range(20):
        away = ((values - mean).abs() / spread).clamp(min=1e-9)
        weights = (2 / away).clamp(max=1.0) / spread**2
        total = float(weights.sum()) + precision
        mean = (float((weights * values).sum()) + precision * prior) / total
    return mean, total
