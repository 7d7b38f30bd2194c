"""The KITTI object benchmark: average precision in 2D, BEV and 3D, and orientation similarity.

Source: Geiger et al., "Are we ready for autonomous driving?", CVPR 2012, and the devkit's
cpp/evaluate_object.cpp, which is followed to the digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffrender.errors import InputError
from diffrender.evaluate.frame_files import FrameSource, open_frames
from diffrender.evaluate.kitti_bands import band_precision
from diffrender.evaluate.kitti_case import Scene, average_precision
from diffrender.evaluate.kitti_errors import match_errors
from diffrender.evaluate.kitti_inputs import load_scene
from diffrender.evaluate.kitti_report import AveragePrecision, ClassReport, KittiReport
from diffrender.evaluate.kitti_rules import CLASSES, DIFFICULTIES, METRICS, ClassRule
from diffrender.evaluate.kitti_rules import why_not_evaluated
from diffrender.evaluate.kitti_warnings import report_warnings
from diffrender.evaluate.kitti_worst import worst_frames
from diffrender.native import reason_missing

__all__ = ["KittiSettings", "kitti_average_precision"]


@dataclass(frozen=True)
class KittiSettings:
    """Attributes:
    classes: of Car, Pedestrian, Cyclist (the devkit's), Van, Truck, Tram, Person_sitting.
    strict: a frame without a result file, or a result without a label, is an error.
    wrong_rows: "fail" raises at a row that breaks the format; "drop" leaves such rows out as
        the devkit does, and lists them in the report.
    bands: edges in metres of the distance bands; the last band has no end.
    detail: the difficulty of the bands, errors and worst frames.
    worst: how many of the frames with the most errors to keep.
    backend: "native", "python", or None for the faster one that is there.
    """

    classes: tuple[str, ...] = ("Car", "Pedestrian", "Cyclist")
    strict: bool = False
    wrong_rows: Literal["fail", "drop"] = "fail"
    bands: tuple[float, ...] = (0.0, 10.0, 20.0, 30.0, 40.0)
    detail: str = "moderate"
    worst: int = 6
    backend: str | None = None


def kitti_average_precision(
    labels: FrameSource,
    results: FrameSource,
    frames: Sequence[str] | None = None,
    settings: KittiSettings | None = None,
) -> KittiReport:
    """Evaluate detections against labels as the KITTI object devkit does.

    Args:
        labels: folder, .zip, .tar.gz or .tar of label files NAME.txt (15 columns), or a mapping
            from frame name to text.
        results: the same for result files (16 columns, the score the last).
        frames: names to evaluate, such as a split; a frame without a result file counts as one
            without detections. None: the frames that have a result file.
        settings: see `KittiSettings`.

    Returns:
        Every metric at every difficulty, at the strict overlaps (Car 0.7, Pedestrian and Cyclist
        0.5) and, for BEV and 3D, at the loose ones (0.5, 0.25); per cent. Boxes are KITTI's:
        bottom-face centre in the rectified frame of camera 0, metres, radians.

    Raises:
        InputError: nothing to read, a wrong row (file, line and column are named), a frame
            without labels, or, where settings are strict, a missing file.
    """
    chosen = settings or KittiSettings()
    backend = _backend(chosen)
    scene, inputs = load_scene(
        open_frames(labels, "labels"),
        open_frames(results, "results"),
        frames,
        chosen.strict,
        chosen.wrong_rows,
        backend,
    )
    orientation = not bool((scene.founds.column("alpha") == -10).any())
    classes = tuple(
        _class_report(scene, CLASSES[name], chosen, orientation) for name in chosen.classes
    )
    report = KittiReport(classes, inputs, (), ())
    return KittiReport(
        classes,
        inputs,
        report_warnings(report, scene, orientation),
        worst_frames(scene, report, chosen.detail, chosen.worst),
    )


def _backend(settings: KittiSettings) -> str:
    """Check the settings; returns the back-end to use."""
    unknown = [name for name in settings.classes if name not in CLASSES]
    if unknown or not settings.classes:
        raise InputError(
            f"classes are {', '.join(settings.classes) or 'empty'}; expected some of "
            f"{', '.join(CLASSES)}"
        )
    if len(set(settings.classes)) < len(settings.classes):
        raise InputError(f"classes are {', '.join(settings.classes)}: one is named twice")
    if settings.wrong_rows not in ("fail", "drop"):
        raise InputError(f"wrong_rows is {settings.wrong_rows!r}, expected 'fail' or 'drop'")
    if settings.detail not in [difficulty.name for difficulty in DIFFICULTIES]:
        raise InputError(f"detail is {settings.detail!r}, expected 'easy', 'moderate' or 'hard'")
    if list(settings.bands) != sorted(set(settings.bands)) or not np.isfinite(settings.bands).all():
        raise InputError(f"bands are {settings.bands}, expected rising distances in metres")
    missing = reason_missing()
    if settings.backend == "native" and missing is not None:
        raise InputError(f"backend 'native' cannot be used: {missing}")
    if settings.backend not in (None, "native", "python"):
        raise InputError(f"backend is {settings.backend!r}, expected 'native', 'python' or None")
    return settings.backend or ("python" if missing else "native")


def _class_report(
    scene: Scene, rule: ClassRule, settings: KittiSettings, orientation: bool
) -> ClassReport:
    reasons = {m: why_not_evaluated(scene.founds, rule, m) for m in METRICS}
    not_evaluated = {metric: why for metric, why in reasons.items() if why is not None}
    if "2d" in not_evaluated:
        not_evaluated["aos"] = not_evaluated["2d"]
    elif not orientation:
        not_evaluated["aos"] = "a detection has alpha -10, which switches orientation off"
    rows: list[AveragePrecision] = []
    for metric in METRICS:
        if metric in not_evaluated:
            continue
        for overlap in ("strict",) if metric == "2d" else ("strict", "loose"):
            for difficulty in DIFFICULTIES:
                rows += average_precision(
                    scene, rule, metric, overlap, difficulty, "aos" not in not_evaluated
                )
    detail = next(d for d in DIFFICULTIES if d.name == settings.detail)
    bands = [
        row
        for metric in ("bev", "3d")
        if metric not in not_evaluated
        for overlap in ("strict", "loose")
        for row in band_precision(scene, rule, metric, overlap, detail, settings.bands)
    ]
    errors = None if "2d" in not_evaluated else match_errors(scene, rule, detail)
    return ClassReport(rule.name, tuple(rows), not_evaluated, tuple(bands), errors)
