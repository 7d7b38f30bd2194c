"""Masks as wrong as a detector's: outlines that wander, grow or shrink, and run into neighbours."""

from __future__ import annotations

import dataclasses

import numpy as np

from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask

__all__ = ["add_mask_noise", "grow_masks"]

_WAVE = 6.0  # pixels over which an outline errs alike


def add_mask_noise(
    instances: list[Instance], pixels: float, draw: np.random.Generator
) -> list[Instance]:
    """Masks whose outlines wander by `pixels` (standard deviation); of two that meet, the first
    one takes the pixel.

    The outline is the zero of the distance from it plus a smooth noise field. An instance of which
    nothing is left is gone, as it is when a detector misses it.

    Raises:
        InputError: `pixels` is not a finite number of at least 0.
    """
    import cv2

    if not 0 <= pixels < np.inf:
        raise InputError(f"pixels is {pixels}, expected a finite number, at least 0")

    taken: np.ndarray | None = None
    made = []
    for instance in instances:
        wave = draw.standard_normal(instance.mask.shape).astype(np.float32)
        wave = np.asarray(cv2.GaussianBlur(wave, (0, 0), _WAVE))
        moved = _distance(instance.mask) + pixels * wave / wave.std() > 0
        taken = np.zeros_like(moved) if taken is None else taken
        moved &= ~taken
        taken |= moved
        if moved.any():
            made.append(dataclasses.replace(instance, mask=moved, box=box_of_mask(moved)))
    return made


def grow_masks(instances: list[Instance], pixels: float) -> list[Instance]:
    """Masks dilated by `pixels`, or eroded where that is negative; none takes another's inside."""
    if not np.isfinite(pixels):
        raise InputError(f"pixels is {pixels}, expected a finite number")
    made = []
    for index, instance in enumerate(instances):
        moved = _distance(instance.mask) + pixels > 0
        for other, rival in enumerate(instances):
            if other != index:
                moved &= ~rival.mask
        if moved.any():
            made.append(dataclasses.replace(instance, mask=moved, box=box_of_mask(moved)))
    return made


def _distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the outline, positive inside."""
    import cv2

    whole = mask.astype(np.uint8)
    # To the next pixel of the other kind; the outline runs halfway.
    inside = cv2.distanceTransform(whole, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - whole, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(mask, inside - 0.5, 0.5 - outside)
