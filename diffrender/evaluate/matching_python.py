"""Assigning detections to truths in plain Python: the readable twin of kitti_matching.cpp.

The rules are computeStatistics of the KITTI object devkit (cpp/evaluate_object.cpp).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from diffrender.evaluate.kitti_rules import COUNTS, DONT_CARE, NEUTRAL, OTHER

if TYPE_CHECKING:
    from diffrender.evaluate.matching import MatchCase

__all__ = ["best_scores", "count_matches"]

HIT, ABSORBED, FALSE = 1, 2, 3


@dataclass
class _Frame:
    """Pairs of one frame above the minimum overlap, in file order.

    Attributes:
        truths: truth -> its (detection, overlap).
        regions: detections that lie in a DontCare region.
        scores: of all these detections.
    """

    truths: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    regions: list[int] = field(default_factory=list)
    scores: set[float] = field(default_factory=set)


def _frames(case: MatchCase) -> list[_Frame]:
    """The frames that have a pair to decide about."""
    truth, found = case.pairs.truth, case.pairs.found
    wanted = (
        (case.overlap > case.minimum)
        & (case.truth_status[truth] != OTHER)
        & (case.found_status[found] != OTHER)
    )
    frames: dict[int, _Frame] = {}
    of_pair = np.searchsorted(case.pairs.starts, np.flatnonzero(wanted), side="right")
    rows = zip(
        of_pair.tolist(),
        truth[wanted].tolist(),
        found[wanted].tolist(),
        case.overlap[wanted].tolist(),
        strict=True,
    )
    for number, t, d, overlap in rows:
        frame = frames.setdefault(number, _Frame())
        if case.truth_status[t] == DONT_CARE:
            frame.regions.append(d)
        else:
            frame.truths.setdefault(t, []).append((d, overlap))
        frame.scores.add(float(case.score[d]))
    return list(frames.values())


def best_scores(case: MatchCase) -> np.ndarray:
    """(G,) score of the best detection of each counted truth, NaN where there is none."""
    best = np.full(len(case.truth_status), np.nan)
    for frame in _frames(case):
        taken: set[int] = set()
        for truth, candidates in frame.truths.items():
            free = [d for d, _ in candidates if d not in taken]
            if not free:
                continue
            chosen = max(free, key=lambda d: case.score[d])  # the first of equal ones
            taken.add(chosen)
            if case.truth_status[truth] == COUNTS and case.found_status[chosen] != NEUTRAL:
                best[truth] = case.score[chosen]
    return best


def count_matches(
    case: MatchCase,
    thresholds: np.ndarray,  # (T,) falling
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The fields of `Counts`."""
    hits, spared, withheld = (np.zeros(len(thresholds), np.int64) for _ in range(3))
    similarity = np.zeros(len(thresholds))
    counted = case.found_status == COUNTS
    active = [int((counted & (case.score >= t)).sum()) for t in thresholds]
    match = np.full(len(case.truth_status), -1, np.int64)
    fate = np.where(counted & (case.score >= thresholds[-1]), FALSE, 0).astype(np.int8)
    for frame in _frames(case):
        taken: dict[int, tuple[int, int]] = {}
        seen = 0
        for step, threshold in enumerate(thresholds.tolist()):
            now = sum(score >= threshold for score in frame.scores)
            if now > seen:  # otherwise as at the threshold before
                taken, seen = _match_frame(case, frame, threshold), now
            for d, (truth, outcome) in taken.items():
                spared[step] += counted[d]
                if outcome == HIT:
                    hits[step] += 1
                    error = case.truth_alpha[truth] - case.found_alpha[d]
                    similarity[step] += (1 + np.cos(error)) / 2
                elif truth >= 0:
                    withheld[step] += case.truth_status[truth] == COUNTS
        for d, (truth, outcome) in taken.items():
            fate[d] = outcome
            if outcome == HIT:
                match[truth] = d
    truths = int((case.truth_status == COUNTS).sum())
    return hits, np.array(active) - spared, truths - hits - withheld, similarity, match, fate


def _match_frame(case: MatchCase, frame: _Frame, threshold: float) -> dict[int, tuple[int, int]]:
    """Detection -> (truth that took it or -1 for a region, HIT or ABSORBED)."""
    taken: dict[int, tuple[int, int]] = {}
    for truth, candidates in frame.truths.items():
        free = [
            (d, overlap)
            for d, overlap in candidates
            if d not in taken and case.score[d] >= threshold
        ]
        fitting = [pair for pair in free if case.found_status[pair[0]] != NEUTRAL]
        if fitting:
            chosen = max(fitting, key=lambda pair: pair[1])[0]  # the first of equal ones
        elif free:
            chosen = free[0][0]
        else:
            continue
        neutral = case.truth_status[truth] == NEUTRAL or not fitting
        taken[chosen] = (truth, ABSORBED if neutral else HIT)
    for d in frame.regions:
        if d not in taken and case.score[d] >= threshold and case.found_status[d] == COUNTS:
            taken[d] = (-1, ABSORBED)
    return taken
