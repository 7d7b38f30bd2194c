"""Specks beside a mask: a few pixels far off would decide where its box ends."""

from __future__ import annotations

from typing import Literal

import numpy as np

from diffrender.instances.record import box_of_mask

__all__ = ["without_crumbs"]

_SHARE = 0.05  # of the largest piece


def without_crumbs(
    mask: np.ndarray,  # (H, W)
    share: float = _SHARE,
    connectivity: Literal[4, 8] = 8,
) -> np.ndarray:
    """A boolean mask without its connected pieces below that share of its largest one, (H, W) bool.

    For masks with specks, as networks make them: in exact ones so small a piece may be what is seen
    of a car beyond a pole. With a `connectivity` of 8 pixels that touch at a corner are connected.
    A mask without crumbs, or an empty one, comes back as it is.
    """
    import cv2

    if not mask.any():
        return mask
    left, top, right, bottom = (int(side) for side in box_of_mask(mask))
    inside = mask[top:bottom, left:right]
    _, pieces, facts, _ = cv2.connectedComponentsWithStats(
        inside.astype(np.uint8), connectivity=connectivity
    )
    area = np.asarray(facts[:, cv2.CC_STAT_AREA])
    area[0] = 0  # what is not of the mask
    crumbs = area < share * area.max()
    crumbs[0] = False
    if not crumbs.any():
        return mask
    kept = mask.copy()
    kept[top:bottom, left:right] &= ~crumbs[pieces]
    return kept
