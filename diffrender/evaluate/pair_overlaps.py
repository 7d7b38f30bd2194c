"""Overlaps of the truths and detections of the same frame, in the image, seen from above, in 3D.

Formulas of the KITTI object devkit (cpp/evaluate_object.cpp: imageBoxOverlap, groundBoxOverlap,
box3DOverlap). A DontCare region is measured against the detection's own area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.evaluate.kitti_rows import ObjectRows
from diffrender.evaluate.rectangles import common_areas
from diffrender.evaluate.rows_python import TYPES

__all__ = ["PairOverlaps", "pair_overlaps"]

_AT_ONCE = 500_000  # pairs looked at in one go, which bounds the memory
_SLACK = 1e-6  # metres: a circle that just fails to touch still counts as touching


@dataclass(frozen=True)
class PairOverlaps:
    """Pairs of one frame that overlap in at least one of the three ways, sorted by truth.

    Attributes:
        starts: (F + 1,) int64, pairs of each frame.
        truth, found: (P,) int64, rows of the labels and of the results.
        image, bev, volume: (P,) float64 in [0, 1]; intersection over union, or over the
            detection's own area, volume for a DontCare region.
    """

    starts: np.ndarray
    truth: np.ndarray
    found: np.ndarray
    image: np.ndarray
    bev: np.ndarray
    volume: np.ndarray


def pair_overlaps(truths: ObjectRows, founds: ObjectRows, backend: str) -> PairOverlaps:
    """All overlapping pairs; both row sets are of the same frames."""
    counts = np.diff(truths.starts) * np.diff(founds.starts)
    ends = np.cumsum(counts)
    parts, frame = [], 0
    while frame < len(counts):
        before = ends[frame - 1] if frame else 0
        last = max(int(np.searchsorted(ends, before + _AT_ONCE, side="right")), frame + 1)
        parts.append(_measured(truths, founds, *_near(truths, founds, frame, last), backend))
        frame = last
    truth, found, image, bev, volume = (
        np.concatenate([part[i] for part in parts]) if parts else np.zeros(0, int) for i in range(5)
    )
    starts = np.searchsorted(truth, truths.starts).astype(np.int64)
    return PairOverlaps(starts, truth, found, image, bev, volume)


def _near(
    truths: ObjectRows, founds: ObjectRows, first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of frames first to last whose image boxes or circles on the ground meet."""
    frame = np.repeat(np.arange(first, last), np.diff(truths.starts[first : last + 1]))
    each = np.diff(founds.starts)[frame]
    rows = np.arange(truths.starts[first], truths.starts[last])
    truth = np.repeat(rows, each)
    within = np.arange(len(truth)) - np.repeat(np.cumsum(each) - each, each)
    found = founds.starts[np.repeat(frame, each)] + within
    a, b = truths.image_boxes[truth].T, founds.image_boxes[found].T
    in_image = (np.minimum(a[2], b[2]) > np.maximum(a[0], b[0])) & (
        np.minimum(a[3], b[3]) > np.maximum(a[1], b[1])
    )
    distance = [truths.column(axis)[truth] - founds.column(axis)[found] for axis in ("x", "z")]
    reach = [
        np.hypot(rows.column("length"), rows.column("width"))[index] / 2
        for rows, index in ((truths, truth), (founds, found))
    ]
    on_ground = np.hypot(*distance) <= reach[0] + reach[1] + _SLACK
    near = in_image | on_ground
    return truth[near], found[near]


def _measured(
    truths: ObjectRows,
    founds: ObjectRows,
    truth: np.ndarray,  # (P,)
    found: np.ndarray,  # (P,)
    backend: str,
) -> tuple[np.ndarray, ...]:
    region = truths.kind[truth] == TYPES.index("DontCare")
    a, b = truths.image_boxes[truth].T, founds.image_boxes[found].T
    width = np.minimum(a[2], b[2]) - np.maximum(a[0], b[0])
    height = np.minimum(a[3], b[3]) - np.maximum(a[1], b[1])
    common = np.where((width > 0) & (height > 0), width * height, 0.0)
    first, second = ((q[2] - q[0]) * (q[3] - q[1]) for q in (a, b))
    image = _share(common, first, second, region)
    a, b = truths.boxes[truth].T, founds.boxes[found].T
    area = common_areas(a[[0, 2, 3, 4, 6]].T, b[[0, 2, 3, 4, 6]].T, backend)
    bev = _share(area, np.abs(a[3] * a[4]), np.abs(b[3] * b[4]), region)
    rise = np.minimum(a[1], b[1]) - np.maximum(a[1] - a[5], b[1] - b[5])
    solid = area * np.maximum(rise, 0.0)
    volume = _share(solid, a[3] * a[4] * a[5], b[3] * b[4] * b[5], region)
    meets = (image > 0) | (bev > 0) | (volume > 0)
    return tuple(v[meets] for v in (truth, found, image, bev, volume))


def _share(
    common: np.ndarray, truth: np.ndarray, found: np.ndarray, region: np.ndarray
) -> np.ndarray:
    """Common part over the union, or over the detection's own part for a DontCare region."""
    whole = np.where(region, found, truth + found - common)
    usable = (whole > 0) & (common > 0)
    return np.where(usable, common / np.where(usable, whole, 1.0), 0.0)
