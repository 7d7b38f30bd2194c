"""How far off the detections are that found their object in the image."""

from __future__ import annotations

import numpy as np

from diffrender.evaluate.kitti_case import EVERY_SCORE, Scene, make_case
from diffrender.evaluate.kitti_report import MatchErrors
from diffrender.evaluate.kitti_rules import ClassRule, Difficulty
from diffrender.evaluate.matching import count_matches

__all__ = ["match_errors"]


def match_errors(scene: Scene, rule: ClassRule, difficulty: Difficulty) -> MatchErrors:
    """Errors of the pairs that match in 2D, whatever the score.

    Matching in the image leaves the 3D errors unselected: a box far off in depth counts too.
    Detections without a place or size (-1000, -1) are left out.
    """
    case = make_case(scene, rule, "2d", "strict", difficulty)
    match = count_matches(case, np.array([EVERY_SCORE]), scene.backend).match
    truth = np.flatnonzero(match >= 0)
    found = match[truth]
    placed = (scene.founds.boxes[found][:, 3:6] > 0).all(axis=1)
    placed &= (scene.founds.boxes[found][:, :3] != -1000).all(axis=1)
    truth, found = truth[placed], found[placed]
    a, b = scene.truths.boxes[truth], scene.founds.boxes[found]
    off = b[:, :3] - a[:, :3]
    off[:, 1] -= (b[:, 5] - a[:, 5]) / 2  # y is the bottom, the error that of the centre
    yaw = np.degrees(np.abs((b[:, 6] - a[:, 6] + np.pi) % (2 * np.pi) - np.pi))
    values = dict(zip(("iou_2d", "iou_bev", "iou_3d"), _overlaps(scene, truth, found), strict=True))
    values["centre"] = np.linalg.norm(off, axis=1)
    values |= {axis: np.abs(off[:, i]) for i, axis in enumerate("xyz")}
    sides = ("length", "width", "height")
    values |= {side: np.abs(b[:, 3 + i] - a[:, 3 + i]) for i, side in enumerate(sides)}
    values |= {"yaw": yaw, "axis": np.minimum(yaw, 180 - yaw)}
    return MatchErrors(
        difficulty.name,
        len(truth),
        {name: float(np.mean(v)) if len(v) else float("nan") for name, v in values.items()},
        {name: float(np.median(v)) if len(v) else float("nan") for name, v in values.items()},
        float(np.mean(yaw > 90)) if len(yaw) else float("nan"),
    )


def _overlaps(
    scene: Scene, truth: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Overlaps of the given pairs; they overlap in the image, so each one is in the list."""
    width = len(scene.founds.kind) + 1
    at = np.searchsorted(scene.pairs.truth * width + scene.pairs.found, truth * width + found)
    return scene.pairs.image[at], scene.pairs.bev[at], scene.pairs.volume[at]
