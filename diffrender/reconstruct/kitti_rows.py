"""Rows of the KITTI object result format (16 columns; devkit readme, "Data Format Description")."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch

from diffrender.errors import InputError
from diffrender.reconstruct.scene import ReconstructedObject
from diffrender.rotations import wrap_angle

__all__ = ["kitti_row", "kitti_rows"]


def kitti_rows(objects: Iterable[ReconstructedObject], size: tuple[int, int]) -> str:
    """The text of a result file, one line per object; empty for no object.

    `size` is the image's (height, width), to which the 2D boxes are clipped.
    """
    return "".join(kitti_row(item, size) + "\n" for item in objects)


def kitti_row(item: ReconstructedObject, size: tuple[int, int]) -> str:
    """One row: type, truncated, occluded, alpha, 2D box, h w l, x y z, rotation_y, score.

    The 2D box is the instance's (what the detector saw), clipped to the image and moved to
    KITTI's pixel coordinates, which count from pixel centres (ours less 0.5). Truncation and
    occlusion are not estimated: -1. The score is the object's confidence.

    Raises:
        InputError: a number of the pose is not finite.
    """
    pose = item.pose
    length, width, height = pose.size
    numbers = [*pose.location, *pose.size, pose.yaw, item.confidence]
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"the pose of {item.name!r} is not finite and cannot be written: {pose}")
    image_height, image_width = size
    left, top, right, bottom = (edge - 0.5 for edge in item.instance.box)
    box = [
        min(max(left, 0.0), image_width - 1.0),
        min(max(top, 0.0), image_height - 1.0),
        min(max(right, 0.0), image_width - 1.0),
        min(max(bottom, 0.0), image_height - 1.0),
    ]
    # Columns are split at blanks, so a class name must be one word.
    category = re.sub(r"[^\w.+-]+", "_", item.category, flags=re.ASCII) or "Unknown"
    fields = [category, "-1", "-1", _angle(pose.alpha)]
    fields += [f"{edge:.2f}" for edge in box]
    fields += [f"{metres:.4f}" for metres in (height, width, length, *pose.location)]
    fields += [_angle(pose.yaw), f"{item.confidence:.6f}"]
    return " ".join(fields)


def _angle(angle: float) -> str:
    """Angle wrapped to [-pi, pi], rounded towards zero so that the text stays in the range."""
    wrapped = float(wrap_angle(torch.tensor(angle, dtype=torch.float64)))
    return f"{math.trunc(wrapped * 1e6) / 1e6:.6f}"
