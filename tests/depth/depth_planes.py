"""A few tiny frames with exact depth, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffrender.depth import DptConfig
from diffrender.depth.train_data import FrameSet

TINY = DptConfig(backbone="test_convnext", channels=8, size=(64, 96), depth_range=(1.0, 100.0))


def planes(count: int = 6, side: int = 80) -> FrameSet:
    """Flat roads of several shades below a sky, seen by cameras of several focal lengths."""
    draw = np.random.default_rng(0)
    width = side * 3 // 2
    rows = (np.arange(side) + 0.5) / side * 80
    images, depths, focals = [], [], []
    for _ in range(count):
        focal = draw.uniform(90, 130) * side / 80
        horizon = side * 30 / 80
        with np.errstate(divide="ignore"):
            below = np.maximum(np.arange(side) + 0.5 - horizon, 1e-6)
            depth = np.where(rows > 32, focal * 1.65 / below, np.inf)
        shade = np.where(rows > 32, 60 + rows, 250)
        noise = draw.normal(0, 8, (side, width, 3))
        images.append(np.clip(shade[:, None, None] + noise, 0, 255).astype(np.uint8))
        depths.append(np.repeat(depth[:, None], width, axis=1).astype(np.float16))
        focals.append(focal)
    owner = np.zeros((count, side, width), np.uint8)
    owner[:, side * 3 // 4 : side * 7 // 8, width // 3 : width // 2] = 1
    height = np.full(count, 1.65, np.float32)
    return FrameSet(np.stack(images), np.stack(depths), np.array(focals, np.float32), height, owner)


def write(folder: Path, frames: FrameSet) -> Path:
    folder.mkdir()
    half = len(frames) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        np.savez(
            folder / f"frames_{number:05d}.npz",
            image=frames.images[part],
            depth=frames.depth[part],
            focal=frames.focal[part],
            height=frames.height[part],
            owner=frames.owner[part],
        )
    return folder
