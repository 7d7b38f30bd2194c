"""Compare the weights of depth networks on frames whose depth is exact.

python benchmarks/depth_compare.py --weights A.safetensors B.safetensors --frames FOLDER ...
    [--close-views SHARE] [--no-heights] [--json FILE]

The frames are those of `python -m diffrender.datasets.depth_frames`, at any size; focal length and
camera height are told (`--no-heights`: KITTI's in place of the latter). "shipped" names the shipped
weights; with `--close-views` each is measured without and with them. Truth below 80 m counts. A
vehicle's error is how far its log depth is off in the mean over its pixels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from diffrender._files import write_text_atomic
from diffrender.depth import DepthModel, DptSettings, create_depth
from diffrender.depth.train_data import FrameSet, load_frames
from diffrender.depth.train_loss import object_errors

_CAP = 80.0  # metres


def errors_of(network: DepthModel, frames: FrameSet, heights: bool) -> dict[str, float]:
    """Mean abs-rel as predicted and median scaled, and the vehicles' errors, median and mean."""
    plain, scaled, vehicles = [], [], []
    for index, image in enumerate(frames.images):
        depth = frames.depth[index].astype(np.float32)
        height = float(frames.height[index]) if heights else None
        values = network.predict(image, float(frames.focal[index]), height).values
        known = (depth > 0) & (depth < _CAP)
        ratio = values[known] / depth[known]
        plain.append(np.abs(ratio - 1).mean())
        scaled.append(np.abs(ratio * np.median(depth[known]) / np.median(values[known]) - 1).mean())
        d = np.where(known, np.log(values) - np.log(np.where(known, depth, 1)), 0)
        maps = (torch.from_numpy(m)[None, None] for m in (d, known, frames.owner[index]))
        vehicles.append(object_errors(*maps).abs())
    every = torch.cat(vehicles)
    return {
        "abs_rel": float(np.mean(plain)),
        "abs_rel_scaled": float(np.mean(scaled)),
        "vehicles_median": float(every.median()),
        "vehicles_mean": float(every.mean()),
        "vehicles": len(every),
    }


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--weights", nargs="+", required=True)
    parser.add_argument("--frames", type=Path, nargs="+", required=True)
    parser.add_argument("--close-views", type=float, metavar="SHARE")
    parser.add_argument(
        "--heights",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="tell the cameras' own",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    views = [None] if asked.close_views is None else [None, asked.close_views]
    networks = {
        name if share is None else f"{name}, views of {share:g}": create_depth(
            "dpt-timm", None if name == "shipped" else name, settings=DptSettings(share)
        )
        for name in asked.weights
        for share in views
    }
    found = {}
    for folder in asked.frames:
        frames = load_frames(folder)
        found[folder.name] = {
            name: errors_of(net, frames, asked.heights) for name, net in networks.items()
        }
        for name, errors in found[folder.name].items():
            said = ", ".join(f"{key} {value:.4g}" for key, value in errors.items())
            print(f"{folder.name} ({len(frames)} frames), {name}: {said}", flush=True)
    if asked.json:
        write_text_atomic(asked.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
