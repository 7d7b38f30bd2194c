"""`sample_texture`: look-up in textures, bilinear or through mip maps."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.native.operators import plain, refuse_tangents
from diffrender.raster._guards import outside_autocast, require_finite
from diffrender.raster._precision import full_precision
from diffrender.raster.backends import choose_backend
from diffrender.raster.torch_texture import mip_levels

__all__ = ["sample_texture"]

Wrap = Literal["clamp", "repeat"]


def sample_texture(
    texture: Tensor,  # (h, w, C) or (*T, h, w, C)
    uv: Tensor,  # (..., 2) or (*T, ..., 2)
    *,
    footprint: Tensor | None = None,  # (..., 2, 2) or (*T, ..., 2, 2)
    wrap: Wrap = "clamp",
    backend: str | None = None,
    deterministic: bool = False,
) -> Tensor:
    """Bilinear look-up; with a footprint, trilinear in box-filtered mip maps.

    (u, v) in [0, 1] spans the texture from its top-left to its bottom-right corner; the centre of
    texel (row i, column j) lies at u = (j + 0.5) / w, v = (i + 0.5) / h.

    `footprint[..., i, j]` is d uv_i / d pixel_j (`interpolate_derivatives`). The level is log2 of
    the longer of its two columns in texels, at least 0. Every level is half as large as the one
    above, rounded down, to a single texel; odd sizes are shared out exactly.

    Shapes: (h, w, C), (..., 2) -> (..., C); with textures (*T, h, w, C) the leading dimensions of
    uv begin with T, and each texture serves its own part.

    Gradients (no silhouettes here: they are in where uv comes from):

    | to        | where                                           | exact or biased           |
    |-----------|-------------------------------------------------|---------------------------|
    | texture   | everywhere, through all levels                  | exact                     |
    | uv        | within a texel; 0 beyond clamped texel centres  | exact (kinks at centres)  |
    | footprint | between the first and the last level, else 0    | exact (kinks at levels)   |

    Memory: the texture, a third more for mip maps, and 2 numbers a sample; nothing per level.

    Args:
        footprint: screen-space derivatives of uv; None reads the full texture alone.
        wrap: "clamp" repeats the outermost texels, "repeat" the whole texture.
        backend: "native", "torch", or None for the fastest that fits.

    `backend` and `deterministic` as `rasterize`.

    Raises:
        InputError: shapes, dtypes or `wrap` do not fit, or a tensor holds NaN or infinite values.

    Source: Williams, Pyramidal parametrics, 1983; level as in the OpenGL 4.6 specification, 8.14.
    """
    check_shape("texture", texture, "...", None, None, None)
    check_shape("uv", uv, "...", 2)
    leading = texture.shape[:-3]
    if uv.shape[: len(leading)] != leading or len(leading) > uv.ndim - 1:
        raise InputError(
            f"texture has leading dimensions {tuple(leading)} but uv has shape {tuple(uv.shape)}; "
            f"uv must begin with them, or give one texture (h, w, C)"
        )
    if min(texture.shape[-3:-1]) < 1:
        raise InputError(f"texture has shape {tuple(texture.shape)}: there is no texel in it")
    if wrap not in ("clamp", "repeat"):
        raise InputError(f"wrap is {wrap!r}, expected 'clamp' or 'repeat'")
    wide, place = full_precision(texture), full_precision(uv)
    if wide.dtype != place.dtype:
        raise InputError(f"texture is {texture.dtype} but uv is {uv.dtype}; convert one of them")
    require_finite("texture", texture)
    require_finite("uv", uv)
    count, samples = math.prod(leading), math.prod(uv.shape[len(leading) : -1])
    with outside_autocast(wide):
        wide = wide.reshape(count, *texture.shape[-3:])
        mips, level = wide.new_zeros(count, 0, wide.shape[-1]), None
        if footprint is not None:
            if footprint.shape != (*uv.shape, 2):
                raise InputError(
                    f"footprint has shape {tuple(footprint.shape)}, expected {(*uv.shape, 2)}"
                )
            require_finite("footprint", footprint)
            mips = mip_levels(wide)
            level = _level(full_precision(footprint).to(wide.dtype), wide.shape[1], wide.shape[2])
            level = plain(level.reshape(count, samples))
        place = place.reshape(count, samples, 2)
        if choose_backend(backend, wide, deterministic=deterministic) == "native":
            from diffrender.raster._texture_ops import ops

            refuse_tangents("sample_texture", wide, mips, place, level)
            out = ops.sample_texture(
                plain(wide), plain(mips), plain(place), level, wrap == "repeat"
            )
        else:
            from diffrender.raster import torch_texture

            out = torch_texture.sample_texture(wide, mips, place, level, wrap == "repeat")
    return out.reshape(*uv.shape[:-1], texture.shape[-1]).to(texture.dtype)


def _level(footprint: Tensor, height: int, width: int) -> Tensor:  # (..., 2, 2)
    """Mip level whose texels are as large as the footprint. Shape (...)."""
    scale = footprint.new_tensor([[width], [height]])
    squared = (footprint * scale).square().sum(-2).amax(-1)  # (...)
    last = math.floor(math.log2(max(height, width)))
    return (0.5 * torch.log2(squared.clamp(1.0, 4.0**last))).clamp(0.0, float(last))
