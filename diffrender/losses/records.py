"""What losses compare: a rendering, and the evidence in an image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from diffrender.errors import check_shape

__all__ = ["Evidence", "Rendering", "check_alike"]


@dataclass(frozen=True)
class Rendering:
    """What was drawn for B objects, each in its own window, and the variables behind it.

    Attributes:
        coverage: (B, H, W) antialiased share of each pixel in [0, 1].
        depth: (B, H, W) z of the first surface, metres, 0 = nothing.
        facing: (B, H, W) cosine between the viewing ray and the surface, or None for 1.
        parts: (B, H, W, P) antialiased share of each part of the surface, or None.
        box: (B, 4) left, top, right, bottom of the projected vertices, pixels of the window.
        location: (B, 3) bottom-face centre, metres, camera frame of the labels.
        size: (B, 3) length, width, height, metres.
        latent: (B, D) shape code.
    """

    coverage: Tensor  # (B, H, W)
    depth: Tensor  # (B, H, W)
    box: Tensor  # (B, 4)
    location: Tensor  # (B, 3)
    size: Tensor  # (B, 3)
    latent: Tensor  # (B, D)
    facing: Tensor | None = None  # (B, H, W)
    parts: Tensor | None = None  # (B, H, W, P)


@dataclass(frozen=True)
class Evidence:
    """What was seen of the same B objects in the same windows.

    Attributes:
        mask: (B, H, W) share of each pixel inside the instance, in [0, 1].
        care: (B, H, W) 0 where nothing can be said: other instances, outside the image.
        depth: (B, H, W) metres; 0, NaN and infinity = unknown or not trusted.
        depth_sigma: (B,) metres, standard deviation of the mean depth of a patch. Not of each
            patch's own depth: weights that follow the noise pull to what the noise made near.
        depth_floor: (B,) metres across the surface: the shape itself is not better known.
        image: (B, H, W, 3) RGB in [0, 1].
        box: (B, 4) box of the mask, pixels of the window.
        open_sides: (B, 4) bool, False where a side is cut by the border or another object.
        size_mean, size_sigma: (B, 3) length, width, height of the object's class, metres.
    """

    mask: Tensor  # (B, H, W)
    care: Tensor  # (B, H, W)
    depth: Tensor  # (B, H, W)
    depth_sigma: Tensor  # (B,)
    depth_floor: Tensor  # (B,)
    image: Tensor  # (B, H, W, 3)
    box: Tensor  # (B, 4)
    open_sides: Tensor  # (B, 4)
    size_mean: Tensor  # (B, 3)
    size_sigma: Tensor  # (B, 3)

    def detach(self) -> Evidence:
        """The same without gradients: what was seen is not drawn towards what was rendered."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if not any(value.requires_grad for value in values.values()):
            return self
        return Evidence(**{name: value.detach() for name, value in values.items()})

    def __getitem__(self, index: Tensor | slice) -> Evidence:
        """The evidence of some of the objects, or of one object repeated."""
        picked = {f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)}
        return Evidence(**picked)


def check_alike(rendering: Rendering, evidence: Evidence) -> None:
    """Raise InputError unless both are of the same objects and windows: nothing is broadcast."""
    check_shape("Rendering.coverage", rendering.coverage, None, None, None)
    count, height, width = rendering.coverage.shape
    check_shape("Rendering.depth", rendering.depth, count, height, width)
    for name in ("mask", "care", "depth"):
        check_shape(f"Evidence.{name}", getattr(evidence, name), count, height, width)
    check_shape("Evidence.image", evidence.image, count, height, width, 3)
    if rendering.facing is not None:
        check_shape("Rendering.facing", rendering.facing, count, height, width)
    if rendering.parts is not None:
        check_shape("Rendering.parts", rendering.parts, count, height, width, None)
    for name, last in (("box", 4), ("location", 3), ("size", 3), ("latent", None)):
        check_shape(f"Rendering.{name}", getattr(rendering, name), count, last)
    for name in ("depth_sigma", "depth_floor"):
        check_shape(f"Evidence.{name}", getattr(evidence, name), count)
    for name, last in (("box", 4), ("open_sides", 4), ("size_mean", 3), ("size_sigma", 3)):
        check_shape(f"Evidence.{name}", getattr(evidence, name), count, last)
