"""Resizing between an image and a network's input and output."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["resize_map", "to_input"]


def to_input(
    image: np.ndarray,  # (H, W, 3)
    size: tuple[int, int],
    device: torch.device,
    resample: Literal["bilinear", "bicubic", "lanczos"] = "bilinear",
) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, h, w) float32 in [0, 1], resized by Pillow to `size` (h, w).

    Pillow's filters widen when they shrink (antialiasing), as most networks were trained with.
    """
    from PIL import Image

    if image.shape[:2] != size:
        kernel = getattr(Image.Resampling, resample.upper())
        image = np.asarray(Image.fromarray(image).resize((size[1], size[0]), kernel))
    pixels = torch.from_numpy(np.array(image, dtype=np.float32)) / 255.0
    return pixels.permute(2, 0, 1).unsqueeze(0).contiguous().to(device)


def resize_map(values: Tensor, size: tuple[int, int]) -> Tensor:  # (1, 1, h, w)
    """(1, 1, h, w) to (H, W): bilinear with pixel centres at +0.5."""
    return functional.interpolate(values, size, mode="bilinear", align_corners=False)[0, 0]
