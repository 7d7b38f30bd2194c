"""What the image alone knows of metric depth: rays to the road, and objects of known height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.depth.align import Anchor
from diffrender.depth.model import DepthPrediction
from diffrender.depth.road import road_pixels
from diffrender.errors import InputError
from diffrender.instances import Instance

__all__ = ["ObjectDepth", "SizePrior", "object_depths", "road_rays"]


@dataclass(frozen=True)
class SizePrior:
    """Mean and spread of (length, width, height) of a class, metres.

    The default is the mean car of the KITTI benchmark's literature (3.88, 1.63, 1.53).
    """

    mean: tuple[float, float, float] = (3.88, 1.63, 1.53)
    sigma: tuple[float, float, float] = (0.43, 0.10, 0.14)

    def __post_init__(self) -> None:
        if min(self.mean) <= 0 or min(self.sigma) <= 0:
            raise InputError(f"SizePrior is {self.mean}, {self.sigma}: expected positive metres")


# Classes whose heights are known to a tenth: KITTI's averages as published, spreads are estimates.
_SIZES = {
    "Car": SizePrior(),
    "Pedestrian": SizePrior((0.84, 0.66, 1.76), (0.24, 0.14, 0.12)),
    "Cyclist": SizePrior((1.76, 0.60, 1.74), (0.18, 0.12, 0.10)),
}


@dataclass(frozen=True)
class ObjectDepth:
    """An object's depth by its height, beside what was predicted.

    Attributes:
        name: of the instance.
        value: the prediction's median in the mask.
        depth: by the object's height, metres.
        sigma: of the depth, relative.
    """

    name: str
    value: float
    depth: float
    sigma: float


def object_depths(
    prediction: DepthPrediction,
    instances: Sequence[Instance],
    camera: Camera,
    size: SizePrior | None,
) -> tuple[list[ObjectDepth], list[Anchor]]:
    """Depth of each whole object by its height in pixels, and the objects that give none.

    `size` is that of every object; None takes each one's class.
    """
    measured, refused = [], []
    rows = prediction.values.shape[0]
    for index, instance in enumerate(instances):
        name = instance.name or f"instance {index}"
        prior = size or _SIZES.get(instance.category)
        if prior is None:
            refused.append(Anchor(name, False, f"heights of {instance.category} differ too much"))
            continue
        rows_of_mask = np.flatnonzero(instance.mask.any(axis=1))
        if len(rows_of_mask) == 0:
            refused.append(Anchor(name, False, "its mask is empty"))
            continue
        first, last = int(rows_of_mask[0]), int(rows_of_mask[-1]) + 1
        if first == 0 or last == rows:
            refused.append(Anchor(name, False, "its mask is cut by the image's border"))
            continue
        if last - first < 12:
            refused.append(Anchor(name, False, f"only {last - first} pixels high"))
            continue
        inside = prediction.values[instance.mask]
        inside = inside[np.isfinite(inside)]
        if len(inside) == 0:
            refused.append(Anchor(name, False, "the prediction is not finite in its mask"))
            continue
        value = float(np.median(inside))
        middle = float(np.flatnonzero(instance.mask.any(axis=0)).mean()) + 0.5
        top, bottom = _rays(camera, np.array([middle, middle]), np.array([first, last]))
        depth = prior.mean[2] / float(bottom[1] - top[1])
        # One pixel of doubt at each edge of the mask, beside the spread of heights.
        sigma = float(np.hypot(prior.sigma[2] / prior.mean[2], 2.0 / (last - first)))
        measured.append(ObjectDepth(name, value, depth, sigma))
    return measured, refused


def road_rays(
    prediction: DepthPrediction, instances: Sequence[Instance], camera: Camera
) -> tuple[np.ndarray, np.ndarray] | None:
    """Values (N,) and rays (N, 3) of pixels that may show road."""
    values = prediction.values
    known = np.isfinite(values)
    if prediction.kind != "affine_inverse":
        known &= values > 0
    pixels = road_pixels(known, instances, camera.intrinsics.detach().cpu().double().numpy())
    if pixels is None:
        return None
    rows, columns = pixels
    rays = _rays(camera, columns + 0.5, rows + 0.5)
    return values[rows, columns].astype(np.float64), rays


def _rays(camera: Camera, x: np.ndarray, y: np.ndarray) -> np.ndarray:  # (N,), (N,)
    """Rays (N, 3) with z = 1, in the camera's frame, through pixels of the image."""
    inside = camera.to("cpu", torch.float64)
    seen = torch.from_numpy(np.stack([x, y], axis=1).astype(np.float64))
    ends = inside.unproject(seen, torch.ones(len(x), dtype=torch.float64))
    return np.asarray(inside.world_to_camera(ends).detach())
