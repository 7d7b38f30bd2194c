"""Whose pixels they are in a picture of a synthetic street, as frames on disk have it."""

from __future__ import annotations

import numpy as np

from diffrender.datasets.synthetic import SyntheticFrame
from diffrender.instances import box_of_mask
from diffrender.instances.street.train_loss import FIRST_VAN, UNCOUNTED

__all__ = ["owner_map"]

_LEAST_HEIGHT = 14  # pixels of a mask's box
_LEAST_PIXELS = 100


def owner_map(frame: SyntheticFrame) -> np.ndarray:
    """(H, W) uint8: 0 no vehicle, 1 to 127 cars, 128 to 254 vans, 255 too little of one."""
    owner = np.zeros(frame.size, np.uint8)
    cars, vans = 1, FIRST_VAN
    for vehicle in frame.truth:
        if not vehicle.mask.any():
            continue
        _, top, _, bottom = box_of_mask(vehicle.mask)
        if bottom - top < _LEAST_HEIGHT or int(vehicle.mask.sum()) < _LEAST_PIXELS:
            owner[vehicle.mask] = UNCOUNTED
        elif vehicle.category == "Van":
            owner[vehicle.mask] = vans
            vans += 1
        else:
            owner[vehicle.mask] = cars
            cars += 1
    return owner
