"""The real frames with lidar, read with the least code that does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WITH_LIDAR = ("000000", "000002", "000003", "000007", "000009", "000060", "000080", "000114")


def read_image(shared: Path, frame: str) -> np.ndarray:  # (H, W, 3)
    path = shared / "data/kitti/training/image_2" / f"{frame}.png"
    return np.asarray(Image.open(path).convert("RGB"))


def focal_length(shared: Path, frame: str) -> float:
    return float(_calibration(shared, frame)["P2"][0])


def lidar_map(shared: Path, frame: str, size: tuple[int, int]) -> np.ndarray:  # (H, W)
    calibration = _calibration(shared, frame)
    rectify, velodyne = np.eye(4), np.eye(4)
    rectify[:3, :3] = calibration["R0_rect"].reshape(3, 3)
    velodyne[:3] = calibration["Tr_velo_to_cam"].reshape(3, 4)
    path = shared / "data/kitti/training/velodyne" / f"{frame}.bin"
    points = np.fromfile(path, np.float32).reshape(-1, 4).astype(np.float64)
    points[:, 3] = 1
    projected = points @ (calibration["P2"].reshape(3, 4) @ rectify @ velodyne).T
    projected = projected[projected[:, 2] > 0.5]
    z = projected[:, 2]
    columns, rows = np.rint(projected[:, 0] / z), np.rint(projected[:, 1] / z)
    inside = (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    order = np.argsort(-z[inside])  # the nearest point is written last
    depth = np.zeros(size, np.float32)
    index = rows[inside].astype(int)[order], columns[inside].astype(int)[order]
    depth[index] = z[inside][order]
    return depth


def _calibration(shared: Path, frame: str) -> dict[str, np.ndarray]:
    text = (shared / "data/kitti/training/calib" / f"{frame}.txt").read_text()
    lines = [line.split(":") for line in text.splitlines() if ":" in line]
    return {name: np.array(numbers.split(), dtype=float) for name, numbers in lines}
