"""Poses against truth on synthetic streets held out from development."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from diffrender.evaluate import PoseError, pose_error, summarise
from diffrender.reconstruct import (
    DepthNoise,
    LossWeights,
    ReconstructSettings,
    Run,
    reconstruct,
)
from diffrender.reconstruct.classes import ClassSize
from diffrender.tools.bench_format import Report, Row
from diffrender.tools.bench_pose_rows import add_rows, add_target, boxes_of

__all__ = [
    "DEPTH_NOISE",
    "STREET_NOISE",
    "class_sizes",
    "synthetic_streets",
]

DEPTH_NOISE = 0.10
# What the optimizer is told of it: independent noise leaves next to nothing of a common factor.
STREET_NOISE = DepthNoise(relative=DEPTH_NOISE, scale=0.003, correlation=1.0)
_MASK_MISMATCH = 0.01  # what it is told of exact masks, which only pixels make inexact
_LAST_SIZE = (128, 128)  # pixels of the last stage, worth drawing for such masks
_SIZE_SCENES = 20  # of another seed, from which the class's mean size is taken


def synthetic_streets(report: Report, scenes: int) -> None:
    """Exact masks, depth with independent noise of 10 % a pixel, no pose given."""
    from diffrender.datasets.synthetic import HELD_OUT_SEED, SyntheticStreets, add_depth_noise
    from diffrender.predict import load_start
    from diffrender.shape_priors import load_prior

    prior = load_prior("car")
    start = load_start(beside_box_fits=True)
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
            begun = time.perf_counter()
            scene = reconstruct(
                frame.image, frame.camera, instances, depth, prior, settings,
                Run(frame.name, start=start),
            )  # fmt: skip
            seconds.setdefault(method, []).append(time.perf_counter() - begun)
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
            add_rows(report, f"synthetic streets, {scenes} scenes, {group}", summary,
                  results.get(("box", group)))  # fmt: skip
    for method, times in seconds.items():
        case = f"synthetic streets, {scenes} scenes, method {method}"
        report.rows.append(Row(case, "time a scene", float(np.median(times)), "s"))
    best = results.get(("render", "all cars"))
    clear = results.get(("render", "unoccluded"))
    add_target(
        report,
        "synthetic: median 3D IoU, all cars",
        ">= 0.85",
        best.median_iou if best else None,
        0.85,
    )
    add_target(
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
