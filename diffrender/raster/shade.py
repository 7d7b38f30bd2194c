"""`soft_shade`: colours blended over all faces near a pixel, by coverage and depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape
from diffrender.meshes import Mesh, MeshBatch
from diffrender.native.operators import plain, refuse_tangents
from diffrender.raster._attributes import attribute_rows
from diffrender.raster._guards import outside_autocast, require_finite, widen_scene
from diffrender.raster._packed import check_finite, pack
from diffrender.raster._precision import full_precision
from diffrender.raster.backends import choose_backend

__all__ = ["SoftShading", "soft_shade"]


@dataclass(frozen=True)
class SoftShading:
    """How softly `soft_shade` blends.

    Attributes:
        sigma: softness across outlines, in squared units of half the image's shorter side.
        gamma: softness in depth, as a share of far - near; small lets the nearest face win.
        blur_radius: faces whose squared distance exceeds this are left out; None for
            sigma * log(1 / 1e-4 - 1), where coverage has fallen to 1e-4.
        faces_per_pixel: only so many faces count at a pixel, the nearest in depth; None for all.
        near, far: metres; depths between them are scaled to 1 ... 0. Others are not cut off.
        epsilon: scaled nearness of the background.
    """

    sigma: float = 1e-4
    gamma: float = 1e-4
    blur_radius: float | None = None
    faces_per_pixel: int | None = None
    near: float = 1.0
    far: float = 100.0
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("sigma", "gamma"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}, expected a positive number")
        if self.blur_radius is not None and not 0 <= self.blur_radius < math.inf:
            raise InputError(f"blur_radius is {self.blur_radius}, expected a number >= 0 or None")
        if self.faces_per_pixel is not None and self.faces_per_pixel < 1:
            raise InputError(
                f"faces_per_pixel is {self.faces_per_pixel}, expected at least 1 or None"
            )
        if not (self.near < self.far and math.isfinite(self.far - self.near)):
            raise InputError(f"near is {self.near} and far is {self.far}, expected near < far")
        if not math.isfinite(self.epsilon):
            raise InputError(f"epsilon is {self.epsilon}, expected a finite number")

    def numbers(self) -> list[float]:
        """What the back-ends take: sigma, gamma, blur, near, far, epsilon."""
        blur = self.blur_radius
        if blur is None:
            blur = self.sigma * math.log(1.0 / 1e-4 - 1.0)
        return [self.sigma, self.gamma, blur, self.near, self.far, self.epsilon]


def soft_shade(
    attributes: Tensor,  # (sum V, C), (V, C) or (sum F, 3, C)
    meshes: Mesh | MeshBatch,
    camera: Camera,
    *,
    settings: SoftShading | None = None,
    background: Tensor | None = None,  # (C,)
    backend: str | None = None,
    deterministic: bool = False,
) -> Tensor:
    """SoftRas colours: attributes of all faces near a pixel, weighted by coverage and nearness.

    w_f is proportional to D_f exp(n_f / gamma) and the background's weight to
    exp(epsilon / gamma), together 1. D_f = sigmoid(-d_f / sigma) with d_f as in `soft_silhouette`;
    n_f = (far - z_f) / (far - near), with z_f and the attributes taken at the pixel's
    perspective-correct barycentrics, clipped into the face. Faces with a vertex nearer than 0.01 m,
    and faces seen exactly edge-on, are left out.

    Shapes: attributes as for `interpolate` -> (..., H, W, C), leading dimensions as `rasterize`.

    Gradients:

    | to                         | where                       | exact or biased                  |
    |----------------------------|-----------------------------|----------------------------------|
    | attributes, background     | everywhere                  | exact                            |
    | vertices, pose, intrinsics | inside faces                | exact: distance, depth, colour   |
    | the same                   | silhouettes, within the blur| exact for this soft image, whose |
    |                            |                             | outlines are wider than the true |
    | the same                   | at the blur radius          | none: faces come and go there    |

    Memory: C + 2 numbers a pixel and 9 + 3 C a face; nothing for each pair of face and pixel.

    Args:
        settings: softness and depth range; None for `SoftShading()`.
        background: colour where nothing is; None for zeros.
        backend: "native", "torch", or None for the fastest that fits.

    `backend` and `deterministic` as `rasterize`.

    Raises:
        InputError: as `rasterize`, or attributes or background do not fit or are not finite.

    Source: Liu et al., Soft Rasterizer, 2019, eqs. 2 to 4.
    """
    chosen = settings or SoftShading()
    require_finite("attributes", attributes)
    with outside_autocast(attributes):
        packed = pack(*widen_scene(meshes, camera))
        h = packed.homogeneous
        values, at_corners = attribute_rows(
            full_precision(attributes),
            len(h),
            len(packed.faces),
            packed.vertex_offsets,
            packed.face_offsets,
        )
        if values.dtype != h.dtype:
            raise InputError(
                f"attributes is {attributes.dtype} but the vertices are {h.dtype}; convert one"
            )
        limit = chosen.faces_per_pixel or 0
        if choose_backend(backend, h, deterministic=deterministic) == "native":
            from diffrender.raster._native_ops import NotFiniteError
            from diffrender.raster._shade_ops import ops

            refuse_tangents("soft_shade", h, values)
            try:
                colour, rest = ops.soft_shade(
                    h,
                    plain(values),
                    packed.faces,
                    packed.vertex_offsets,
                    packed.face_offsets,
                    *packed.size,
                    limit,
                    chosen.numbers(),
                    at_corners,
                )[:2]
            except NotFiniteError:
                check_finite(packed.source)
                raise
        else:
            from diffrender.raster import torch_raster, torch_shade

            torch_raster.check(packed)
            colour, rest = torch_shade.soft_shade(packed, values, limit, chosen.numbers())
        if background is not None:
            check_shape("background", background, values.shape[-1])
            require_finite("background", background)
            colour = colour + rest.unsqueeze(-1) * background.to(colour.dtype)
    shape = (*packed.leading, *packed.size, values.shape[-1])
    return colour.reshape(shape).to(attributes.dtype)
