"""The frames with the most errors, for looking at."""

from __future__ import annotations

import numpy as np

from diffrender.evaluate.kitti_case import Scene, curve_of, make_case
from diffrender.evaluate.kitti_report import KittiReport, WorstFrame
from diffrender.evaluate.kitti_rules import CLASSES, COUNTS, DIFFICULTIES, NEUTRAL, OTHER
from diffrender.evaluate.matching import count_matches

__all__ = ["worst_frames"]

_HIT, _ABSORBED, _FALSE = 1, 2, 3


def worst_frames(
    scene: Scene, report: KittiReport, detail: str, count: int
) -> tuple[WorstFrame, ...]:
    """Frames by their false positives and misses in 3D at the loose overlap, worst first.

    Each class is taken at the score where its F1 is best; a frame without errors is not listed.
    """
    difficulty = next(d for d in DIFFICULTIES if d.name == detail)
    truth_fate = np.full(len(scene.truths.kind), "", dtype=object)
    found_fate = np.full(len(scene.founds.kind), "", dtype=object)
    for entry in report.classes:
        if "3d" in entry.not_evaluated:
            continue
        case = make_case(scene, CLASSES[entry.name], "3d", "loose", difficulty)
        curve, _, _ = curve_of(case, scene.backend)
        if len(curve.scores) == 0:
            continue
        f1 = 2 * curve.precision * curve.recall / np.maximum(curve.precision + curve.recall, 1e-9)
        counts = count_matches(case, curve.scores[[int(f1.argmax())]], scene.backend)
        # What a truth's own class says of it stands, whichever class comes first.
        counted = case.truth_status == COUNTS
        truth_fate[(case.truth_status == NEUTRAL) & (truth_fate == "")] = "neutral"
        truth_fate[counted] = "missed"
        truth_fate[(counts.match >= 0) & (counted | (truth_fate == "neutral"))] = "hit"
        for code, name in ((_HIT, "hit"), (_ABSORBED, "neutral"), (_FALSE, "false")):
            found_fate[(counts.fate == code) & (case.found_status != OTHER)] = name
    wrong, missed = (
        np.bincount(rows.frame[fate == name], minlength=len(scene.names))
        for rows, fate, name in (
            (scene.founds, found_fate, "false"),
            (scene.truths, truth_fate, "missed"),
        )
    )
    order = np.argsort(-(wrong + missed), kind="stable")[: max(count, 0)]
    return tuple(
        _frame(scene, int(f), (int(wrong[f]), int(missed[f])), truth_fate, found_fate)
        for f in order
        if wrong[f] + missed[f] > 0
    )


def _frame(
    scene: Scene,
    frame: int,
    errors: tuple[int, int],
    truth_fate: np.ndarray,
    found_fate: np.ndarray,
) -> WorstFrame:
    truths, founds = (
        np.arange(rows.starts[frame], rows.starts[frame + 1])
        for rows in (scene.truths, scene.founds)
    )
    truths, founds = truths[truth_fate[truths] != ""], founds[found_fate[founds] != ""]
    return WorstFrame(
        scene.names[frame],
        *errors,
        scene.truths.boxes[truths],
        tuple(truth_fate[truths]),
        scene.founds.boxes[founds],
        tuple(found_fate[founds]),
        scene.founds.column("score")[founds],
    )
