"""Generic outlines inside a 2D box: where an object of a class mostly is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["template_mask"]

_TALL = ("Van", "Truck", "Tram", "Bus")


def template_mask(box: Sequence[float], category: str, size: tuple[int, int]) -> np.ndarray:
    """Pixels of a class's outline in a box (left, top, right, bottom), corner-based pixels.

    "Car": a cabin that narrows to the roof, the more the longer the box (a side view), above
    a full-width body, with free ground between the wheels in the lowest tenth. "Van", "Truck",
    "Tram" and "Bus": the same without the narrowing. "box": the box. Others: a superellipse.
    Proportions are those of ordinary cars (ground clearance 0.15 m of 1.5 m, roof about half
    of the length), not fitted to data.

    Returns:
        (H, W) bool, with `size` = (H, W).
    """
    left, top, right, bottom = box
    across = (np.arange(size[1]) + 0.5 - (left + right) / 2) / ((right - left) / 2)
    down = (np.arange(size[0]) + 0.5 - top) / (bottom - top)
    u, v = np.abs(across)[None, :], down[:, None]
    inside = (u <= 1) & (v >= 0) & (v <= 1)
    if category == "box":
        return inside
    if category != "Car" and category not in _TALL:
        return inside & (u**2.5 + np.abs(2 * v - 1) ** 2.5 <= 1)
    rounded = u**6 + np.abs(2 * v - 1) ** 6 <= 1
    ground = (v > 0.9) & (u < 0.7)
    narrowing = 0.0
    if category == "Car":
        rounded = u**3 + np.abs(2 * v - 1) ** 3 <= 1.06
        side_view = np.clip(((right - left) / (bottom - top) - 1.2) / 1.3, 0, 1)
        narrowing = 0.12 + 0.25 * side_view
    cabin = 1 - narrowing * np.clip(1 - v / 0.45, 0, 1)
    return inside & rounded & ~ground & (u <= cabin)
