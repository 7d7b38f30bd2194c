"""One depth factor per image: what its objects, their sizes and the road agree on.

A network errs by a factor that is partly the same everywhere in an image. The log factor of object
i is s_i = S + e_i with S ~ N(0, shared scale^2) and e_i ~ N(0, (1 - shared) scale^2). Each fit
knows its own s_i from size and ground; the best S given all of them is their shrunken mean. Fits
and S take turns (coordinate descent on the joint loss), at the boundaries of the stages.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffrender.losses import Depth
from diffrender.reconstruct.observations import DepthNoise

__all__ = ["agree", "depth_term"]

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
    common = known.median()
    for _ in range(10):
        away = ((known - common).abs() / own).clamp(min=1e-9)
        weight = (2 / away).clamp(max=1.0) / own**2
        common = (weight * known).sum() / (weight.sum() + 1 / shared**2)
    return float(common)
