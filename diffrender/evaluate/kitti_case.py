"""One class, metric, overlap and difficulty over all frames: from rows to average precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.evaluate.kitti_report import AveragePrecision
from diffrender.evaluate.kitti_rows import ObjectRows
from diffrender.evaluate.kitti_rules import COUNTS, ClassRule, Difficulty
from diffrender.evaluate.kitti_rules import found_status as found_status_of
from diffrender.evaluate.kitti_rules import truth_status as truth_status_of
from diffrender.evaluate.matching import Counts, MatchCase, best_scores, count_matches
from diffrender.evaluate.pair_overlaps import PairOverlaps
from diffrender.evaluate.precision import Curve, average, recall_thresholds, sampled

__all__ = ["Scene", "average_precision", "curve_of", "make_case", "minimum_overlap"]

EVERY_SCORE = -np.inf


@dataclass(frozen=True)
class Scene:
    """What is evaluated: rows of the same frames, their overlaps, and the back-end to use."""

    names: tuple[str, ...]
    truths: ObjectRows
    founds: ObjectRows
    pairs: PairOverlaps
    backend: str


def minimum_overlap(rule: ClassRule, metric: str, overlap: str) -> float:
    """The overlap that a hit must exceed; the loose one applies to BEV and 3D."""
    return rule.loose if overlap == "loose" and metric in ("bev", "3d") else rule.strict


def make_case(
    scene: Scene, rule: ClassRule, metric: str, overlap: str, difficulty: Difficulty
) -> MatchCase:
    """The case that the matching kernel is given."""
    kinds = {"2d": scene.pairs.image, "bev": scene.pairs.bev, "3d": scene.pairs.volume}
    truths, founds = scene.truths, scene.founds
    return MatchCase(
        truths.starts,
        founds.starts,
        scene.pairs,
        kinds[metric],
        minimum_overlap(rule, metric, overlap),
        truth_status_of(truths, rule, difficulty),
        found_status_of(founds, rule, difficulty),
        *(
            np.ascontiguousarray(column)
            for column in (founds.column("score"), truths.column("alpha"), founds.column("alpha"))
        ),
    )


def curve_of(case: MatchCase, backend: str) -> tuple[Curve, Curve, Counts]:
    """Precision curve, orientation curve, and counts with one more entry: every score."""
    truths = int((case.truth_status == COUNTS).sum())
    scores = recall_thresholds(best_scores(case, backend), truths)
    counts = count_matches(case, np.append(scores, EVERY_SCORE), backend)
    hits, wrong, missed = (
        values[:-1].astype(np.float64)
        for values in (counts.hits, counts.false_positives, counts.misses)
    )
    recall = hits / np.maximum(hits + missed, 1)
    precision = hits / np.maximum(hits + wrong, 1)
    similarity = counts.similarity[:-1] / np.maximum(hits + wrong, 1)
    return (
        Curve(scores, recall, precision, None, sampled(precision)),
        Curve(scores, recall, precision, similarity, sampled(similarity)),
        counts,
    )


def average_precision(
    scene: Scene,
    rule: ClassRule,
    metric: str,
    overlap: str,
    difficulty: Difficulty,
    orientation: bool,
) -> list[AveragePrecision]:
    """The figure, and behind it "aos" where `metric` is "2d" and `orientation` is wanted."""
    case = make_case(scene, rule, metric, overlap, difficulty)
    precision, similarity, counts = curve_of(case, scene.backend)
    wanted = {metric: precision}
    if metric == "2d" and orientation:
        wanted["aos"] = similarity
    return [
        AveragePrecision(
            name,
            overlap,
            case.minimum,
            difficulty.name,
            average(curve.sampled, 40),
            average(curve.sampled, 11),
            int((case.truth_status == COUNTS).sum()),
            int((case.found_status == COUNTS).sum()),
            int(counts.hits[-1]),
            int(counts.false_positives[-1]),
            int(counts.misses[-1]),
            curve,
        )
        for name, curve in wanted.items()
    ]
