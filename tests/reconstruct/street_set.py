"""A small data set in the KITTI layout: streets of one car made of rectangles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, FOCAL = 120, 200, 140.0
CALIBRATION = (
    f"P0: {FOCAL} 0 99.5 0 0 {FOCAL} 49.5 0 0 0 1 0\n"
    f"P2: {FOCAL} 0 99.5 0 0 {FOCAL} 49.5 0 0 0 1 0\n"
    "R0_rect: 1 0 0 0 1 0 0 0 1\n"
    "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
)


def write_streets(root: Path, count: int) -> Path:
    """`count` frames with image, calibration, label, instance PNG and depth map; returns root."""
    folders = ("image_2", "calib", "label_2", "instance_2", "depth_2")
    for folder in folders:
        (root / "training" / folder).mkdir(parents=True)
    for number in range(count):
        _write_frame(root / "training", f"{number:06d}", 12.0 + 2 * number)
    (root / "val.txt").write_text("".join(f"{n:06d}\n" for n in range(count)))
    return root


def _write_frame(folder: Path, name: str, depth: float) -> None:
    """A car `depth` metres ahead, seen from behind: 1.63 m wide, 1.53 m high, on the road."""
    bottom = 50 + FOCAL * 1.65 / depth
    top, half = bottom - FOCAL * 1.53 / depth, FOCAL * 1.63 / depth / 2
    box = (round(100 - half), round(top), round(100 + half), round(bottom))
    left, upper, right, lower = box
    image = np.full((HEIGHT, WIDTH, 3), 150, dtype=np.uint8)
    image[50:] = 90
    image[upper:lower, left:right] = (160, 30, 30)
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    ids[upper:lower, left:right] = 1
    metres = np.zeros((HEIGHT, WIDTH))
    metres[55:] = 1.65 * FOCAL / (np.arange(55, HEIGHT) + 0.5 - 50)[:, None]
    metres[upper:lower, left:right] = depth
    Image.fromarray(image).save(folder / "image_2" / f"{name}.png")
    Image.fromarray(ids).save(folder / "instance_2" / f"{name}.png")
    stored = np.rint(metres * 256).astype(np.uint16)
    Image.fromarray(stored).save(folder / "depth_2" / f"{name}.png")
    (folder / "calib" / f"{name}.txt").write_text(CALIBRATION)
    sides = f"{left} {upper} {right - 1} {lower - 1}"
    row = f"Car 0 0 -1.57 {sides} 1.53 1.63 3.88 0 1.65 {depth + 1.94} -1.57\n"
    (folder / "label_2" / f"{name}.txt").write_text(row)
