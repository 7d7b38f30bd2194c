"""`diffrender bench predictor`: the predictor's start against the box fit's, by iterations.

Held-out synthetic streets under the conditions of `bench reconstruct-synthetic`: exact masks, 10 %
noise on every pixel of the depth map. The truth scores; nothing is chosen by it.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffrender.evaluate import PoseError, PoseSummary, pose_error, summarise
from diffrender.predict import PredictorStart, load_start, short_settings
from diffrender.reconstruct import ReconstructSettings, Run, StageSettings, reconstruct
from diffrender.tools.bench_accuracy import DEPTH_NOISE, STREET_NOISE, class_sizes
from diffrender.tools.bench_format import Report, Row, Target

__all__ = ["Outcome", "Start", "bench_predictor", "compare", "measure", "report_of", "starts"]


@dataclass(frozen=True)
class Start:
    """One way to start and how long to go on.

    Attributes:
        name: of the start.
        iterations: in all.
        settings: of the optimizer.
        start: the predictor, or None for the box fit.
    """

    name: str
    iterations: int
    settings: ReconstructSettings
    start: PredictorStart | None


@dataclass
class Outcome:
    """What one way reached, over all cars and over the unoccluded ones."""

    errors: list[PoseError | None] = field(default_factory=list)
    clear: list[PoseError | None] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def bench_predictor(*, quick: bool) -> Report:
    """The shipped predictor on held-out streets."""
    from diffrender.datasets.synthetic import HELD_OUT_SEED

    return compare(scenes=1 if quick else 100, seed=HELD_OUT_SEED)


def starts(weights: Path | None = None) -> list[Start]:
    """Both starts over a range of iterations; the first is the yardstick: the default, whole."""
    base = ReconstructSettings(depth_noise=STREET_NOISE, class_sizes=class_sizes())
    whole = sum(stage.iterations for stage in base.stages)
    short = short_settings(base)
    fifth = sum(stage.iterations for stage in short.stages)
    first = (StageSettings(iterations=0, size=(96, 96), keep=1, parts=True),)
    several, one = load_start(weights), load_start(weights, count=1)
    both = load_start(weights, beside_box_fits=True)
    found = [Start("box fit", n, _shared(base, n), None) for n in (whole, fifth)]
    found.append(Start("box fit and predictor", whole, base, both))
    found.append(Start("predictor", 0, dataclasses.replace(base, stages=first), one))
    for n in (fifth // 2, fifth, 2 * fifth):
        found.append(Start("predictor", n, _shared(short, n), several))
    return found


def compare(*, scenes: int, seed: int, weights: Path | None = None) -> Report:
    """Every way of `starts` on the same cars."""
    ways = starts(weights)
    return report_of(ways, measure(ways, range(scenes), seed), scenes)


def measure(ways: list[Start], scenes: range, seed: int) -> list[Outcome]:
    """What every way reaches on some scenes of a seed, the ways taking turns on each."""
    from diffrender.datasets.synthetic import SyntheticStreets, add_depth_noise
    from diffrender.shape_priors import load_prior

    prior = load_prior("car")
    outcomes = [Outcome() for _ in ways]
    streets = SyntheticStreets(seed, scenes.stop)
    for index in scenes:
        frame = streets[index]
        depth = add_depth_noise(frame.depth, DEPTH_NOISE, np.random.default_rng([seed, index]))
        instances = frame.instances()
        given = {instance.name for instance in instances}
        for way, outcome in zip(ways, outcomes, strict=True):
            begin = time.perf_counter()
            scene = reconstruct(
                frame.image, frame.camera, instances, depth, prior, way.settings,
                Run(frame.name, start=way.start),
            )  # fmt: skip
            seconds = time.perf_counter() - begin
            if scene.objects:
                outcome.seconds.append(seconds / len(scene.objects))
            boxes = {o.name: [*o.pose.location, *o.size, o.yaw] for o in scene.objects}
            outcome.losses += [o.losses["total"] for o in scene.objects]
            for car in frame.truth:
                if car.name not in given:
                    continue  # wholly hidden: no mask, so nothing to reconstruct
                truth = np.array([*car.pose.location, *car.pose.size, car.pose.yaw])
                found = boxes.get(car.name)
                error = None if found is None else pose_error(np.array(found), truth)
                outcome.errors.append(error)
                if car.label.occluded == 0 and car.truncated <= 0.05:
                    outcome.clear.append(error)
    return outcomes


def report_of(ways: list[Start], outcomes: list[Outcome], scenes: int) -> Report:
    """Rows of every way, and the goals."""
    report = Report(rows=[])
    _write(report, ways, outcomes, scenes)
    return report


def _shared(settings: ReconstructSettings, iterations: int) -> ReconstructSettings:
    """The same stages with `iterations` in all, in the same shares."""
    have = [stage.iterations for stage in settings.stages]
    ends = [round(iterations * sum(have[: i + 1]) / sum(have)) for i in range(len(have))]
    counts = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    stages = tuple(
        dataclasses.replace(stage, iterations=max(1, n))
        for stage, n in zip(settings.stages, counts, strict=True)
    )
    return dataclasses.replace(settings, stages=stages)


def _write(report: Report, ways: list[Start], outcomes: list[Outcome], scenes: int) -> None:
    whole = summarise(outcomes[0].errors)
    for way, outcome in zip(ways, outcomes, strict=True):
        if not outcome.losses:
            continue
        summary, clear = summarise(outcome.errors), summarise(outcome.clear)
        case = f"{scenes} streets, {summary.count} cars, {way.name}, {way.iterations} iterations"
        figures = [
            ("median 3D IoU", summary.median_iou, "IoU"),
            ("share with 3D IoU >= 0.5", summary.iou_50, "share"),
            ("share with 3D IoU >= 0.7", summary.iou_70, "share"),
            ("median yaw error", summary.yaw, "degrees"),
            ("median yaw error modulo 180 degrees", summary.axis, "degrees"),
            ("share with exact yaw within 10 degrees", summary.yaw_10, "share"),
            (f"the same, {clear.count} unoccluded", clear.yaw_10, "share"),
            ("median objective", statistics.median(outcome.losses), "nats"),
            ("time an object", statistics.median(outcome.seconds), "s"),
        ]
        report.rows.extend(Row(case, name, value, unit) for name, value, unit in figures)
    fifth = next(
        i for i, w in enumerate(ways) if w.name == "predictor" and w.iterations == _fifth()
    )
    if outcomes[fifth].losses:
        _targets(report, whole, summarise(outcomes[fifth].errors), outcomes[fifth].seconds)


def _fifth() -> int:
    return sum(stage.iterations for stage in short_settings(ReconstructSettings()).stages)


def _targets(report: Report, whole: PoseSummary, ours: PoseSummary, seconds: list[float]) -> None:
    """Same quality in a fifth of the iterations, and the time of an object."""
    shares = (
        ("median 3D IoU", ours.median_iou, whole.median_iou),
        ("share with 3D IoU >= 0.7", ours.iou_70, whole.iou_70),
        ("share with exact yaw within 10 degrees", ours.yaw_10, whole.yaw_10),
    )
    for name, mine, theirs in shares:
        ratio = mine / theirs if theirs else 0.0
        title = f"predictor's start, a fifth of the iterations: {name} over the box fit's in all"
        report.targets.append(Target(title, ">= 0.98", ratio, ratio >= 0.98))
    median = statistics.median(seconds)
    report.targets.append(Target("time an object, predictor's start", "<= 0.4 s", median,
                                 median <= 0.4))  # fmt: skip
