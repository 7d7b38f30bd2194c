"""Assigning detections to truths in plain Python: the readable twin of kitti_matching.cpp.

The rules are computeStatistics of the KITTI object devkit (cpp/evaluate_object.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from diffrender.evaluate.kitti_rules import COUNTS, DONT_CARE, NEUTRAL, OTHER

if TYPE_CHECKING:
    from diffrender.evaluate.matching import MatchCase

__all__ = ["best_scores", "count_matches"]

HIT, ABSORBED, FALSE = 1, 2, 3


def _candidates(case: MatchCase, frame: int) -> dict[int, list[tuple[int, float]]]:
    """Truth -> its (detection, overlap) above the minimum, in file order; DontCare included."""
    found: dict[int, list[tuple[int, float]]] = {}
    for pair in range(case.pairs.starts[frame], case.pairs.starts[frame + 1]):
        truth, detection = int(case.pairs.truth[pair]), int(case.pairs.found[pair])
        if (
            case.overlap[pair] > case.minimum
            and case.truth_status[truth] != OTHER
            and case.found_status[detection] != OTHER
        ):
            found.setdefault(truth, []).append((detection, float(case.overlap[pair])))
    return found


def _frames(case: MatchCase) -> Iterator[int]:
    yield from range(len(case.truth_starts) - 1)


def best_scores(case: MatchCase) -> np.ndarray:
    """(G,) score of the best detection of each counted truth, NaN where there is none."""
    best = np.full(len(case.truth_status), np.nan)
    for frame in _frames(case):
        taken: set[int] = set()
        for truth, candidates in _candidates(case, frame).items():
            free = [d for d, _ in candidates if d not in taken]
            if case.truth_status[truth] == DONT_CARE or not free:
                continue
            chosen = max(free, key=lambda d: case.score[d])  # the first of equal ones
            taken.add(chosen)
            if case.truth_status[truth] == COUNTS and case.found_status[chosen] != NEUTRAL:
                best[truth] = case.score[chosen]
    return best


def count_matches(
    case: MatchCase,
    thresholds: np.ndarray,  # (T,)
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The fields of `Counts`."""
    hits, false_positives, misses = (np.zeros(len(thresholds), np.int64) for _ in range(3))
    similarity = np.zeros(len(thresholds))
    for step, threshold in enumerate(thresholds):
        match = np.full(len(case.truth_status), -1, np.int64)
        fate = np.zeros(len(case.found_status), np.int8)
        for frame in _frames(case):
            misses[step] += _match_frame(case, frame, float(threshold), match, fate)
        hits[step] = (match >= 0).sum()
        false_positives[step] = (fate == FALSE).sum()
        error = case.truth_alpha[match >= 0] - case.found_alpha[match[match >= 0]]
        similarity[step] = ((1 + np.cos(error)) / 2).sum()
    return hits, false_positives, misses, similarity, match, fate


def _match_frame(
    case: MatchCase, frame: int, threshold: float, match: np.ndarray, fate: np.ndarray
) -> int:
    """Fill in `match` and `fate` of one frame; returns its misses."""
    mine = range(case.truth_starts[frame], case.truth_starts[frame + 1])
    misses = sum(int(case.truth_status[truth] == COUNTS) for truth in mine)
    taken: set[int] = set()
    candidates = _candidates(case, frame)
    for truth, overlapping in candidates.items():
        if case.truth_status[truth] == DONT_CARE:
            continue
        chosen = _choose(case, overlapping, threshold, taken)
        if chosen is None:
            continue
        taken.add(chosen)
        misses -= int(case.truth_status[truth] == COUNTS)
        if case.truth_status[truth] == NEUTRAL or case.found_status[chosen] == NEUTRAL:
            fate[chosen] = ABSORBED
        else:
            match[truth], fate[chosen] = chosen, HIT
    for detection in range(case.found_starts[frame], case.found_starts[frame + 1]):
        counted = case.found_status[detection] == COUNTS and case.score[detection] >= threshold
        if counted and detection not in taken:
            in_region = any(
                case.truth_status[truth] == DONT_CARE and detection in dict(overlapping)
                for truth, overlapping in candidates.items()
            )
            fate[detection] = ABSORBED if in_region else FALSE
    return misses


def _choose(
    case: MatchCase, overlapping: list[tuple[int, float]], threshold: float, taken: set[int]
) -> int | None:
    """The largest overlap among the detections that count, else the first ignored one."""
    free = [
        (detection, overlap)
        for detection, overlap in overlapping
        if detection not in taken and case.score[detection] >= threshold
    ]
    counted = [pair for pair in free if case.found_status[pair[0]] != NEUTRAL]
    if counted:
        return max(counted, key=lambda pair: pair[1])[0]
    return free[0][0] if free else None
