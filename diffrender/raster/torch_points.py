"""The readable twin of the native point rasterizer: plain torch, any device and dtype.

Visibility is found in float64 without gradients; depth and squared distance are then written as
differentiable functions of the visible points. Maths: native/src/points.cpp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.raster._packed import Packed
from diffrender.raster.fragments import NEAR

__all__ = ["rasterize_points"]

_CHUNK = 2_000_000  # point-pixel pairs looked at together


@torch.no_grad()
def _visible(h: Tensor, radius: Tensor, size: tuple[int, int], layers: int) -> Tensor:
    """Local index of the `layers` nearest points at every pixel, -1 for none. Shape (H, W, K)."""
    height, width = size
    out = torch.full((height, width, layers), -1, dtype=torch.int64, device=h.device)
    local = (h[:, 2] > NEAR).nonzero()[:, 0]
    if not len(local):
        return out
    z = h[local, 2]
    order = z.argsort(stable=True)  # nearest first, ties to the lower index
    local, z = local[order], z[order]
    centre = h[local, :2] / z[:, None]
    limit = radius[local].square()
    x = torch.arange(width, device=h.device, dtype=h.dtype) + 0.5
    across = (x - centre[:, :1]).square()  # (N, W)
    rows = max(1, _CHUNK // (len(local) * width))
    for first in range(0, height, rows):
        y = torch.arange(first, min(first + rows, height), device=h.device, dtype=h.dtype) + 0.5
        down = (y - centre[:, 1:]).square()  # (N, R)
        hit = across[:, None] + down[..., None] <= limit[:, None, None]  # (N, R, W)
        for layer in range(layers):  # peel: argmax gives the first that is hit
            found, nearest = hit.max(0)
            out[first : first + rows, :, layer] = torch.where(found, local[nearest], -1)
            hit.scatter_(0, nearest[None], False)
    return out


def rasterize_points(
    packed: Packed,
    radius: Tensor,  # (sum N,)
    layers: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Point, depth and squared distance in pixels, each (B, H, W, K)."""
    h = packed.homogeneous
    shape = (packed.count, *packed.size, layers)
    point = torch.full(shape, -1, dtype=torch.int64, device=h.device)
    for b in range(packed.count):
        first, last = int(packed.vertex_offsets[b]), int(packed.vertex_offsets[b + 1])
        own = h[first:last].detach().double()
        found = _visible(own, radius[first:last].double(), packed.size, layers)
        point[b] = torch.where(found >= 0, found + first, found)
    where = (point >= 0).nonzero(as_tuple=True)
    seen = h[point[where]].double()  # (M, 3)
    pixel = torch.stack([where[2] + 0.5, where[1] + 0.5], dim=-1).to(seen)
    square = (pixel - seen[:, :2] / seen[:, 2:]).square().sum(-1)
    depth = h.new_zeros(shape).index_put(where, seen[:, 2].to(h.dtype))
    return point, depth, h.new_zeros(shape).index_put(where, square.to(h.dtype))
