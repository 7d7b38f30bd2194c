"""How far the feet of cars are from the road that `find_road` finds, and from a flat one.

    python benchmarks/roads.py --scenes 40 --kitti ROOT --json FILE

Streets of a development seed, with the depth of `benchmarks/streets.py`; the frames of a KITTI
folder that have lidar, with every car of their labels that the benchmark counts. Truth serves
scoring only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from streets import NOISE, depth_map

from diffrender._files import write_text_atomic
from diffrender.datasets import KittiObject
from diffrender.datasets.synthetic import SyntheticStreets
from diffrender.depth import find_road
from diffrender.reconstruct.noise import depth_noise_of
from diffrender.road import CAMERA_HEIGHT, Road
from diffrender.tools.bench_format import machine
from diffrender.tools.bench_real_frames import counts

KINDS = ("lidar", "independent", "shipped", "network")
BINS = ((0.0, 20.0), (20.0, 45.0))  # metres ahead
SEED = 4242  # neither held out nor one that weights were trained on


def away(road: Road, feet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (N, 3) -> (N,), (N,)
    """Feet below the road, metres, and the same in the road's own deviations."""
    there = torch.from_numpy(feet)
    below = there[:, 1] - road.y(there)
    return below.numpy(), (below / road.sigma(there)).numpy()


def summed(rows: list[tuple[Road | None, np.ndarray]]) -> dict[str, Any]:
    """Root mean squares by distance, of the roads found and of flat ones."""
    found: dict[str, Any] = {"frames": len(rows), "no road": sum(r is None for r, _ in rows)}
    for low, high in BINS:
        own, deviations, flat = [], [], []
        for road, feet in rows:
            near = feet[(feet[:, 2] >= low) & (feet[:, 2] < high)]
            metres, sigmas = away(road or Road(), near)
            own.append(metres)
            deviations.append(sigmas)
            flat.append(away(Road(), near)[0])
        found[f"{low:g} to {high:g} m"] = {
            "cars": len(np.concatenate(own)), "metres": _rms(own),
            "in deviations": _rms(deviations), "metres, flat road": _rms(flat),
        }  # fmt: skip
    return found


def _rms(parts: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))


def on_streets(scenes: int) -> dict[str, Any]:
    """Every kind of depth on the same streets."""
    rows: dict[str, list[tuple[Road | None, np.ndarray]]] = {kind: [] for kind in KINDS}
    streets = SyntheticStreets(SEED, scenes)
    for index in range(scenes):
        frame = streets[index]
        instances = frame.instances()
        seen = {instance.name for instance in instances}
        feet = [car.pose.location for car in frame.truth if car.name in seen]
        for kind, found in rows.items():
            depth = depth_map(kind, frame, np.random.default_rng([SEED, index]), CAMERA_HEIGHT)
            noise = NOISE[kind]
            road = find_road(
                depth, frame.camera, instances, scale=noise.scale, correlation=noise.correlation
            )
            found.append((road, np.array(feet, dtype=np.float64).reshape(-1, 3)))
    return {kind: summed(found) for kind, found in rows.items()}


def on_kitti(root: Path) -> dict[str, Any]:
    """The frames with lidar."""
    frames, rows = KittiObject(root), []
    for name in frames.names:
        frame = frames[name]
        feet = [label.location for label in frame.labels if counts(label)]
        if not feet or not (frame.folder / "velodyne" / f"{name}.bin").is_file():
            continue
        instances = frame.load_frame_instances("instance_2")[0]
        road = find_road(
            frame.lidar_depth(), frame.camera, instances, scale=depth_noise_of("lidar").scale
        )
        rows.append((road, np.array(feet, dtype=np.float64)))
    return summed(rows)


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    report = {"machine": machine(), "streets": on_streets(asked.scenes)}
    if asked.kitti:
        report["kitti, lidar"] = on_kitti(asked.kitti)
    text = json.dumps(report, indent=1)
    print(text)
    if asked.json:
        write_text_atomic(asked.json, text + "\n")


if __name__ == "__main__":
    main()
