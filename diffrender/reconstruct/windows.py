"""Rectangles of an image: what concerns one object is looked at and drawn within one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.raster import rasterize

__all__ = ["Drawn", "Window", "draw_alone"]

_NEAREST = 0.1  # metres ahead: what reaches nearer may be drawn anywhere
_AROUND = 2  # pixels beyond what is drawn: colours are interpolated


@dataclass(frozen=True)
class Window:
    """Whole pixels of an image, at least one; the ends are excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @staticmethod
    def of_box(box: Sequence[float] | np.ndarray, size: tuple[int, int], margin: int = 0) -> Window:
        """Every pixel of an image (height, width) that a box in pixels touches, and some more.

        `box` is left, top, right, bottom; of one beside the image the nearest pixels are taken.
        """
        height, width = size
        low = [math.floor(side) - margin for side in box[:2]]
        high = [math.ceil(side) + margin for side in box[2:]]
        left, top = min(max(low[0], 0), width - 1), min(max(low[1], 0), height - 1)
        right, bottom = min(max(high[0], left + 1), width), min(max(high[1], top + 1), height)
        return Window(left, top, right, bottom)

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns: `image[window.pixels]`."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def joined(self, other: Window) -> Window:
        """The smallest one that holds both."""
        return Window(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def local(self, box: Tensor) -> list[float]:  # (4,)
        """Left, top, right and bottom of a box of the image, in pixels of this window."""
        sides: list[float] = (box - box.new_tensor([self.left, self.top] * 2)).tolist()
        return sides

    def camera(self, whole: Camera) -> Camera:
        """The camera of these pixels, of that of the image."""
        left, top = whole.intrinsics.new_tensor([self.left, self.top])
        return whole.crop(left, top, self.size)


@dataclass(frozen=True, eq=False)
class Drawn:
    """An object drawn alone.

    Attributes:
        window: which holds all of it that the image shows.
        depth: (h, w) z in those pixels, metres, 0 where the object is not.
    """

    window: Window
    depth: Tensor  # (h, w)

    def within(self, window: Window) -> np.ndarray:
        """The depth in the pixels of a window that holds this one."""
        down, across = self.window.top - window.top, self.window.left - window.left
        height, width = self.window.size
        own = self.depth.numpy()
        depth = np.zeros(window.size, own.dtype)
        depth[down : down + height, across : across + width] = own
        return depth


@torch.no_grad()
def draw_alone(
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    camera: Camera,
) -> Drawn:
    """Draw a posed mesh where the image shows it, rather than into the whole image."""
    pixel, z = camera.project(vertices)
    height, width = camera.size
    window = Window(0, 0, width, height)
    if float(z.min()) > _NEAREST:
        box = torch.cat([pixel.amin(0), pixel.amax(0)]).tolist()
        window = Window.of_box(box, camera.size, _AROUND)
    fragments = rasterize((vertices, faces), window.camera(camera))
    return Drawn(window, fragments.depth[..., 0].cpu())
