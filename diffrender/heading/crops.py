"""The crop of an object that the heading network looks at, the same in training and in use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffrender.instances import box_of_mask

__all__ = ["object_crops", "to_tensors"]

_AROUND = 1.3  # side of the window in longer sides of the mask's box


def object_crops(
    image: np.ndarray,  # (H, W, 3)
    masks: Sequence[np.ndarray],  # (H, W) each
    side: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Square windows around masks, resampled.

    Args:
        image: uint8 RGB.
        masks: bool, none of them empty.
        side: of the crops, pixels.

    Returns:
        (N, side, side, 3) uint8 RGB, with the border's colours beyond the image, and
        (N, side, side) uint8 masks, 0 to 255.
    """
    import cv2

    crops = np.empty((len(masks), side, side, 3), np.uint8)
    covers = np.empty((len(masks), side, side), np.uint8)
    for row, mask in enumerate(masks):
        left, top, right, bottom = box_of_mask(mask)
        window = _AROUND * max(right - left, bottom - top)
        scale = side / window
        # The centre of the box goes to the centre of the crop; corner-based pixels.
        shift = side / 2 - scale * np.array([(left + right) / 2, (top + bottom) / 2])
        shift += 0.5 * scale - 0.5  # OpenCV counts from the middle of a pixel
        onto = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        seen, moved = image, onto.copy()
        if scale < 0.8:
            blur = 0.4 / scale
            # What the window shows and what blurs into it; the rest of the image need not blur.
            reach = window / 2 + 6 * blur + 2
            x, y = (left + right) / 2, (top + bottom) / 2
            x0, y0 = max(int(x - reach), 0), max(int(y - reach), 0)
            part = image[y0 : int(y + reach) + 1, x0 : int(x + reach) + 1]
            seen = cv2.GaussianBlur(part, (0, 0), blur)
            moved[:, 2] += scale * np.array([x0, y0])
        cover = mask.astype(np.uint8) * 255
        crops[row] = cv2.warpAffine(seen, moved, (side, side), borderMode=cv2.BORDER_REPLICATE)
        covers[row] = cv2.warpAffine(cover, onto, (side, side))
    return crops, covers


def to_tensors(crops: np.ndarray, covers: np.ndarray) -> tuple[Tensor, Tensor]:
    """(N, S, S, 3) and (N, S, S) uint8 to the network's (N, 3, S, S) and (N, S, S) in [0, 1]."""
    image = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float() / 255
    return image, torch.from_numpy(np.ascontiguousarray(covers)).float() / 255
