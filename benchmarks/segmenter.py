"""What the shipped street segmenter finds, and what it makes of masks that are off.

    python benchmarks/segmenter.py --scenes 48 --kitti ROOT --json FILE

The labels of the real frames serve scoring only. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from diffrender._files import write_text_atomic
from diffrender.datasets import KittiLabel, KittiObject
from diffrender.datasets.depth_frames import STREETS
from diffrender.datasets.synthetic import HELD_OUT_SEED, SyntheticStreets
from diffrender.datasets.synthetic_masks import add_mask_noise
from diffrender.datasets.synthetic_owners import owner_map
from diffrender.instances import row_name
from diffrender.instances.record import box_of_mask
from diffrender.instances.street import (
    StreetNet,
    find_vehicles,
    load_street,
    sharpen_masks,
    shipped_street,
)
from diffrender.instances.street.check import check_street, mask_iou
from diffrender.instances.street.train_data import OwnedSet
from diffrender.tools.bench_format import machine
from diffrender.tools.bench_real_frames import counts

_OUTLINE = 2.0  # pixels, standard deviation of a noisy mask's outline
_VEHICLES = ("Car", "Van", "Truck", "Tram", "Misc")


def streets(net: StreetNet, kind: str, count: int, seed: int) -> dict[str, float]:
    """Shares on streets of one kind."""
    frames = list(SyntheticStreets(seed, count, settings=STREETS[kind]))
    owned = OwnedSet(np.stack([f.image for f in frames]), np.stack([owner_map(f) for f in frames]))
    return check_street(net, owned) | {"scenes": count}


def real(net: StreetNet, root: Path, score: float = 0.5) -> dict[str, Any]:
    """The cars that the other figures are about, by their masks; findings, by labelled boxes."""
    overlaps, missed, wrong, found_in_all, frames = [], [], [], 0, KittiObject(root)
    for name in frames.names:
        frame = frames[name]
        found = [v for v in find_vehicles(net, frame.image) if v.score >= score and v.mask.any()]
        shown = {i.name: i.mask for i in frame.load_frame_instances("instance_2")[0]}
        for index, label in enumerate(frame.labels):
            key = row_name(label, index + 1)
            if not counts(label) or key not in shown:
                continue
            best = max((mask_iou(shown[key], v.mask) for v in found), default=0.0)
            overlaps.append(best)
            if best <= 0.5:
                missed.append(f"{name} {key}")
        for k, one in enumerate(found):
            kind = _kind(box_of_mask(one.mask), frame.labels)
            found_in_all += kind == "vehicle"
            if kind == "nothing":
                wrong.append(f"{name} finding {k}")
    matched = [o for o in overlaps if o > 0.5]
    return {
        "frames": len(frames.names),
        "cars": len(overlaps),
        "found": len(matched) / len(overlaps),
        "iou": float(np.mean(matched)),
        "findings on labelled vehicles": found_in_all,
        "wrong": wrong,
        "missed": missed,
    }


def noisy(net: StreetNet, count: int) -> dict[str, Any]:
    """IoU of masks that wander by two pixels and run into their neighbours, with the true ones."""
    before, after = [], []
    for k, frame in enumerate(SyntheticStreets(HELD_OUT_SEED, count)):
        truth = {i.name: i.mask for i in frame.instances()}
        draw = np.random.default_rng([HELD_OUT_SEED, k])
        given = add_mask_noise(frame.instances(), _OUTLINE, draw)
        before += [mask_iou(i.mask, truth[i.name]) for i in given]
        sharp = sharpen_masks(net, frame.image, given, _OUTLINE)
        after += [mask_iou(i.mask, truth[i.name]) for i in sharp]
    return {"scenes": count, "before": _iou(before), "after": _iou(after)}


def grabcut(net: StreetNet, root: Path) -> dict[str, Any]:
    """IoU of masks that GrabCut makes of labelled boxes, with `instance_2`."""
    before: list[float] = []
    after: list[float] = []
    frames = KittiObject(root)
    for name in frames.names:
        frame = frames[name]
        shown = {i.name: i.mask for i in frame.load_frame_instances("instance_2")[0]}
        counted = {row_name(r, k + 1) for k, r in enumerate(frame.labels) if counts(r)}
        given = frame.load_frame_instances("label_2")[0]
        sharp = sharpen_masks(net, frame.image, given, _OUTLINE)
        for masks, overlaps in ((given, before), (sharp, after)):
            cars = [i for i in masks if i.name in counted and i.name in shown]
            overlaps += [mask_iou(i.mask, shown[i.name]) for i in cars]
    return {"frames": len(frames.names), "before": _iou(before), "after": _iou(after)}


def _iou(overlaps: list[float]) -> dict[str, float]:
    mean, median = float(np.mean(overlaps)), float(np.median(overlaps))
    return {"cars": len(overlaps), "mean": mean, "median": median}


def _kind(box: tuple[float, ...], labels: list[KittiLabel]) -> str:
    """What a finding lies on: half of the union of a vehicle's box, or half inside another."""
    for label in labels:
        if label.type in _VEHICLES and _shared(box, label.box)[1] > 0.5:
            return "vehicle"
    inside = max((_shared(box, label.box)[0] for label in labels), default=0.0)
    return "in part, or not counted" if inside > 0.5 else "nothing"


def _shared(box: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, float]:
    """Shares of `box` and of the union that both boxes have."""
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    both = max(across, 0.0) * max(down, 0.0)
    first = (box[2] - box[0]) * (box[3] - box[1])
    second = (other[2] - other[0]) * (other[3] - other[1])
    return both / first, both / (first + second - both)


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=0, help="streets of either kind")
    parser.add_argument("--seed", type=int, help="of development streets, in place of held-out")
    parser.add_argument("--kitti", type=Path, help="KITTI folder with masks instance_2")
    parser.add_argument("--weights", type=Path, help="in place of the shipped ones")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    net = shipped_street() if asked.weights is None else load_street(asked.weights)
    report: dict[str, Any] = {"machine": machine()}
    if asked.scenes:
        seed = HELD_OUT_SEED if asked.seed is None else asked.seed
        if asked.seed is None:
            report["noisy masks, sharpened"] = noisy(net, asked.scenes)
        report |= {kind: streets(net, kind, asked.scenes, seed) for kind in ("plain", "varied")}
    if asked.kitti is not None:
        report["real frames"] = real(net, asked.kitti)
        report["GrabCut's masks of real cars, sharpened"] = grabcut(net, asked.kitti)
    text = json.dumps(report, indent=1)
    print(text)
    if asked.json:
        write_text_atomic(asked.json, text + "\n")


if __name__ == "__main__":
    main()
