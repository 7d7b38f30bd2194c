"""Poses against truth: synthetic streets held out from development, and real frames."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

import numpy as np

from diffrender.errors import InputError
from diffrender.evaluate import PoseError, PoseSummary, pose_error, summarise
from diffrender.reconstruct import (
    DepthNoise,
    LossWeights,
    ReconstructSettings,
    Run,
    Scene,
    reconstruct,
)
from diffrender.reconstruct.classes import ClassSize
from diffrender.tools.bench_error_budget import error_budget
from diffrender.tools.bench_format import Report, Row, Target

__all__ = [
    "DEPTH_NOISE",
    "STREET_NOISE",
    "class_sizes",
    "counts",
    "real_frames",
    "synthetic_streets",
]

DEPTH_NOISE = 0.10
# What the optimizer is told of it: independent noise leaves next to nothing of a common factor.
STREET_NOISE = DepthNoise(relative=DEPTH_NOISE, scale=0.003, correlation=1.0)
_MASK_MISMATCH = 0.01  # what it is told of exact masks, which only pixels make inexact
_LAST_SIZE = (128, 128)  # pixels of the last stage, worth drawing for such masks
_SIZE_SCENES = 20  # of another seed, from which the class's mean size is taken
_SHARES = {
    "iou_50": "share with 3D IoU >= 0.5",
    "iou_25": "share with 3D IoU >= 0.25",
    "iou_70": "share with 3D IoU >= 0.7",
    "median_iou": "median 3D IoU",
    "yaw_10": "share with exact yaw within 10 degrees",
    "heading": "share with the heading not flipped (yaw within 90 degrees)",
}
_MEDIANS = {
    "centre": ("median centre error", "share of depth"),
    "axis": ("median yaw error modulo 180 degrees", "degrees"),
    "yaw": ("median yaw error", "degrees"),
}


def synthetic_streets(report: Report, scenes: int) -> None:
    """Exact masks, depth with independent noise of 10 % a pixel, no pose given."""
    from diffrender.datasets.synthetic import HELD_OUT_SEED, SyntheticStreets, add_depth_noise
    from diffrender.shape_priors import load_prior

    prior = load_prior("car")
    *coarse, last = ReconstructSettings().stages
    base = ReconstructSettings(
        depth_noise=STREET_NOISE,
        class_sizes=class_sizes(),
        weights=LossWeights.of_masks(_MASK_MISMATCH),
        stages=(*coarse, dataclasses.replace(last, size=_LAST_SIZE)),
    )
    streets = SyntheticStreets(HELD_OUT_SEED, scenes)
    groups: dict[tuple[str, str], list[PoseError | None]] = {}
    seconds: dict[str, list[float]] = {}
    for index in range(scenes):
        frame = streets[index]
        draw = np.random.default_rng([HELD_OUT_SEED, index])
        depth = add_depth_noise(frame.depth, DEPTH_NOISE, draw)
        instances = frame.instances()
        for method in ("render", "box"):
            settings = dataclasses.replace(base, method=method)  # type: ignore[arg-type]
            start = time.perf_counter()
            scene = reconstruct(
                frame.image, frame.camera, instances, depth, prior, settings, Run(frame.name)
            )
            seconds.setdefault(method, []).append(time.perf_counter() - start)
            boxes = boxes_of(scene)
            given = {instance.name for instance in instances}
            for car in frame.truth:
                if car.name not in given:
                    continue  # wholly hidden: no mask, so nothing to reconstruct
                truth = np.array([*car.pose.location, *car.pose.size, car.pose.yaw])
                error = pose_error(boxes[car.name], truth) if car.name in boxes else None
                groups.setdefault((method, "all cars"), []).append(error)
                if car.label.occluded == 0 and car.truncated <= 0.05:
                    groups.setdefault((method, "unoccluded"), []).append(error)
    results = {key: summarise(errors) for key, errors in groups.items()}
    for (method, group), summary in results.items():
        if method == "render":
            _rows(report, f"synthetic streets, {scenes} scenes, {group}", summary,
                  results.get(("box", group)))  # fmt: skip
    for method, times in seconds.items():
        case = f"synthetic streets, {scenes} scenes, method {method}"
        report.rows.append(Row(case, "time a scene", float(np.median(times)), "s"))
    best = results.get(("render", "all cars"))
    clear = results.get(("render", "unoccluded"))
    _target(
        report,
        "synthetic: median 3D IoU, all cars",
        ">= 0.85",
        best.median_iou if best else None,
        0.85,
    )
    _target(
        report,
        "synthetic: yaw within 10 degrees, unoccluded",
        ">= 0.95",
        clear.yaw_10 if clear else None,
        0.95,
    )


def class_sizes() -> dict[str, ClassSize]:
    """Mean and spread of the sizes on other streets: the class average is the method's input."""
    from diffrender.datasets.synthetic import TRAINING_SEED, SyntheticStreets

    sizes: dict[str, list[tuple[float, float, float]]] = {}
    for frame in SyntheticStreets(TRAINING_SEED, _SIZE_SCENES, size=(96, 320)):
        for car in frame.truth:
            sizes.setdefault(car.category, []).append(car.pose.size)
    table = {}
    for category, rows in sizes.items():
        mean, sigma = np.mean(rows, axis=0).tolist(), np.std(rows, axis=0).tolist()
        table[category] = ClassSize(tuple(mean), tuple(sigma))
    return table


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
    for source, wanted in goals.items():
        for name, least in wanted.items():
            value = getattr(measured[source], name) if source in measured else None
            _target(report, f"real frames, {source}: {_SHARES[name]}", f">= {least}", value, least)
    for source, most in centres.items():
        found = measured[source].centre if source in measured else None
        met = found is not None and found <= most
        words = f"real frames, {source}: {_MEDIANS['centre'][0]}, share of depth"
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
    from diffrender.shape_priors import load_prior
    from diffrender.tools.inputs import DepthChoice, Inputs, from_kitti

    prior = load_prior("car")
    frames = KittiObject(root)
    missed: list[str] = []
    # KITTI's streets have right-hand traffic; "alone" is the same method without being told.
    settings = {
        "render": ReconstructSettings(traffic="right"),
        "box": ReconstructSettings(method="box"),
    }
    if masks == "instance_2" and only is None:
        settings["alone"] = ReconstructSettings()
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
                run = Run(name, depth_source=inputs.depth_source)
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
    _rows(report, case, summary, summarise(flat["box"]))
    if "alone" in flat:
        _alone(report, case, summarise(flat["alone"]), summary)
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


def boxes_of(scene: Scene) -> dict[str, np.ndarray]:
    """(x, y, z, length, width, height, yaw) of every object, by its name."""
    return {o.name: np.array([*o.pose.location, *o.size, o.yaw]) for o in scene.objects}


def _rows(report: Report, case: str, ours: PoseSummary, box: PoseSummary | None) -> None:
    """One row a figure; the peer is the render-free baseline on the same instances."""
    case = f"{case}, {ours.count} cars"
    for name, operation in _SHARES.items():
        _row(report, case, operation, "share", getattr(ours, name), getattr(box, name, None))
    for name, (operation, unit) in _MEDIANS.items():
        _row(report, case, operation, unit, getattr(ours, name), getattr(box, name, None))


def _alone(report: Report, case: str, alone: PoseSummary, told: PoseSummary) -> None:
    """What the side of the traffic brings: the same cars without it."""
    case = f"{case}, {alone.count} cars, no side of the traffic given"
    for name in ("heading", "yaw_10", "iou_50", "iou_70"):
        value, with_it = getattr(alone, name), getattr(told, name)
        text = f"right-hand traffic: {with_it:.3f}"
        report.rows.append(Row(case, _SHARES[name], value, "share", peer=text))


def _row(
    report: Report, case: str, operation: str, unit: str, value: float, peer: float | None
) -> None:
    if math.isnan(value):
        return
    known = peer is not None and not math.isnan(peer)
    text = f"method box: {peer:.3f}" if known else ""
    ratio = value / peer if known and peer else None
    report.rows.append(Row(case, operation, value, unit, peer=text, ratio=ratio))


def _target(report: Report, name: str, goal: str, value: float | None, least: float) -> None:
    met = value is not None and value >= least
    report.targets.append(Target(name, goal, value, met))
