"""Errors of a depth network on held-out synthetic streets and on real frames with lidar.

python benchmarks/depth_errors.py --name dpt-timm [--weights FILE] [--streets 24] [--kitti ROOT]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from diffrender.datasets import KittiObject
from diffrender.datasets.synthetic import HELD_OUT_SEED, SyntheticStreets
from diffrender.depth import DepthModel, create_depth
from diffrender.evaluate.depth_metrics import DepthMetrics, depth_metrics

Row = tuple[str, DepthMetrics, DepthMetrics]


def measure(
    model: DepthModel, name: str, image: np.ndarray, focal: float, truth: np.ndarray
) -> Row:
    """Errors of one frame, as predicted and after median scaling."""
    values = model.predict(image, focal).values
    plain, scaled = (depth_metrics(values, truth, "garg", 80.0, s) for s in (False, True))
    return name, plain, scaled


def streets(model: DepthModel, count: int) -> Iterator[Row]:
    for frame in SyntheticStreets(HELD_OUT_SEED, count):
        focal = float(frame.camera.intrinsics[0, 0])
        yield measure(model, frame.name, frame.image, focal, frame.depth)


def real_frames(model: DepthModel, root: Path) -> Iterator[Row]:
    names = sorted(path.stem for path in (root / "training/velodyne").glob("*.bin"))
    frames = KittiObject(root, split="training")
    for name in names:
        frame = frames[name]
        focal = float(frame.camera.intrinsics[0, 0])
        yield measure(model, name, frame.image, focal, frame.lidar_depth())


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--name", default="dpt-timm")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--streets", type=int, default=24, help="held-out synthetic frames")
    parser.add_argument("--kitti", type=Path, default=None, help="KITTI folder with velodyne")
    given = parser.parse_args()
    model = create_depth(given.name, given.weights, given.device)
    torch.set_num_threads(1)
    if given.streets:
        print(table("Held-out synthetic streets", list(streets(model, given.streets))), flush=True)
    if given.kitti is not None:
        print(table("\nReal frames with lidar", list(real_frames(model, given.kitti))), flush=True)


if __name__ == "__main__":
    main()
