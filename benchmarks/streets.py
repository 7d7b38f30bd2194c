"""Reconstruct synthetic streets piece by piece, one line of JSON per car, and sum them up.

    python benchmarks/streets.py rows cars.jsonl --seed 20260101 --scenes 100 --limit 100
    python benchmarks/streets.py report cars.jsonl --json FILE

`rows` appends what is not there yet and stops after `--limit` seconds: run it again to go on. The
depth map of a scene is `--depth`: independent (noise of 10 % on every pixel), network (correlated
noise of 10 %), lidar, shipped (the shipped depth network looking at the image), drift (a factor of
8 % common to the image, and correlated noise of 3 %; `--alone` keeps the objects from agreeing on
it), or mixed (the first three in turn); `--masks noisy` moves the outlines by two pixels and gives
neighbours each other's rims, `--sharpen` lets the shipped segmenter draw them anew. `--height` puts
the camera at another height, which is told; `--rescale` fits the map's factor to road and cars.
Truth serves scoring only. `benchmarks/confidence.py` calibrates on the same lines.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffrender._files import write_text_atomic
from diffrender.datasets.synthetic import (
    StreetSettings,
    SyntheticFrame,
    SyntheticStreets,
    add_depth_noise,
)
from diffrender.datasets.synthetic_masks import add_mask_noise
from diffrender.depth import DepthPrediction, align_to_scene
from diffrender.errors import InputError
from diffrender.evaluate import PoseError, pose_error, summarise
from diffrender.instances.street import sharpen_masks, shipped_street
from diffrender.reconstruct import (
    DepthNoise,
    LossWeights,
    ReconstructSettings,
    Run,
    reconstruct,
)
from diffrender.reconstruct.noise import depth_noise_of
from diffrender.road import CAMERA_HEIGHT
from diffrender.tools.bench_format import machine

NOISE = {
    "independent": DepthNoise(relative=0.10, scale=0.003, correlation=1.0),
    "network": DepthNoise(relative=0.05, scale=0.08),
    "lidar": depth_noise_of("lidar"),
    "shipped": depth_noise_of("dpt-timm"),
    "drift": DepthNoise(relative=0.02, scale=0.085, shared=0.88),
}
_DRIFT = 0.08  # standard deviation (log) of an image's factor
_CORRELATION = 60.0  # pixels
_AROUND = 0.02  # metres, of a height that is asked for
_OUTLINE = 2.0  # pixels, standard deviation of a noisy mask's outline


def depth_map(
    kind: str, frame: SyntheticFrame, draw: np.random.Generator, height: float | None
) -> np.ndarray:
    """(H, W) metres; the camera's height is told to the network."""
    if kind == "independent":
        return add_depth_noise(frame.depth, 0.10, draw)
    if kind == "network":
        return add_depth_noise(frame.depth, 0.10, draw, _CORRELATION)
    if kind == "drift":
        factor = np.float32(np.exp(_DRIFT * draw.standard_normal()))
        return factor * add_depth_noise(frame.depth, 0.03, draw, _CORRELATION)
    if kind == "lidar":
        return frame.lidar_depth()
    from diffrender.depth import create_depth

    focal = float(frame.camera.intrinsics[0, 0])
    prediction = create_depth("dpt-timm").predict(frame.image, focal, height)
    if prediction.kind != "metric":
        raise InputError(f"the shipped network gives {prediction.kind}, expected metric depth")
    return np.asarray(prediction.values, dtype=np.float32)


def whole_scenes(path: Path) -> set[int]:
    """Scenes that the file holds to their last line; what a kill cut short is taken out of it."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    if lines and not lines[-1].endswith("\n"):
        del lines[-1]
    found = [json.loads(line) for line in lines]
    done = {row["scene"] for row in found if row["name"] is None}
    kept = [line for line, row in zip(lines, found, strict=True) if row["scene"] in done]
    if path.exists():
        write_text_atomic(path, "".join(kept))
    return done


def rows(asked: argparse.Namespace, settings: Callable[[DepthNoise], ReconstructSettings]) -> None:
    """Append the cars of every scene that the file does not hold yet."""
    from diffrender.predict import load_start
    from diffrender.shape_priors import load_prior

    path: Path = asked.path
    done = whole_scenes(path)
    prior, started = load_prior("car"), time.monotonic()
    start = load_start(beside_box_fits=True) if asked.init == "both" else None
    net = shipped_street() if asked.sharpen else None
    looks, height = StreetSettings(), asked.height
    if height is not None:
        looks = StreetSettings(camera_height=(height - _AROUND, height + _AROUND))
    streets = SyntheticStreets(asked.seed, asked.scenes, settings=looks)
    for index in range(asked.scenes):
        if index in done:
            continue
        if time.monotonic() - started > asked.limit:
            print(f"up to scene {index} of {asked.scenes}; run again to go on")
            return
        kind = list(NOISE)[index % 3] if asked.depth == "mixed" else asked.depth
        frame, draw = streets[index], np.random.default_rng([asked.seed, index])
        depth, instances = depth_map(kind, frame, draw, height), frame.instances()
        if asked.masks == "noisy":
            instances = add_mask_noise(instances, _OUTLINE, draw)
        if net is not None:
            instances = sharpen_masks(net, frame.image, instances, _OUTLINE)
        if asked.rescale:
            seen = DepthPrediction(depth, "metric")
            depth = align_to_scene(
                seen,
                frame.camera,
                instances,
                camera_height=height or CAMERA_HEIGHT,
                rescale_metric=True,
            ).depth
        given = {instance.name for instance in instances}
        scene = reconstruct(
            frame.image, frame.camera, instances, depth, prior, settings(NOISE[kind]),
            Run(frame.name, start=start),
        )  # fmt: skip
        found = {item.name: item for item in scene.objects}
        out: list[dict[str, Any]] = []
        for car in frame.truth:
            if car.name not in given:
                continue  # wholly hidden: no mask, so nothing to reconstruct
            row: dict[str, Any] = {"scene": index, "kind": kind, "name": car.name, "error": None}
            row["clear"] = bool(car.label.occluded == 0 and car.truncated <= 0.05)
            if car.name in found:
                item = found[car.name]
                box = np.array([*item.pose.location, *item.size, item.yaw])
                truth = np.array([*car.pose.location, *car.pose.size, car.pose.yaw])
                row["error"] = dataclasses.asdict(pose_error(box, truth))
                assert item.agreement is not None
                row["agreement"] = dataclasses.asdict(item.agreement)
            out.append(row)
        seconds = scene.timings["total"]  # last: the scene is whole
        out.append({"scene": index, "kind": kind, "name": None, "seconds": seconds})
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in out))
    print(f"all {asked.scenes} scenes done")


def report(path: Path) -> dict[str, Any]:
    """Summaries of all cars and of the unoccluded ones, and seconds a car."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    cars = [row for row in found if row["name"] is not None]
    scenes = [row for row in found if row["name"] is None]
    groups = {"all cars": cars, "unoccluded": [row for row in cars if row["clear"]]}
    summaries = {}
    for name, group in groups.items():
        errors = [None if r["error"] is None else PoseError(**r["error"]) for r in group]
        summaries[name] = dataclasses.asdict(summarise(errors))
    seconds = sum(row["seconds"] for row in scenes)
    return {
        "machine": machine(), "scenes": len(scenes), "seconds a car": seconds / max(len(cars), 1),
        "summaries": summaries,
    }  # fmt: skip


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("rows")
    make.add_argument("path", type=Path)
    make.add_argument("--seed", type=int, required=True)
    make.add_argument("--scenes", type=int, default=40)
    make.add_argument("--depth", choices=[*NOISE, "mixed"], default="independent")
    make.add_argument("--masks", choices=["exact", "noisy"], default="exact")
    make.add_argument("--sharpen", action="store_true", help="masks are drawn anew first")
    make.add_argument("--solver", choices=["auto", "adam", "lbfgs", "lm"], default="auto")
    make.add_argument("--mismatch", type=float, default=0.025, help="told of the masks, 1 - IoU")
    make.add_argument("--traffic", choices=["right", "left"])
    make.add_argument("--heading", action=argparse.BooleanOptionalAction, default=True)
    make.add_argument("--road", choices=["found", "flat"], default="found")
    make.add_argument("--height", type=float, help="of the camera, metres")
    make.add_argument("--rescale", action="store_true", help="fit the map to road and cars")
    make.add_argument("--init", choices=["both", "box"], default="both")
    make.add_argument("--alone", action="store_true")
    make.add_argument("--limit", type=float, default=1e9, metavar="SECONDS")
    show = commands.add_parser("report")
    show.add_argument("path", type=Path)
    show.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.command == "report":
        text = json.dumps(report(asked.path), indent=1)
        print(text)
        if asked.json:
            write_text_atomic(asked.json, text + "\n")
        return
    from diffrender.tools.bench_accuracy import class_sizes

    sizes = class_sizes()

    def settings(noise: DepthNoise) -> ReconstructSettings:
        if asked.alone:
            noise = dataclasses.replace(noise, shared=0.0)
        return ReconstructSettings(
            depth_noise=noise, class_sizes=sizes, solver=asked.solver, traffic=asked.traffic,
            weights=LossWeights.of_masks(asked.mismatch), heading=asked.heading,
            ground=asked.road, camera_height=asked.height or CAMERA_HEIGHT,
        )  # fmt: skip

    rows(asked, settings)


if __name__ == "__main__":
    main()
