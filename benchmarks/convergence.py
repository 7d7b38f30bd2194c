"""How Adam, L-BFGS and Levenberg-Marquardt converge on the cars of synthetic streets.

    python benchmarks/convergence.py --json FILE --picture FILE.png

Every car starts from the same twelve yaws with each method, at one window size, without moves; each
method runs as long as the longest needs. What is compared is, for each car, the loss of its best
hypothesis above the lowest that any method reached, against iterations and against seconds. Cars of
the development seed; no truth is looked at.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._files import atomic_path, write_text_atomic
from diffrender.native import small_tensors
from diffrender.reconstruct import DepthNoise, ReconstructSettings, StageSettings
from diffrender.reconstruct.adam import Adam
from diffrender.reconstruct.descent import Descent, Objective
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.lbfgs import LBFGS
from diffrender.reconstruct.levenberg import LevenbergMarquardt
from diffrender.reconstruct.observations import observe
from diffrender.reconstruct.optimizer import stage_objective
from diffrender.reconstruct.solver import Solver
from diffrender.road import Road
from diffrender.tools.bench_format import machine

METHODS: dict[str, tuple[Descent, int]] = {
    "Adam": (Adam(), 60),
    "L-BFGS": (LBFGS(), 60),
    "Levenberg-Marquardt": (LevenbergMarquardt(hopeless=float("inf")), 30),
}
COLOURS = {"Adam": "#777777", "L-BFGS": "#d2622a", "Levenberg-Marquardt": "#1f6fb4"}


def problems(scenes: int, size: int) -> list[tuple[Objective, Hypotheses, int]]:
    """One problem per scene: all its cars, twelve yaws each, photometric term included."""
    from diffrender.datasets.synthetic import DEVELOPMENT_SEED, SyntheticStreets, add_depth_noise
    from diffrender.shape_priors import load_prior
    from diffrender.tools.bench_accuracy import class_sizes

    noise = DepthNoise(relative=0.10, scale=0.003, correlation=1.0)
    settings = ReconstructSettings(depth_noise=noise, class_sizes=class_sizes())
    stage = StageSettings(iterations=1, size=(size, size), keep=12, parts=True)
    made = []
    streets = SyntheticStreets(DEVELOPMENT_SEED, scenes)
    for index in range(scenes):
        frame = streets[index]
        depth = add_depth_noise(frame.depth, 0.10, np.random.default_rng([1, index]))
        instances = frame.instances()
        observations, _ = observe(instances, instances, frame.camera, depth)
        solver = Solver(
            frame.image, frame.camera, depth, load_prior("car"), settings, "cpu", None, noise,
            Road(), observations, tuple(instances),
        )  # fmt: skip
        problem, start = solver.starting_point()
        made.append((stage_objective(problem, stage), start, len(observations)))
    return made


def run(
    descent: Descent, objective: Objective, start: Hypotheses, iterations: int, cars: int
) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (I,) and each car's lowest loss so far (I, cars)."""
    clock = time.perf_counter()
    seconds, lowest = [], []
    best = torch.full((cars,), torch.inf)
    for iterate in descent.run(objective, start, iterations):
        total = torch.nan_to_num(iterate.value.total.detach(), nan=torch.inf)
        best = torch.minimum(best, best.scatter_reduce(0, start.owner, total, "amin"))
        seconds.append(time.perf_counter() - clock)
        lowest.append(best.numpy().copy())
    return np.array(seconds), np.stack(lowest)


def compare(scenes: int, size: int) -> dict[str, Any]:
    """Curves of every method over all cars; the methods take turns scene by scene."""
    curves: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    clocks: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    floors = []
    with small_tensors():
        for objective, start, cars in problems(scenes, size):
            list(Adam().run(objective, start, 1))  # what is made once is made now
            for name, (descent, iterations) in METHODS.items():
                seconds, lowest = run(descent, objective, start, iterations, cars)
                missing = descent.iterates(iterations) - len(seconds)
                lowest = np.concatenate([lowest, np.repeat(lowest[-1:], missing, axis=0)])
                seconds = np.concatenate([seconds, np.full(missing, seconds[-1])])
                curves[name].append(lowest)
                clocks[name].append(np.repeat(seconds[:, None] / cars, cars, axis=1))
            floors.append(np.min([curves[name][-1][-1] for name in METHODS], axis=0))
    floor = np.concatenate(floors)
    methods = {}
    for name in METHODS:
        above = np.concatenate(curves[name], axis=1) - floor  # (I, cars)
        per_car = np.concatenate(clocks[name], axis=1)
        methods[name] = {
            "seconds a car": np.median(per_car, axis=1).round(4).tolist(),
            "median loss above the lowest": np.median(above, axis=1).round(4).tolist(),
            "upper quartile": np.quantile(above, 0.75, axis=1).round(4).tolist(),
            "iterations to within one nat": _first(above),
            "seconds to within one nat": _first(above, per_car),
            "share within one nat at the end": float((above[-1] < 1).mean()),
        }
    return {
        "machine": machine(), "cars": len(floor), "scenes": scenes, "window": size,
        "hypotheses a car": 12, "methods": methods,
    }  # fmt: skip


def _first(above: np.ndarray, clock: np.ndarray | None = None) -> float | None:
    """Median over the cars of when the loss came within one nat; None if half never did."""
    times = []
    for car in range(above.shape[1]):
        hits = np.flatnonzero(above[:, car] < 1)
        if len(hits):
            at = int(hits[0])
            times.append(float(at if clock is None else clock[at, car]))
        else:
            times.append(float("inf"))
    middle = statistics.median(times)
    return None if np.isinf(middle) else round(middle, 4)


def picture(path: Path, report: dict[str, Any]) -> None:
    """Loss against iterations and against seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for name, method in report["methods"].items():
        middle = np.maximum(method["median loss above the lowest"], 1e-2)
        upper = np.maximum(method["upper quartile"], 1e-2)
        steps = np.arange(len(middle))
        for axis, x in zip(axes, (steps, method["seconds a car"]), strict=True):
            axis.plot(x, middle, color=COLOURS[name], label=name)
            axis.plot(x, upper, color=COLOURS[name], linewidth=0.8, linestyle=":")
    axes[0].set(xlabel="iteration", ylabel="loss above the lowest found, nats", yscale="log")
    axes[1].set(xlabel="seconds a car (12 hypotheses)")
    axes[0].legend(frameon=False, fontsize=8, title="median; dotted: upper quartile")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    figure.suptitle(f"{report['cars']} cars of synthetic streets", fontsize=10)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    report = compare(asked.scenes, asked.size)
    text = json.dumps(report, indent=1)
    short = {
        name: {k: v for k, v in method.items() if not isinstance(v, list)}
        for name, method in report["methods"].items()
    }
    print(json.dumps(short, indent=1))
    if asked.json:
        write_text_atomic(asked.json, text + "\n")
    if asked.picture:
        picture(asked.picture, report)


if __name__ == "__main__":
    main()
