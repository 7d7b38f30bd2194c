"""What a reader of the figures must know before believing them."""

from __future__ import annotations

from diffrender.evaluate.kitti_case import Scene
from diffrender.evaluate.kitti_report import KittiReport
from diffrender.evaluate.kitti_rules import CLASSES
from diffrender.evaluate.precision import SAMPLES

__all__ = ["report_warnings"]


def report_warnings(report: KittiReport, scene: Scene, orientation: bool) -> tuple[str, ...]:
    """One sentence each."""
    inputs, found = report.inputs, []
    if inputs.missing:
        found.append(
            f"{len(inputs.missing)} of {inputs.frames} frames have no result file (the first is "
            f"{inputs.missing[0]}); they count as frames without detections"
        )
    if inputs.without_labels:
        found.append(
            f"{len(inputs.without_labels)} result files have no label and were left out, the "
            f"first is {inputs.without_labels[0]}"
        )
    if inputs.dropped:
        found.append(
            f"{len(inputs.dropped)} rows break the format and were left out, the first is "
            f"{inputs.dropped[0]}"
        )
    for rows, what in ((scene.founds, "results"), (scene.truths, "labels")):
        if rows.other_types:
            types = ", ".join(f"{name} ({n})" for name, n in sorted(rows.other_types.items())[:5])
            found.append(f"the {what} hold types that KITTI does not have: {types}")
    if not orientation:
        found.append("AOS is switched off for every class: a detection has alpha -10")
    for entry in report.classes:
        found += [
            f"{entry.name}: {', '.join(metrics)} not evaluated: {why}"
            for why, metrics in _by_reason(entry.not_evaluated, orientation).items()
        ]
        found += _few_truths(entry.name, report)
        if not CLASSES[entry.name].in_devkit:
            found.append(f"{entry.name} is no class of the devkit; its overlaps are the ports'")
    return tuple(found)


def _by_reason(not_evaluated: dict[str, str], orientation: bool) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for metric, why in not_evaluated.items():
        if metric == "aos" and ("2d" not in not_evaluated) and not orientation:
            continue  # said once for all classes
        reasons.setdefault(why, []).append(metric.upper())
    return reasons


def _few_truths(name: str, report: KittiReport) -> list[str]:
    """Difficulties with too few truths for 41 samples of recall."""
    few = {
        row.difficulty: row
        for row in report[name].rows
        if row.metric != "aos" and row.truths < SAMPLES
    }
    return [
        f"{name} {difficulty}: {row.truths} ground truths; with fewer than {SAMPLES}, perfect "
        f"detections reach R40 {row.reachable_r40:.1f}, not 100"
        for difficulty, row in few.items()
    ]
