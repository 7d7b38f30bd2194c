"""From maps to vehicles: every pixel goes to the centre that it points at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from diffrender.instances.street.network import STRIDE, StreetMaps

__all__ = ["Found", "group"]

_NEIGHBOURS = 7  # pixels of the maps within which one peak stands for all
_MOST = 100
_LEAST_PEAK = 0.1
_LEAST_PIXELS = 12  # of the maps
_MISS, _MISS_SHARE = 6.0, 0.5  # how far beside a centre a pixel may point: pixels of the maps,
# and of its own distance to where it points; beyond, it is of a vehicle whose centre was not seen


@dataclass(frozen=True)
class Found:
    """Vehicles of one picture, the surest first.

    Attributes:
        owner: (h, w) int64, the place of a pixel's vehicle in the lists, -1 for none.
        score: (N,) how sure: its peak and its pixels' mean probability, multiplied, root taken.
        van: (N,) bool.
    """

    owner: Tensor
    score: Tensor
    van: Tensor


def group(maps: StreetMaps) -> Found:
    """The vehicles of a batch of one; a pixel is of a vehicle where more than half says so.

    Source: Cheng et al., CVPR 2020, section 3.3, equations 1 and 2: peaks of the heat map, and the
    peak nearest to where a pixel points.
    """
    vehicle, heat = maps.vehicle[0].sigmoid(), maps.centre[0].sigmoid()
    height, width = vehicle.shape
    top = functional.max_pool2d(heat[None, None], _NEIGHBOURS, 1, _NEIGHBOURS // 2)[0, 0]
    peaks = ((heat == top) & (heat >= _LEAST_PEAK)).nonzero()  # (P, 2)
    order = heat[peaks[:, 0], peaks[:, 1]].argsort(descending=True, stable=True)[:_MOST]
    peaks = peaks[order]
    owner = vehicle.new_full((height, width), -1, dtype=torch.int64)
    inside = vehicle > 0.5
    if len(peaks) == 0 or not inside.any():
        return Found(owner, heat.new_zeros(0), inside.new_zeros(0))
    rows, columns = inside.nonzero(as_tuple=True)
    offset = maps.offset[0][:, rows, columns].T / STRIDE
    aim = torch.stack([columns, rows], dim=1) + offset
    away, nearest = torch.cdist(aim, peaks.flip(1).to(aim.dtype)).min(dim=1)  # (pixels, P)
    strays = away > _MISS + _MISS_SHARE * offset.norm(dim=1)
    owner[rows, columns] = torch.where(strays, -1, nearest)
    return _sure(owner, vehicle, heat[peaks[:, 0], peaks[:, 1]], maps.van[0])


def _sure(owner: Tensor, vehicle: Tensor, peak: Tensor, van: Tensor) -> Found:
    """Scores of the groups; those of next to no pixels are let go."""
    mine = owner >= 0
    count = torch.bincount(owner[mine], minlength=len(peak))
    safe = count.clamp_min(1)
    inside = torch.bincount(owner[mine], vehicle[mine], len(peak)) / safe
    vans = torch.bincount(owner[mine], van[mine].sigmoid(), len(peak)) / safe
    score = (peak * inside).sqrt().to(vehicle.dtype)
    kept = (count >= _LEAST_PIXELS).nonzero()[:, 0]
    kept = kept[score[kept].argsort(descending=True, stable=True)]
    place = owner.new_full((len(peak) + 1,), -1)
    place[kept] = torch.arange(len(kept), device=owner.device)
    return Found(place[owner], score[kept], vans[kept] > 0.5)
