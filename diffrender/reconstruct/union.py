"""All objects of an image in one depth buffer: who hides whom, from the poses fitted so far.

A neighbour's mask says "don't care" to an object only where the neighbour may stand in front. The
depth map's medians tell that for objects far apart; drawn objects tell it for close ones, so that
the front one of two parked cars keeps its whole outline, and the far one is judged only where what
stands in front leaves it visible.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from diffrender.reconstruct.observations import Observation, open_sides
from diffrender.reconstruct.windows import Drawn

__all__ = ["reorder"]

_MARGIN = 0.5  # metres: fitted surfaces are not exact


def reorder(
    observations: list[Observation],
    drawn: Sequence[Drawn],
    relative: float,
) -> list[Observation]:
    """The observations, with what may hide each worked out from the drawn depths.

    Args:
        drawn: every observation's object, as `draw_alone` gives it.
        relative: standard deviation of the depth of an object against another's, as a share.

    A neighbour lies behind, and its mask is background, where its drawn surface is farther than
    ours by half a metre and two standard deviations; medians over the drawn columns nearest to the
    other's mask are compared. A neighbour that is nearer by as much hides wherever it is drawn,
    also beyond its mask. Between the two, for objects cut by the image's border, whose fits are not
    to be relied on, and for instances that were not observed, what `observe` found stays.
    """
    masks = [o.instance.mask for o in observations]
    ordered = []
    for i, observation in enumerate(observations):
        hiding = observation.hiding.copy()
        for j, mask in enumerate(masks):
            if j == i or not _touch(observation.mask_box, observations[j].mask_box):
                continue
            if _cut(masks[i]) or _cut(mask):
                continue
            here = _near(drawn[i], observations[j].mask_box)
            there = _near(drawn[j], observation.mask_box)
            if here is None or there is None:
                continue
            slack = _MARGIN + 2 * relative * here
            if there > here + slack:
                hiding &= ~mask
            elif there < here - slack:
                hiding |= mask & ~masks[i]
                part = drawn[j].window.pixels
                hiding[part] |= (drawn[j].depth > 0).numpy() & ~masks[i][part]
        sides = open_sides(observation.mask_box, masks[i], hiding)
        ordered.append(dataclasses.replace(observation, hiding=hiding, open_sides=sides))
    return ordered


def _cut(mask: np.ndarray) -> bool:  # (H, W)
    """Whether the mask reaches the left or right border, or the lower one."""
    return bool(mask[:, :2].any() or mask[:, -2:].any() or mask[-2:].any())


def _touch(first: np.ndarray, second: np.ndarray) -> bool:  # (4,), (4,)
    """Whether two boxes overlap when each grows by a third of its size."""
    grow = [(b[2:] - b[:2]) / 3 for b in (first, second)]
    low = np.maximum(first[:2] - grow[0], second[:2] - grow[1])
    high = np.minimum(first[2:] + grow[0], second[2:] + grow[1])
    return bool((low < high).all())


def _near(drawn: Drawn, box: np.ndarray) -> float | None:  # (4,)
    """Median drawn depth over the columns that lie closest to a mask's box; None if not drawn."""
    depth = drawn.depth.numpy()
    rows, columns = np.nonzero(depth > 0)
    if not len(rows):
        return None
    across = columns + drawn.window.left
    away = np.maximum(box[0] - across, across - (box[2] - 1)).clip(min=0)
    close = away <= np.quantile(away, 0.25)
    return float(np.median(depth[rows[close], columns[close]]))
