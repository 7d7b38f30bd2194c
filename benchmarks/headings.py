"""How often the heading network tells front from rear: crops of streets, and real frames.

    python -m diffrender.datasets.heading_crops --out check --count 80 --seed 6202
    python -m diffrender.datasets.heading_crops --out hard --count 60 --seed 6404 --streets varied
    python benchmarks/headings.py --crops check hard --kitti ROOT --json FILE

The labels of the real frames serve scoring only. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from diffrender._files import write_text_atomic
from diffrender.datasets import KittiObject
from diffrender.heading import HeadingNet, load_heading, object_crops, shipped_heading
from diffrender.heading.train import CropSet, check_heading, load_crops
from diffrender.instances import row_name
from diffrender.tools.bench_format import machine
from diffrender.tools.bench_real_frames import counts


def real_crops(root: Path, side: int) -> tuple[CropSet, list[str]]:
    """The cars that the figures are about, with masks `instance_2`, and their names."""
    images, masks, alphas, names = [], [], [], []
    frames = KittiObject(root)
    for name in frames.names:
        frame = frames[name]
        shown = {i.name: i.mask for i in frame.load_frame_instances("instance_2")[0]}
        for index, label in enumerate(frame.labels):
            key = row_name(label, index + 1)
            if not counts(label) or key not in shown:
                continue
            crop, cover = object_crops(frame.image, [shown[key]], side)
            images.append(crop)
            masks.append(cover)
            alphas.append(label.rotation_y - math.atan2(label.location[0], label.location[2]))
            names.append(f"{name} {key}")
    alpha = np.array(alphas, np.float32)
    return CropSet(np.concatenate(images), np.concatenate(masks), alpha), names


def report(net: HeadingNet, crops: list[Path], kitti: Path | None) -> dict[str, Any]:
    """Shares told rightly, and nats, of what was given."""
    found: dict[str, Any] = {"machine": machine()}
    for folder in crops:
        found[folder.name] = check_heading(net, load_crops(folder))
    if kitti is not None:
        cars, names = real_crops(kitti, net.config.side)
        found["real frames"] = check_heading(net, cars)
        found["told wrongly"] = [
            name
            for k, name in enumerate(names)
            if not check_heading(
                net, CropSet(cars.images[k : k + 1], cars.masks[k : k + 1], cars.alpha[k : k + 1])
            )["right"]
        ]
    return found


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--crops", type=Path, nargs="*", default=[], help="folders of crops_*.npz")
    parser.add_argument("--kitti", type=Path, help="KITTI folder with masks instance_2")
    parser.add_argument("--weights", type=Path, help="in place of the shipped ones")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    net = shipped_heading() if asked.weights is None else load_heading(asked.weights)
    text = json.dumps(report(net, asked.crops, asked.kitti), indent=1)
    print(text)
    if asked.json:
        write_text_atomic(asked.json, text + "\n")


if __name__ == "__main__":
    main()
