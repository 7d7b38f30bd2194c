"""Masks whose outlines are a few pixels off, brought to what the picture shows.

Where a given outline lies is one witness, the network's probability that a pixel is of a vehicle
the other. With an outline that is off by a normal sigma, a pixel at the signed distance d within
the mask is of the object with the odds Phi(d / sigma) : Phi(-d / sigma); the network's log odds are
added, at seven tenths since neighbouring pixels err together, and pixels of another vehicle that it
found are less likely by a constant. A pixel goes to the instance with the highest log odds, if
above 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch

from diffrender.errors import InputError
from diffrender.instances.record import Instance, box_of_mask
from diffrender.instances.street.find import FoundVehicle, read_street
from diffrender.instances.street.network import StreetNet

__all__ = ["sharpen_masks"]

_KNOWN = ("Car", "Van")  # what the network looks for
_BELIEF = 0.7  # share of the network's log odds
_LEAST = 1e-3  # its probabilities are not surer than this
_RIVAL = 2.0  # nats against pixels of another vehicle
_SURE = 0.3  # score of a vehicle that counts
_SAME = 0.4  # IoU from which one that was found is the given one


def sharpen_masks(
    net: StreetNet,
    image: np.ndarray,  # (H, W, 3)
    instances: Sequence[Instance],
    outline: float = 2.0,
) -> list[Instance]:
    """Instances with the masks of cars and vans drawn anew; not differentiable.

    Args:
        image: uint8 RGB.
        instances: of that picture; what is neither car nor van is left as it is, but holds its
            pixels against the others.
        outline: standard deviation of the given outlines, pixels. Pixels farther than some
            2.4 times that outside a mask never come to it.

    A mask of which nothing would be left stays as it was.

    Raises:
        InputError: masks of another size than the picture, or an outline that is not positive.
    """
    if not 0 < outline < np.inf:
        raise InputError(f"outline is {outline}, expected a standard deviation in pixels above 0")
    size = image.shape[:2]
    for one in instances:
        if one.mask.shape != size:
            raise InputError(
                f"{one.name or one.category}: the mask is {one.mask.shape}, expected the picture's "
                f"{size}"
            )
    if not any(one.category in _KNOWN for one in instances):
        return list(instances)
    reading = read_street(net, image)
    vehicles = [v for v in reading.vehicles if v.score >= _SURE and v.mask.any()]
    p = np.clip(reading.vehicle, _LEAST, 1 - _LEAST)
    seen = _BELIEF * np.log(p / (1 - p))
    best, owner = np.zeros(size, np.float32), np.full(size, -1)
    for k, one in enumerate(instances):
        if not one.mask.any():
            continue
        near = _window(one.mask, outline)
        odds = _given(one.mask[near], outline)
        if one.category in _KNOWN:
            odds = odds + seen[near] - _rivalry(one.mask, vehicles)[near]
        higher = odds > best[near]
        best[near][higher], owner[near][higher] = odds[higher], k
    sharp = []
    for k, one in enumerate(instances):
        mask = owner == k
        if one.category not in _KNOWN or not mask.any():
            sharp.append(one)
        else:
            sharp.append(dataclasses.replace(one, mask=mask, box=box_of_mask(mask)))
    return sharp


def _window(mask: np.ndarray, outline: float) -> tuple[slice, slice]:  # (H, W)
    """Rows and columns beyond which no pixel comes to the mask."""
    left, top, right, bottom = (int(side) for side in box_of_mask(mask))
    margin = math.ceil(3 * outline)
    return (
        slice(max(top - margin, 0), bottom + margin),
        slice(max(left - margin, 0), right + margin),
    )


def _given(mask: np.ndarray, outline: float) -> np.ndarray:  # (h, w)
    """Log odds by the given outline alone."""
    import cv2

    # From a pixel's centre to the outline, which runs between pixels.
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5) - 0.5
    outside = 0.5 - cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    inward = torch.from_numpy(np.where(mask, inside, outside) / np.float32(outline))
    return (torch.special.log_ndtr(inward) - torch.special.log_ndtr(-inward)).numpy()


def _rivalry(mask: np.ndarray, vehicles: list[FoundVehicle]) -> np.ndarray:  # (H, W)
    """Nats against pixels of other vehicles, where it is known which one the mask means."""
    against, own = np.zeros(mask.shape, np.float32), _own(mask, vehicles)
    if own is not None:
        for vehicle in vehicles:
            if vehicle is not own:
                against[vehicle.mask] = _RIVAL
    return against


def _own(mask: np.ndarray, vehicles: list[FoundVehicle]) -> FoundVehicle | None:  # (H, W)
    """The vehicle that the mask means."""
    overlaps = [(mask & v.mask).sum() / (mask | v.mask).sum() for v in vehicles]
    best = int(np.argmax(overlaps)) if overlaps else None
    return None if best is None or overlaps[best] < _SAME else vehicles[best]
