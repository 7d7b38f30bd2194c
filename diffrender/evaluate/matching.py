"""Assign detections to truths at many score thresholds, by the native kernel or its twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.evaluate import matching_python
from diffrender.evaluate.pair_overlaps import PairOverlaps
from diffrender.native import kernel_threads, signature

__all__ = ["Counts", "MatchCase", "best_scores", "count_matches"]


@dataclass(frozen=True)
class MatchCase:
    """One class at one difficulty by one kind of overlap, over all frames.

    Attributes:
        truth_starts, found_starts: (F + 1,) int64, rows of each frame.
        pairs: pairs that overlap; only `starts`, `truth` and `found` are used.
        overlap: (P,) float64 of the chosen kind.
        minimum: an overlap must be greater than this.
        truth_status, found_status: int8 by row, see `kitti_rules`.
        score: (D,) float64 of the detections.
        truth_alpha, found_alpha: observation angles, radians.
    """

    truth_starts: np.ndarray
    found_starts: np.ndarray
    pairs: PairOverlaps
    overlap: np.ndarray
    minimum: float
    truth_status: np.ndarray
    found_status: np.ndarray
    score: np.ndarray
    truth_alpha: np.ndarray
    found_alpha: np.ndarray


@dataclass(frozen=True)
class Counts:
    """Attributes:
    hits, false_positives, misses: (T,) int64 at each threshold.
    similarity: (T,) float64, sum over the hits of (1 + cos of the angle's error) / 2.
    match: (G,) int64, the detection that hit each truth at the last threshold, or -1.
    fate: (D,) int8 at the last threshold: 1 hit, 2 absorbed, 3 false positive, 0 none of these.
    """

    hits: np.ndarray
    false_positives: np.ndarray
    misses: np.ndarray
    similarity: np.ndarray
    match: np.ndarray
    fate: np.ndarray


def best_scores(case: MatchCase, backend: str) -> np.ndarray:
    """Recall pass: scores of the detections that counted truths take, falling."""
    if backend == "native":
        best = np.full(len(case.truth_status), np.nan)
        signature("diffrender_kitti_best_scores", "ppp i ppp ppp d i p")(
            *_arguments(case), kernel_threads(), best.ctypes.data
        )
    else:
        best = matching_python.best_scores(case)
    return np.sort(best[~np.isnan(best)])[::-1]


def count_matches(case: MatchCase, thresholds: np.ndarray, backend: str) -> Counts:
    """Counting pass at falling `thresholds` (T,), at least one."""
    if backend != "native":
        return Counts(*matching_python.count_matches(case, thresholds))
    thresholds = np.ascontiguousarray(thresholds, dtype=np.float64)
    count = len(thresholds)
    hits, false_positives, misses = (np.zeros(count, np.int64) for _ in range(3))
    similarity = np.zeros(count)
    match = np.full(len(case.truth_status), -1, np.int64)
    fate = np.zeros(len(case.found_status), np.int8)
    signature("diffrender_kitti_counts", "ppp i ppp ppp d p i pp i ppppp p")(
        *_arguments(case), thresholds.ctypes.data, count,
        case.truth_alpha.ctypes.data, case.found_alpha.ctypes.data, kernel_threads(),
        *(a.ctypes.data for a in (hits, false_positives, misses, similarity, match, fate)),
    )  # fmt: skip
    return Counts(hits, false_positives, misses, similarity, match, fate)


def _arguments(case: MatchCase) -> list[float]:
    """What both kernels begin with; every array is contiguous and of its stated type."""
    arrays = [case.truth_starts, case.found_starts, case.pairs.starts]
    more = [
        case.pairs.truth, case.pairs.found, case.overlap,
        case.truth_status, case.found_status, case.score,
    ]  # fmt: skip
    return [
        *(a.ctypes.data for a in arrays),
        len(case.truth_starts) - 1,
        *(a.ctypes.data for a in more),
        case.minimum,
    ]
