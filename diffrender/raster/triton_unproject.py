"""Gradients of places in the image, brought to homogeneous pixels.

A vertex h = z (x, y, 1) lies at s (x, y) with s a factor of scale, so
dL/dh = (s g_x, s g_y, -s (g_x h_x + g_y h_y) / h_z) / h_z.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.raster._triton import Pointer, blocks, constexpr, fp64, i64, kernel, launch, tl

__all__ = ["to_homogeneous"]

_BLOCK = 128


@kernel
def _to_homogeneous(
    grad: Pointer, h: Pointer, out: Pointer, total: i64, scale: fp64, BLOCK: constexpr
) -> None:
    vertex = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = vertex < total
    gx = tl.load(grad + 2 * vertex, mask=mask, other=0.0) * scale
    gy = tl.load(grad + 2 * vertex + 1, mask=mask, other=0.0) * scale
    x = tl.load(h + 3 * vertex, mask=mask, other=0.0).to(tl.float64)
    y = tl.load(h + 3 * vertex + 1, mask=mask, other=0.0).to(tl.float64)
    z = tl.load(h + 3 * vertex + 2, mask=mask, other=0.0).to(tl.float64)
    # A vertex without a gradient may lie anywhere, at z = 0 too.
    some = (gx != 0) | (gy != 0)
    inverse = tl.where(some, 1.0 / tl.where(some, z, 1.0), 0.0)
    tl.store(out + 3 * vertex, gx * inverse, mask=mask)
    tl.store(out + 3 * vertex + 1, gy * inverse, mask=mask)
    tl.store(
        out + 3 * vertex + 2,
        tl.where(some, -(gx * x + gy * y) * inverse * inverse, 0.0),
        mask=mask,
    )


def to_homogeneous(grad: Tensor, h: Tensor, scale: float) -> Tensor:  # (V, 2) float64, (V, 3)
    """dL/dh in the dtype of `h`. Shape (V, 3)."""
    out = torch.empty_like(h)
    launch(_to_homogeneous, blocks(len(h), _BLOCK), grad, h, out, len(h), scale, _BLOCK)
    return out
