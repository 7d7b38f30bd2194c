"""Errors of a depth network on synthetic streets, other cameras, and real frames with lidar.

python benchmarks/depth_errors.py --name dpt-timm [--weights FILE] [--streets 24] [--close 24]
    [--cameras 8] [--kitti ROOT] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._files import write_text_atomic
from diffrender.datasets import KittiObject
from diffrender.datasets.synthetic import (
    DEVELOPMENT_SEED,
    HELD_OUT_SEED,
    StreetSettings,
    SyntheticStreets,
)
from diffrender.depth import DepthModel, align_to_scene, create_depth
from diffrender.evaluate.depth_metrics import DepthMetrics, depth_metrics

Row = tuple[str, DepthMetrics, DepthMetrics]
CLOSE = StreetSettings(close=1.0, lorries=0.5, hard_light=0.5)
CAMERAS = {
    "KITTI's": StreetSettings(),
    "focal length x 0.7": StreetSettings(focal=(0.7, 0.7)),
    "focal length x 1.6": StreetSettings(focal=(1.6, 1.6)),
    "2.3 m above the road": StreetSettings(camera_height=(2.3, 2.3)),
    "1.2 m above the road": StreetSettings(camera_height=(1.2, 1.2)),
}


def measure(
    model: DepthModel, name: str, image: np.ndarray, focal: float, truth: np.ndarray
) -> Row:
    """Errors of one frame, as predicted and after median scaling."""
    values = model.predict(image, focal).values
    plain, scaled = (depth_metrics(values, truth, "garg", 80.0, s) for s in (False, True))
    return name, plain, scaled


def streets(model: DepthModel, count: int, settings: StreetSettings) -> Iterator[Row]:
    for frame in SyntheticStreets(HELD_OUT_SEED, count, settings=settings):
        focal = float(frame.camera.intrinsics[0, 0])
        yield measure(model, frame.name, frame.image, focal, frame.depth)


def real_frames(model: DepthModel, root: Path) -> Iterator[Row]:
    names = sorted(path.stem for path in (root / "training/velodyne").glob("*.bin"))
    frames = KittiObject(root, split="training")
    for name in names:
        frame = frames[name]
        focal = float(frame.camera.intrinsics[0, 0])
        yield measure(model, name, frame.image, focal, frame.lidar_depth())


def cameras(model: DepthModel, count: int) -> dict[str, tuple[float, float]]:
    """Abs-rel on development streets as predicted, and after a factor from road and cars."""
    found = {}
    for name, settings in CAMERAS.items():
        height = float(np.mean(settings.camera_height))
        errors = []
        for frame in SyntheticStreets(DEVELOPMENT_SEED, count, settings=settings):
            focal = float(frame.camera.intrinsics[0, 0])
            prediction = model.predict(frame.image, focal, height)
            aligned = align_to_scene(
                prediction, frame.camera, frame.instances(), camera_height=height,
                rescale_metric=True,
            )  # fmt: skip
            maps = (prediction.values, aligned.depth)
            errors.append([depth_metrics(m, frame.depth, "garg", 80.0).abs_rel for m in maps])
        predicted, rescaled = np.mean(errors, axis=0)
        found[name] = (float(predicted), float(rescaled))
    return found


def table(title: str, rows: list[Row]) -> str:
    lines = [
        f"{title} ({len(rows)} frames, Garg's crop, truth below 80 m)",
        "",
        "| frame | abs-rel | abs-rel, median scaled | RMSE m | within 25 % | factor |",
        "|---|---|---|---|---|---|",
    ]
    numbers = [(p.abs_rel, s.abs_rel, p.rmse, p.delta1, s.factor) for _, p, s in rows]
    names = [name for name, _, _ in rows]
    for name, row in zip([*names, "mean"], [*numbers, np.mean(numbers, axis=0)], strict=True):
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    return "\n".join(lines)


def camera_table(found: dict[str, tuple[float, float]], count: int) -> str:
    lines = [
        f"Other cameras ({count} development streets each, abs-rel)",
        "",
        "| camera | as predicted | rescaled to road and cars |",
        "|---|---|---|",
    ]
    return "\n".join(lines + [f"| {name} | {a:.3f} | {b:.3f} |" for name, (a, b) in found.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--name", default="dpt-timm")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--streets", type=int, default=24, help="held-out synthetic frames")
    parser.add_argument("--close", type=int, default=0, help="held-out frames of close places")
    parser.add_argument("--cameras", type=int, default=0, help="development frames per camera")
    parser.add_argument("--kitti", type=Path, default=None, help="KITTI folder with velodyne")
    parser.add_argument("--json", type=Path, default=None, help="write every number there")
    given = parser.parse_args()
    model = create_depth(given.name, given.weights, given.device)
    torch.set_num_threads(1)
    found: dict[str, Any] = {}

    def show(title: str, rows: Iterator[Row]) -> None:
        some = list(rows)
        print(table(title, some), end="\n\n", flush=True)
        found[title] = [
            {"frame": name, "predicted": asdict(p), "median_scaled": asdict(s)}
            for name, p, s in some
        ]

    if given.streets:
        show("Held-out synthetic streets", streets(model, given.streets, StreetSettings()))
    if given.close:
        show("Held-out close places", streets(model, given.close, CLOSE))
    if given.cameras:
        found["Other cameras"] = cameras(model, given.cameras)
        print(camera_table(found["Other cameras"], given.cameras), end="\n\n", flush=True)
    if given.kitti is not None:
        show("Real frames with lidar", real_frames(model, given.kitti))
    if given.json is not None:
        write_text_atomic(given.json, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
