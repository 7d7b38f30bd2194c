"""`soft_silhouette`: coverage that fades over a few pixels around every face."""

from __future__ import annotations

import math

from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.raster._packed import Meshes, check_finite, pack
from diffrender.raster._precision import without_autocast
from diffrender.raster.backends import choose_backend

__all__ = ["soft_silhouette"]


@without_autocast
def soft_silhouette(
    meshes: Meshes,
    camera: Camera,
    *,
    sigma: float = 1e-4,
    blur_radius: float | None = None,
    faces_per_pixel: int | None = None,
    backend: str | None = None,
    deterministic: bool = False,
) -> Tensor:
    """SoftRas silhouette A = 1 - prod_f (1 - sigmoid(-d_f / sigma)).

    d_f is the squared distance from the pixel's centre to the outline of face f, negative
    inside, in units where the image's shorter side spans [-1, 1]. Faces with a vertex nearer than
    0.01 m, and faces seen exactly edge-on, are left out.

    Shapes: as `rasterize`, (..., H, W) in [0, 1].

    Gradient card, the same on every back-end:

    | to | where | kind |
    |---|---|---|
    | vertices, rotation, translation, intrinsics | within the blur radius | exact for this image |
    | the same | where the K-th nearest face changes (`faces_per_pixel`) | none: a jump |

    As the gradient of the ideal, area-sampled image it is biased by design: the outline is as wide
    as the blur, and overlapping faces count twice.

    Args:
        sigma: softness, in squared units of half the shorter side.
        blur_radius: faces whose squared distance exceeds this are left out; None for
            sigma * log(1 / 1e-4 - 1), where the sigmoid has fallen to 1e-4.
        faces_per_pixel: only so many faces count at a pixel, the nearest in depth; None for all.
        backend: "native", "torch", "triton", or None for the fastest that fits.

    `backend` and `deterministic` as `rasterize`.

    Raises:
        InputError: as `rasterize`, or a setting is out of range.

    Source: Liu et al., Soft Rasterizer, 2019, eqs. 1 and 5.
    """
    if not sigma > 0:
        raise InputError(f"sigma is {sigma}, expected a positive number")
    if blur_radius is None:
        blur_radius = sigma * math.log(1.0 / 1e-4 - 1.0)
    if not blur_radius >= 0:
        raise InputError(f"blur_radius is {blur_radius}, expected a number >= 0")
    if faces_per_pixel is not None and faces_per_pixel < 1:
        raise InputError(f"faces_per_pixel is {faces_per_pixel}, expected at least 1 or None")
    packed = pack(meshes, camera)
    chosen = choose_backend(backend, packed.homogeneous, deterministic=deterministic)
    if chosen == "native":
        from diffrender.raster._native_ops import NotFiniteError
        from diffrender.raster._soft_ops import soft_silhouette as run

        try:
            alpha = run(
                packed.homogeneous,
                packed.faces,
                packed.vertex_offsets,
                packed.face_offsets,
                *packed.size,
                faces_per_pixel or 0,
                sigma,
                blur_radius,
            )[0]
        except NotFiniteError:
            check_finite(packed.source)
            raise
    elif chosen == "triton":
        from diffrender.raster import triton_soft

        alpha = triton_soft.soft_silhouette(packed, sigma, blur_radius, faces_per_pixel)
    else:
        from diffrender.raster import torch_raster, torch_soft

        torch_raster.check(packed)
        alpha = torch_soft.soft_silhouette(packed, sigma, blur_radius, faces_per_pixel)
    return alpha.view(*packed.leading, *packed.size).to(packed.dtype)
