"""How far off the detections are that found their object in the image."""

from __future__ import annotations

import numpy as np

from diffrender.evaluate.kitti_case import Scene, curve_of, make_case
from diffrender.evaluate.kitti_report import MatchErrors
from diffrender.evaluate.kitti_rules import ClassRule, Difficulty

__all__ = ["match_errors"]


def match_errors(scene: Scene, rule: ClassRule, difficulty: Difficulty) -> MatchErrors:
    """Errors of the pairs that match in 2D, whatever the score.

    Matching in the image leaves the 3D errors unselected: a box far off in depth counts too.
    Detections without a place or size (-1000, -1) are left out.
    """
    _, _, counts = curve_of(make_case(scene, rule, "2d", "strict", difficulty), scene.backend)
    truth = np.flatnonzero(counts.match >= 0)
    found = counts.match[truth]
    a, b = scene.truths.boxes[truth], scene.founds.boxes[found]
    placed = (b[:, 3:6] > 0).all(axis=1) & (b[:, :3] != -1000).all(axis=1)
    truth, found, a, b = truth[placed], found[placed], a[placed], b[placed]
    middle = b[:, :3] - a[:, :3]
    middle[:, 1] -= (b[:, 5] - a[:, 5]) / 2  # y is the bottom
    yaw = np.degrees(np.abs((b[:, 6] - a[:, 6] + np.pi) % (2 * np.pi) - np.pi))
    image, bev, volume = _overlaps(scene, truth, found)
    size = np.abs(b[:, 3:6] - a[:, 3:6])
    return MatchErrors(
        difficulty.name,
        len(truth),
        *(_summary(values)[0] for values in (image, bev, volume)),
        _summary(np.linalg.norm(middle, axis=1)),
        *(_summary(np.abs(middle[:, axis])) for axis in range(3)),
        *(_summary(size[:, side]) for side in range(3)),
        _summary(yaw),
        _summary((yaw > 90).astype(np.float64))[0],
    )


def _summary(values: np.ndarray) -> tuple[float, float]:
    """Mean and median, NaN for no value."""
    if len(values) == 0:
        return float("nan"), float("nan")
    return float(np.mean(values)), float(np.median(values))


def _overlaps(
    scene: Scene, truth: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlaps of the given pairs; they overlap in the image, so each one is in the list."""
    width = len(scene.founds.kind) + 1
    at = np.searchsorted(scene.pairs.truth * width + scene.pairs.found, truth * width + found)
    return scene.pairs.image[at], scene.pairs.bev[at], scene.pairs.volume[at]
