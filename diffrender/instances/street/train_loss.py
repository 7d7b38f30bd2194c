"""What the street segmenter learns from: targets out of an owner map, and the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffrender.instances.street.network import STRIDE, StreetMaps

__all__ = ["FIRST_VAN", "UNCOUNTED", "Target", "street_loss", "target_of"]

FIRST_VAN, UNCOUNTED = 128, 255  # names in an owner map; 0 is no vehicle, smaller ones are cars
_PEAK = 0.1  # standard deviation of a peak, in units of its vehicle's visible width and height


@dataclass(frozen=True)
class Target:
    """What the maps should say, (h, w) each, or (B, h, w) of a batch.

    Attributes:
        vehicle: 1 on vehicles, 0 elsewhere.
        known: 0 where too little of a vehicle shows to say.
        heat: peaks of 1 at the centres, falling off with the vehicle's size.
        offset: (2, h, w) to the centre of its vehicle, pixels of the input.
        weight: 1 / size of its vehicle in pixels of the input, 0 off vehicles.
        van: 1 on vans.
    """

    vehicle: Tensor
    known: Tensor
    heat: Tensor
    offset: Tensor
    weight: Tensor
    van: Tensor


def target_of(owner: np.ndarray) -> Target:  # (H, W)
    """The target of an owner map at the input's size (`diffrender.datasets.instance_frames`)."""
    small = owner[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    height, width = small.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    heat, weight = np.zeros((2, height, width), np.float32)
    offset = np.zeros((2, height, width), np.float32)
    for name in np.unique(small):
        if name in (0, UNCOUNTED):
            continue
        mask = small == name
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        cx, cy = (left + right - 1) / 2, (top + bottom - 1) / 2
        sx, sy = max(_PEAK * (right - left), 1.0), max(_PEAK * (bottom - top), 1.0)
        peak = np.exp(-(((x - cx) / sx) ** 2) / 2 - ((y - cy) / sy) ** 2 / 2)
        peak[round(cy), round(cx)] = 1.0  # the heat map's maximum lies on a pixel
        heat = np.maximum(heat, peak)
        offset[0][mask], offset[1][mask] = STRIDE * (cx - x)[mask], STRIDE * (cy - y)[mask]
        weight[mask] = 1 / (STRIDE * max(right - left, bottom - top, 4))
    return Target(
        torch.from_numpy((small > 0).astype(np.float32)),
        torch.from_numpy((small != UNCOUNTED).astype(np.float32)),
        torch.from_numpy(heat),
        torch.from_numpy(offset),
        torch.from_numpy(weight),
        torch.from_numpy(((small >= FIRST_VAN) & (small != UNCOUNTED)).astype(np.float32)),
    )


def street_loss(maps: StreetMaps, target: Target) -> dict[str, Tensor]:
    """Terms and their "total"; a batch's maps and targets.

    Vehicles: cross entropy and Dice's overlap. Centres: the focal loss of "Objects as Points",
    equation 1. Offsets: their error in units of the vehicle's size. Vans: cross entropy on
    vehicles.
    """
    known = target.known
    entropy = functional.binary_cross_entropy_with_logits(
        maps.vehicle, target.vehicle, known, reduction="sum"
    )
    inside = maps.vehicle.sigmoid() * known
    both = (inside * target.vehicle).sum()
    dice = 1 - 2 * both / (inside.sum() + (target.vehicle * known).sum() + 1)
    on = (target.weight > 0).float()
    size = on.sum().clamp_min(1)
    miss = (maps.offset - target.offset).abs().sum(dim=1) * target.weight
    van = functional.binary_cross_entropy_with_logits(maps.van, target.van, on, reduction="sum")
    terms = {
        "vehicle": entropy / known.sum().clamp_min(1) * 5 + dice,
        "centre": _focal(maps.centre, target.heat, known),
        "offset": miss.sum() / size * 4,
        "van": van / size * 0.3,
    }
    return terms | {"total": torch.stack(list(terms.values())).sum()}


def _focal(logit: Tensor, heat: Tensor, known: Tensor) -> Tensor:  # (B, h, w) each
    peaks = (heat == 1).float()
    p = logit.sigmoid()
    hit = -functional.logsigmoid(logit) * (1 - p) ** 2 * peaks
    rest = -functional.logsigmoid(-logit) * p**2 * (1 - heat) ** 4 * (1 - peaks) * known
    return (hit.sum() + rest.sum()) / peaks.sum().clamp_min(1)
