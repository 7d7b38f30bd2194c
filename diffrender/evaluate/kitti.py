"""The KITTI object benchmark: average precision in 2D, BEV and 3D, and orientation similarity.

Source: Geiger et al., "Are we ready for autonomous driving?", CVPR 2012, and the devkit's
cpp/evaluate_object.cpp, which is followed to the digit.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffrender.evaluate.frame_files import FrameSource, open_frames
from diffrender.evaluate.kitti_bands import band_precision
from diffrender.evaluate.kitti_case import Scene, average_precision
from diffrender.evaluate.kitti_errors import match_errors
from diffrender.evaluate.kitti_inputs import load_scene
from diffrender.evaluate.kitti_report import AveragePrecision, ClassReport, KittiReport
from diffrender.evaluate.kitti_rules import (
    CLASSES,
    DIFFICULTIES,
    METRICS,
    ClassRule,
    why_not_evaluated,
)
from diffrender.evaluate.kitti_settings import KittiSettings, choose_backend
from diffrender.evaluate.kitti_warnings import report_warnings
from diffrender.evaluate.kitti_worst import worst_frames

__all__ = ["kitti_average_precision"]


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
    backend = choose_backend(chosen)
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
    report = KittiReport(classes, inputs, chosen, (), ())
    return KittiReport(
        classes,
        inputs,
        chosen,
        report_warnings(report, scene, orientation),
        worst_frames(scene, report, chosen.detail, chosen.worst),
    )


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
