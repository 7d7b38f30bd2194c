"""A flat road with upright boards of a car's height on it: depth whose truth is a formula."""

from __future__ import annotations

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.depth import SizePrior
from diffrender.instances import Instance, box_of_mask

HEIGHT, WIDTH, FOCAL = 120, 400, 240.0
CAR = SizePrior()


def camera() -> Camera:
    intrinsics = torch.tensor([[FOCAL, 0, 200.0], [0, FOCAL, 55.0], [0, 0, 1]], dtype=torch.float64)
    return Camera.from_intrinsics(intrinsics, (HEIGHT, WIDTH), pixel_centres="half")


def street(
    cars: tuple[tuple[float, float], ...] = ((-2.5, 9.0), (1.5, 16.0), (4.0, 25.0)),
    camera_height: float = 1.65,
    pitch: float = 0.0,
    car_height: float = CAR.mean[2],
    wall: float = 40.0,
) -> tuple[np.ndarray, list[Instance]]:
    """Depth of a flat road, a far wall and upright boards (x, z) of a car's height."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    ray_x, ray_y = (columns - 200) / FOCAL, (rows - 55) / FOCAL
    down = np.cos(pitch) * ray_y + np.sin(pitch)
    road = np.where(down > 1e-6, camera_height / np.maximum(down, 1e-6), np.inf)
    depth = np.minimum(road, wall)
    instances = []
    for number, (x, z) in sorted(enumerate(cars), key=lambda item: -item[1][1]):
        feet = (camera_height / z - np.sin(pitch)) / np.cos(pitch) * z
        y = ray_y * z
        mask = (y <= feet) & (y >= feet - car_height) & (np.abs(ray_x * z - x) < 0.9)
        depth = np.where(mask & (z < depth + 1e-6), z, depth)
        instances.append(Instance(mask, box_of_mask(mask), name=f"car {number}"))
    return depth, instances
