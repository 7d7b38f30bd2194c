"""The readable twin of the native soft silhouette: plain torch, any device and dtype.

Maths: native/src/soft_silhouette.cpp. Rows of pixels are taken in chunks that are computed again
in the backward pass, so that memory stays bounded.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffrender.raster._packed import Packed
from diffrender.raster.fragments import NEAR
from diffrender.raster.torch_distance import segment_distance

__all__ = ["soft_silhouette"]

_CHUNK = 300_000  # face-pixel pairs looked at together
_AREA = 1e-8  # kArea in native/src/soft_silhouette.cpp


def _rows(
    corners: Tensor,  # (F, 3, 2) in units of half the shorter side
    z: Tensor,  # (F, 3)
    pixels: Tensor,  # (P, 2)
    sigma: float,
    blur: float,
    limit: int | None,
) -> Tensor:
    """Alpha at `pixels`. Shape (P,)."""
    p = pixels[None]  # (1, P, 2)
    ends = [corners[:, i, None] for i in range(3)]  # (F, 1, 2)
    outline = [segment_distance(p, ends[i], ends[(i + 1) % 3]) for i in range(3)]
    squared = torch.stack(outline).amin(0)  # (F, P)
    with torch.no_grad():
        weights = []
        for i in range(3):
            a, b = ends[(i + 1) % 3], ends[(i + 2) % 3]
            weights.append((b - a)[..., 0] * (p - a)[..., 1] - (b - a)[..., 1] * (p - a)[..., 0])
        w = torch.stack(weights, dim=-1)  # (F, P, 3)
        inside = (w > 0).all(-1) | (w < 0).all(-1)
        counts = inside | (squared < blur)
        if limit is not None and limit < len(corners):
            crowded = counts.sum(0) > limit  # (P,)
            share = w[:, crowded] / z[:, None]
            share = (share / share.sum(-1, keepdim=True)).clamp(0.0, 1.0)
            depth = (share / share.sum(-1, keepdim=True) * z[:, None]).sum(-1)
            depth = torch.where(counts[:, crowded], depth, torch.inf)
            order = depth.argsort(dim=0, stable=True)[:limit]
            chosen = torch.zeros_like(depth, dtype=torch.bool).scatter_(0, order, True)
            counts[:, crowded] &= chosen
    distance = torch.where(inside, -squared, squared)
    q = torch.sigmoid(torch.where(counts, distance, 0.0) / sigma)
    return 1.0 - torch.where(counts, q, 1.0).prod(0)


def soft_silhouette(packed: Packed, sigma: float, blur: float, limit: int | None) -> Tensor:
    """Soft coverage of every image. Shape (B, H, W)."""
    height, width = packed.size
    scale = 2.0 / min(height, width)
    h = packed.homogeneous
    device = h.device
    images = []
    for b in range(packed.count):
        first, last = int(packed.face_offsets[b]), int(packed.face_offsets[b + 1])
        corners = h[packed.faces[first:last]].double()  # (F, 3, 3)
        corners = corners[(corners[..., 2] > NEAR).all(-1)]
        z = corners[..., 2]
        flat = corners[..., :2] / z[..., None] * scale
        with torch.no_grad():
            one, two = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
            area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
            keep = area.abs() > _AREA
        flat, z = flat[keep], z[keep].detach()
        if not len(flat):
            images.append(h.new_zeros(height, width) + 0.0 * h.sum())
            continue
        step = max(1, _CHUNK // (len(flat) * width))
        parts = []
        for top in range(0, height, step):
            rows = torch.arange(top, min(top + step, height), device=device)
            y, x = torch.meshgrid(rows, torch.arange(width, device=device), indexing="ij")
            pixels = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5).double() * scale
            parts.append(
                checkpoint(_rows, flat, z, pixels, sigma, blur, limit, use_reentrant=False)
            )
        images.append(torch.cat(parts).reshape(height, width).to(h.dtype))
    if not images:
        return h.new_zeros(0, height, width) + 0.0 * h.sum()
    return torch.stack(images)
