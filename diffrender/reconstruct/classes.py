"""Object classes that the car prior describes, and the sizes to expect of them.

Means and spreads are general knowledge of road vehicles (the Car mean is the class average that
KITTI publishes); none was fitted to labels.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CLASS_SIZES", "ClassSize"]


@dataclass(frozen=True)
class ClassSize:
    """Mean and standard deviation of (length, width, height), metres."""

    mean: tuple[float, float, float]
    sigma: tuple[float, float, float]


CLASS_SIZES = {
    "Car": ClassSize((3.88, 1.63, 1.53), (0.40, 0.10, 0.13)),
    "Van": ClassSize((5.00, 1.90, 2.20), (0.60, 0.15, 0.30)),
}
