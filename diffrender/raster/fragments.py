"""The record that passes from the rasterizer to everything after it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from diffrender.errors import InputError

__all__ = ["NEAR", "Fragments", "check_device", "check_images"]

NEAR = 0.01  # metres: nothing nearer to the camera plane is drawn (kNear in native/src/common.h)


@dataclass(frozen=True, eq=False)
class Fragments:
    """What each pixel sees: K layers of faces, nearest first.

    One mesh under an unbatched camera gives no leading dimension, a batch of B gives (B,).

    Attributes:
        face: (..., H, W, K) int64 index into `faces`, -1 where nothing was hit.
        bary: (..., H, W, K, 3) perspective-correct barycentrics, 0 where nothing was hit.
            Differentiable to vertices and camera.
        depth: (..., H, W, K) z in metres, 0 where nothing was hit. Differentiable likewise.
        distance: (..., H, W, K) signed distance (not squared) in pixels from the pixel's centre
            to the outline of that face in the image, negative inside, 0 where nothing was hit;
            None unless asked for. Differentiable likewise.
        faces: (sum F, 3) int64 triangles into the packed vertices.
        homogeneous: (sum V, 3) packed vertices as homogeneous pixels K (R X + t) = z (x, y, 1).
        vertex_offsets: (B + 1,) int64 on the CPU, vertices of each image.
        face_offsets: (B + 1,) int64 on the CPU, faces of each image.
        source: the tensors that `homogeneous` was computed from (vertices, K, R, t).
        made: `face` and `faces` as the rasterizer gave them, by which a map that was put in place
            of one is known.
    """

    face: Tensor  # (..., H, W, K)
    bary: Tensor  # (..., H, W, K, 3)
    depth: Tensor  # (..., H, W, K)
    distance: Tensor | None  # (..., H, W, K)
    faces: Tensor  # (sum F, 3)
    homogeneous: Tensor  # (sum V, 3)
    vertex_offsets: Tensor  # (B + 1,)
    face_offsets: Tensor  # (B + 1,)
    source: tuple[Tensor, ...] = field(default=(), repr=False)
    made: tuple[Tensor, Tensor] | None = field(default=None, repr=False)

    def mask(self, layer: int = 0) -> Tensor:
        """1 where `layer` hit a face, else 0, in the dtype of `depth`. Shape (..., H, W)."""
        return (self.face[..., layer] >= 0).to(self.depth.dtype)


def check_device(fragments: Fragments) -> None:
    """Raise InputError where the map of faces has been moved away from the geometry."""
    here, there = fragments.face.device, fragments.homogeneous.device
    if here != there:
        raise InputError(f"fragments.face is on {here} and homogeneous on {there}; move one")


def check_images(fragments: Fragments) -> None:
    """Raise InputError where fragments are of some images only, whose outlines cannot be told."""
    check_device(fragments)
    images, meshes = math.prod(fragments.face.shape[:-3]), len(fragments.vertex_offsets) - 1
    if images != meshes:
        raise InputError(
            f"the fragments are of {images} images and hold {meshes} meshes: give those of the "
            "whole batch and index the result"
        )
