"""From scores and counts to a precision-recall curve and its averages.

Source: the KITTI object devkit (cpp/evaluate_object.cpp: getThresholds, eval_class,
saveAndPlotPlots). R40: Simonelli et al., "Disentangling Monocular 3D Object Detection", ICCV 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["SAMPLES", "Curve", "average", "recall_thresholds", "sampled"]

SAMPLES = 41


@dataclass(frozen=True)
class Curve:
    """A precision-recall curve at up to 41 score thresholds, falling.

    Attributes:
        scores: (T,) the thresholds.
        recall, precision: (T,) in [0, 1], as counted there.
        similarity: (T,) orientation similarity over hits and false positives, or None.
        sampled: (41,) precision (for "aos" similarity) made monotone from the right, 0 behind
            the last threshold; what the averages are taken over.
    """

    scores: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    similarity: np.ndarray | None
    sampled: np.ndarray


def recall_thresholds(scores: np.ndarray, truths: int) -> np.ndarray:  # (N,) falling
    """The scores at which recall comes nearest to 0, 1/40, 2/40, ...; at most 41 of them.

    Walking down the scores, one is passed over while the next recall is nearer to the target;
    each one that is kept moves the target on by 1/40. The last score is always kept.
    """
    kept, target, i, last = [], 0.0, 0, len(scores) - 1
    while i <= last:
        # Recall (i + 1) / n nears the target around here; then the exact comparison decides.
        i = max(i, min(math.floor(target * truths) - 3, last))
        while i < last and (i + 2) / truths - target < target - (i + 1) / truths:
            i += 1
        kept.append(scores[i])
        target += 1.0 / (SAMPLES - 1.0)
        i += 1
    return np.array(kept, np.float64)


def sampled(values: np.ndarray) -> np.ndarray:  # (T,)
    """(41,) `values` made monotone from the right; 0 behind the last."""
    out = np.zeros(SAMPLES)
    out[: len(values)] = values[:SAMPLES]
    return np.maximum.accumulate(out[::-1])[::-1]


def average(curve: np.ndarray, points: int) -> float:  # (41,)
    """Average precision in per cent, over 40 samples (without the first) or over 11.

    The sum runs from the first sample to the last, as the devkit's does.
    """
    chosen = curve[1:] if points == 40 else curve[::4]
    return sum(chosen.tolist()) / points * 100
