"""Between the pixels of an image and those of a network's input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Letterbox", "letterbox", "spread"]


@dataclass(frozen=True)
class Letterbox:
    """How an image lies in an input: x_input = scale * x_image + offset, corner-based pixels.

    Across and down the scales differ a little: the image fills a whole number of pixels.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    image: tuple[int, int]  # height, width
    input: tuple[int, int]

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """(K, 4) left, top, right, bottom of the input, in pixels of the image."""
        return (boxes - np.array(self.offset * 2)) / np.array(self.scale * 2)

    def map_to_image(self, values: np.ndarray) -> np.ndarray:
        """A map (h, w) over the whole input as a map (H, W) over the image, bilinear."""
        across = values.shape[1] / self.input[1]
        down = values.shape[0] / self.input[0]
        scale = (self.scale[0] * across, self.scale[1] * down)
        offset = (self.offset[0] * across, self.offset[1] * down)
        return spread(values, scale, offset, self.image)


def letterbox(
    image: np.ndarray,  # (H, W, 3)
    size: tuple[int, int],
    *,
    fill: int,
    centred: bool,
) -> tuple[np.ndarray, Letterbox]:
    """The image, its proportions kept, in an input of `size` (h, w) filled up with `fill`."""
    import cv2

    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = (max(round(height * scale), 1), max(round(width * scale), 1))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = image if scale == 1 else cv2.resize(image, inner[::-1], interpolation=shrink)
    top = (size[0] - inner[0]) // 2 if centred else 0
    left = (size[1] - inner[1]) // 2 if centred else 0
    result = np.full((*size, 3), fill, dtype=np.uint8)
    result[top : top + inner[0], left : left + inner[1]] = picture
    scales = inner[1] / width, inner[0] / height
    return result, Letterbox(scales, (float(left), float(top)), (height, width), size)


def spread(
    values: np.ndarray,  # (h, w)
    scale: tuple[float, float],
    offset: tuple[float, float],
    size: tuple[int, int],
) -> np.ndarray:
    """(H, W) float32 of `size`: values at scale * pixel + offset, bilinear, the border repeated.

    Pixel centres lie at +0.5 on both sides.
    """
    import cv2

    # warpAffine counts from pixel centres: x' + 0.5 = s (x + 0.5) + o.
    matrix = np.array(
        [
            [scale[0], 0, 0.5 * scale[0] + offset[0] - 0.5],
            [0, scale[1], 0.5 * scale[1] + offset[1] - 0.5],
        ]
    )
    moved = cv2.warpAffine(
        np.ascontiguousarray(values, dtype=np.float32),
        matrix,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved)
