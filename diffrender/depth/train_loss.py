"""What a depth network is trained to reduce.

Scale-invariant log error (Eigen et al., NIPS 2014, eq. 4, with lambda = 0.5) on absolute values,
and the multi-scale gradient matching of Li and Snavely (MegaDepth, CVPR 2018, eq. 6), both on log
depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["LossWeights", "depth_loss", "object_errors"]

_LEAST = 12  # known pixels of a vehicle that counts
_UNCOUNTED = 255  # in an owner map


@dataclass(frozen=True)
class LossWeights:
    """Weights beside the log and scale-invariant errors, which have 1.

    Attributes:
        gradient: of gradient matching.
        sky: of the sky.
        object: of the vehicles' own errors, each vehicle alike however small it is.
    """

    gradient: float = 0.5
    sky: float = 0.1
    object: float = 1.0

    def __post_init__(self) -> None:
        if min(self.gradient, self.sky, self.object) < 0:
            raise InputError(f"{self}: expected weights of at least 0")


def depth_loss(
    predicted: Tensor,  # (B, 1, H, W)
    truth: Tensor,  # (B, 1, H, W)
    owner: Tensor,  # (B, 1, H, W)
    far: float,
    weights: LossWeights | None = None,
) -> dict[str, Tensor]:
    """Named terms and their weighted sum "total", scalars. Differentiable to `predicted`.

    "log": mean |log p - log z|; "scale_invariant": root of mean d^2 - 0.5 mean(d)^2 per image with
    d = log p - log z; "gradient": mean |difference of d between neighbours| at four scales;
    "sky": how far below 0.7 `far` the log depth of the sky lies; "object": |mean d of a vehicle|,
    in the mean over all vehicles of the batch that show at least 12 pixels. Truth at 0 is left out,
    beyond `far` it counts as sky, as inf does.
    """
    weights = weights or LossWeights()
    log_p = predicted.log()
    sky = truth > far
    known = (truth > 0) & ~sky
    d = torch.where(known, log_p - torch.where(known, truth, torch.ones_like(truth)).log(), 0.0)
    count = known.sum(dim=(1, 2, 3)).clamp_min(1)
    mean = d.sum(dim=(1, 2, 3)) / count
    square = d.square().sum(dim=(1, 2, 3)) / count
    terms = {
        "log": (d.abs().sum(dim=(1, 2, 3)) / count).mean(),
        "scale_invariant": (square - 0.5 * mean.square()).clamp_min(1e-6).sqrt().mean(),
        "gradient": _gradient(d, known),
        "object": _of_known(object_errors(d, known, owner).abs()),
        "sky": torch.where(
            sky, (torch.log(torch.tensor(0.7 * far)) - log_p).clamp_min(0), 0.0
        ).mean(),
    }
    terms["total"] = (
        terms["log"]
        + terms["scale_invariant"]
        + weights.gradient * terms["gradient"]
        + weights.sky * terms["sky"]
        + weights.object * terms["object"]
    )
    return terms


def object_errors(
    d: Tensor,  # (B, 1, H, W)
    known: Tensor,  # (B, 1, H, W)
    owner: Tensor,  # (B, 1, H, W)
) -> Tensor:
    """Mean of d over every vehicle's known pixels, (K,); differentiable to `d`."""
    names = owner.flatten(1).long()  # (B, HW)
    rows = torch.arange(len(names), device=names.device)[:, None]
    slot = (256 * rows + names).flatten()
    counted = known.flatten() & (names > 0).flatten() & (names != _UNCOUNTED).flatten()
    slot, values = slot[counted], d.flatten()[counted]
    total = d.new_zeros(256 * len(names)).index_add(0, slot, values)
    count = torch.bincount(slot, minlength=len(total))
    shown = count >= _LEAST
    return total[shown] / count[shown]


def _of_known(errors: Tensor) -> Tensor:  # (K,) -> ()
    return errors.mean() if len(errors) else errors.sum()


def _gradient(d: Tensor, known: Tensor) -> Tensor:
    total = d.new_zeros(())
    for step in (1, 2, 4, 8):
        for axis in (2, 3):
            low, high = slice(None, -step), slice(step, None)
            first = tuple(low if k == axis else slice(None) for k in range(4))
            second = tuple(high if k == axis else slice(None) for k in range(4))
            both = known[first] & known[second]
            change = torch.where(both, (d[second] - d[first]).abs(), 0.0)
            total = total + change.sum() / both.sum().clamp_min(1)
    return total / 8
