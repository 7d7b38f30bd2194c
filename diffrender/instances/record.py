"""One object found in an image: its mask, 2D box, class and score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from diffrender.errors import InputError

__all__ = ["Instance", "Rejected", "box_of_mask"]


@dataclass(frozen=True)
class Instance:
    """An instance from a detector or a person.

    Attributes:
        mask: (H, W) bool, the visible (modal) pixels.
        box: (left, top, right, bottom) in pixels, corner based: the outer edges of the pixels.
        category: class name, KITTI spelling ("Car", "Van", ...).
        score: 2D confidence in [0, 1].
        name: how reports call it, unique in an image.
    """

    mask: np.ndarray  # (H, W)
    box: tuple[float, float, float, float]
    category: str = "Car"
    score: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.dtype != np.bool_:
            raise InputError(
                f"Instance.mask is {self.mask.dtype} of shape {self.mask.shape}, "
                "expected (H, W) bool"
            )
        left, top, right, bottom = self.box
        if not (left < right and top < bottom):
            raise InputError(f"Instance.box is {self.box}, expected left < right and top < bottom")
        if not all(map(math.isfinite, self.box)):
            raise InputError(f"Instance.box is {self.box}, expected finite pixels")
        if not 0 <= self.score <= 1:
            raise InputError(f"Instance.score is {self.score}, expected a number from 0 to 1")


class Rejected(NamedTuple):
    """An instance of a file that cannot be used: its name, class, and why."""

    name: str
    category: str
    reason: str


def box_of_mask(mask: np.ndarray) -> tuple[float, float, float, float]:  # (H, W)
    """Tight box of a mask, corner based: the outer edges of its pixels.

    Raises:
        InputError: the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        raise InputError("the mask is empty, expected at least one pixel")
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
