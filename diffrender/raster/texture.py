"""`sample_texture`: bilinear look-up."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

__all__ = ["sample_texture"]


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:  # (h, w, C), (..., 2)
    """Bilinear look-up with clamped borders.

    (u, v) in [0, 1] spans the texture from its top-left to its bottom-right corner; the centre of
    texel (row i, column j) lies at u = (j + 0.5) / w, v = (i + 0.5) / h.

    Shapes: (h, w, C), (..., 2) -> (..., C).

    Gradients: texture and uv (the latter zero beyond the outermost texel centres).

    Raises:
        InputError: shapes or dtypes do not fit.
    """
    check_shape("texture", texture, None, None, None)
    check_shape("uv", uv, "...", 2)
    if texture.dtype != uv.dtype:
        raise InputError(f"texture is {texture.dtype} but uv is {uv.dtype}; convert one of them")
    grid = (2.0 * uv - 1.0).reshape(1, 1, -1, 2)
    source = texture.permute(2, 0, 1).unsqueeze(0)
    out = torch.nn.functional.grid_sample(
        source, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return out[0, :, 0].T.reshape(*uv.shape[:-1], texture.shape[-1])
