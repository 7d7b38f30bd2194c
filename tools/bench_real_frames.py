"""Poses against truth on real frames, with every depth source and the render-free baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffrender.datasets.kitti import TRAFFIC
from diffrender.errors import InputError
from diffrender.evaluate import PoseError, PoseSummary, pose_error, summarise
from diffrender.reconstruct import ReconstructSettings, Run, reconstruct
from diffrender.tools.bench_error_budget import error_budget
from diffrender.tools.bench_format import Report, Row, Target
from diffrender.tools.bench_pose_rows import MEDIANS, SHARES, add_rows, add_target, boxes_of

__all__ = ["counts", "real_frames"]

# The same cars with less to go by, or begun otherwise.
_OTHERS = {
    "no side of the traffic given": ReconstructSettings(),
    "no side given, front and rear not looked at": ReconstructSettings(heading=False),
    "begun from box fits alone": ReconstructSettings(traffic=TRAFFIC),
    "begun by the predictor": ReconstructSettings(traffic=TRAFFIC),
}


def real_frames(report: Report, data: Path | None, *, quick: bool) -> None:
    """KITTI frames with every depth source, masks given or made from 2D boxes, and the baseline.

    `quick` takes one frame, given masks, and the depth sources that goals were set for.
    """
    goals = {
        "lidar": {"iou_70": 0.75, "iou_50": 1.0, "yaw_10": 0.9, "heading": 0.9},
        "rt-monodepth": {"iou_50": 0.60, "iou_70": 0.20, "yaw_10": 0.9, "heading": 0.9},
        "dpt-timm": {"iou_50": 0.45},
    }
    centres = {"lidar": 0.008, "rt-monodepth": 0.028}
    measured: dict[str, PoseSummary] = {}
    if data is not None and (data / "kitti").is_dir():
        sources = {
            "lidar": None,
            "rt-monodepth": data / "depth_weights" / "rtmonodepth_s_ms.npz",
            "pydnet": data / "depth_weights" / "pydnetpp_float.npz",
            "dpt-timm": None,
        }
        if quick:
            sources = {source: sources[source] for source in ("lidar", "rt-monodepth")}
        only = ["000003"] if quick else None
        for masks in ("instance_2",) if quick else ("instance_2", "label_2"):
            for source, weights in sources.items():
                summary = _real_source(report, data / "kitti", source, weights, masks, only)
                if masks == "instance_2" and summary is not None:
                    measured[source] = summary
    else:
        reason = "left out: DIFFRENDER_SHARED names no folder with data/kitti"
        report.rows.append(Row("real frames", reason, 0, "frames"))
    for source, wanted in goals.items():
        for name, least in wanted.items():
            value = getattr(measured[source], name) if source in measured else None
            add_target(
                report, f"real frames, {source}: {SHARES[name]}", f">= {least}", value, least
            )
    for source, most in centres.items():
        found = measured[source].centre if source in measured else None
        met = found is not None and found <= most
        words = f"real frames, {source}: {MEDIANS['centre'][0]}, share of depth"
        report.targets.append(Target(words, f"<= {most}", found, met))


def _real_source(
    report: Report,
    root: Path,
    source: str,
    weights: Path | None,
    masks: str,
    only: list[str] | None,
) -> PoseSummary | None:
    from diffrender.datasets import KittiObject
    from diffrender.instances import row_name
    from diffrender.predict import PredictorStart, load_start
    from diffrender.shape_priors import load_prior
    from diffrender.tools.inputs import DepthChoice, Inputs, from_kitti

    prior = load_prior("car")
    frames = KittiObject(root)
    missed: list[str] = []
    settings = {
        "render": ReconstructSettings(traffic=TRAFFIC),
        "box": ReconstructSettings(method="box"),
    }
    others = _OTHERS if masks == "instance_2" and only is None else {}
    settings |= others
    starts: dict[str, PredictorStart | None] = {
        "box": None,
        "begun from box fits alone": None,
        "begun by the predictor": load_start(short=True),
    }
    both = load_start(beside_box_fits=True)
    errors: dict[str, dict[str, list[PoseError | None]]] = {method: {} for method in settings}
    pairs: list[tuple[np.ndarray | None, np.ndarray]] = []
    choice = DepthChoice(source, None if weights is None else str(weights))
    for name in only or frames.names:
        frame = frames[name]
        if source == "lidar" and not (frame.folder / "velodyne" / f"{name}.bin").is_file():
            continue
        if not any(counts(label) for label in frame.labels):
            continue
        shown = {instance.name for instance in frame.load_frame_instances(masks)[0]}
        inputs: Inputs | None
        try:
            inputs = from_kitti(root, name, "training", masks, choice)
        except InputError:
            inputs = None  # the depth's scale cannot be found: every car of the frame is missed
            missed.append(name)
        for method, per_frame in errors.items():
            boxes: dict[str, np.ndarray] = {}
            if inputs is not None:
                run = Run(name, depth_source=inputs.depth_source, start=starts.get(method, both))
                scene = reconstruct(
                    inputs.image,
                    inputs.camera,
                    inputs.instances,
                    inputs.depth,
                    prior,
                    settings[method],
                    run,
                )
                boxes = boxes_of(scene)
            for index, label in enumerate(frame.labels):
                if not counts(label):
                    continue
                key = row_name(label, index + 1)
                if masks == "instance_2" and key not in shown:
                    continue  # the segmentation network gave this car no mask
                truth = np.array([*label.location, *label.size_lwh, label.rotation_y])
                error = pose_error(boxes[key], truth) if key in boxes else None
                per_frame.setdefault(name, []).append(error)
                if method == "render":
                    pairs.append((boxes.get(key), truth))
    flat = {m: [e for errors in f.values() for e in errors] for m, f in errors.items()}
    if not flat["render"]:
        return None
    summary = summarise(flat["render"])
    case = f"real frames, {source}, masks {'from 2D boxes' if masks == 'label_2' else masks}"
    add_rows(report, case, summary, summarise(flat["box"]))
    for name in others:
        _other(report, f"{case}, {summary.count} cars, {name}", summarise(flat[name]), summary)
    error_budget(report, case, pairs)
    if missed:
        why = f"frames without a scale for their depth: {', '.join(missed)}"
        report.rows.append(Row(case, why, float(len(missed)), "frames"))
    for name, found in errors["render"].items():
        row = summarise(found)
        mean = float(np.mean([0.0 if e is None else e.iou for e in found]))
        report.rows.append(Row(f"{case}, frame {name}", f"mean 3D IoU of {row.count}", mean, "IoU"))
    return summary


def counts(label: object) -> bool:
    """Cars that the figures are about: little hidden, little cut, at least 30 pixels high."""
    box = label.box  # type: ignore[attr-defined]
    return bool(
        label.type == "Car"  # type: ignore[attr-defined]
        and label.occluded in (0, 1)  # type: ignore[attr-defined]
        and label.truncated <= 0.3  # type: ignore[attr-defined]
        and box[3] - box[1] >= 30
    )


def _other(report: Report, case: str, found: PoseSummary, whole: PoseSummary) -> None:
    """The same cars in another way, beside the shares of the whole method."""
    for name in ("heading", "yaw_10", "iou_50", "iou_70"):
        text = f"the whole method: {getattr(whole, name):.3f}"
        report.rows.append(Row(case, SHARES[name], getattr(found, name), "share", peer=text))
