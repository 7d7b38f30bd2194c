"""The readable twin of the native soft colours: plain torch, any device and dtype.

Maths: native/src/soft_shade.cpp. Rows of pixels are taken in chunks that are computed again in the
backward pass, so that memory stays bounded.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffrender.raster._packed import Packed
from diffrender.raster.fragments import NEAR
from diffrender.raster.torch_distance import segment_distance

__all__ = ["soft_shade"]

_CHUNK = 100_000  # face-pixel pairs looked at together
_AREA = 1e-8  # kLeastArea in native/src/soft_shade.cpp
_HORIZON = 1e-100  # kHorizon there


def _edges(corners: Tensor, p: Tensor) -> Tensor:  # (F, 3, 2), (1, P, 2)
    """Edge function opposite each corner. Shape (F, P, 3)."""
    out = []
    for i in range(3):
        a, b = corners[:, (i + 1) % 3, None], corners[:, (i + 2) % 3, None]
        out.append((b - a)[..., 0] * (p - a)[..., 1] - (b - a)[..., 1] * (p - a)[..., 0])
    return torch.stack(out, dim=-1)


def _pixels(
    corners: Tensor,  # (F, 3, 2) in units of half the shorter side
    z: Tensor,  # (F, 3)
    values: Tensor,  # (F, 3, C)
    pixels: Tensor,  # (P, 2)
    limit: int,
    numbers: list[float],
) -> Tensor:
    """Colours without background and, last, the background's weight. Shape (P, C + 1)."""
    sigma, gamma, blur, near, far, epsilon = numbers
    p = pixels[None]
    ends = [corners[:, i, None] for i in range(3)]
    outline = [segment_distance(p, ends[i], ends[(i + 1) % 3]) for i in range(3)]
    squared = torch.stack(outline).amin(0)  # (F, P)
    edges = _edges(corners, p)
    inside = (edges > 0).all(-1) | (edges < 0).all(-1)
    counts = inside | (squared < blur)
    # Where the face does not count, any finite point of it will do.
    u = torch.where(counts[..., None], edges, 1.0) / z[:, None]
    total = u.sum(-1, keepdim=True)
    share = (u / torch.where(total == 0, _HORIZON, total)).clamp(0.0, 1.0)
    share = share / share.sum(-1, keepdim=True)  # (F, P, 3)
    depth = (share * z[:, None]).sum(-1)  # (F, P)
    if 0 < limit < len(corners):
        with torch.no_grad():
            order = torch.where(counts, depth, torch.inf).argsort(dim=0, stable=True)[:limit]
            counts &= torch.zeros_like(counts).scatter_(0, order, True)
    distance = torch.where(counts, torch.where(inside, -squared, squared), 0.0)
    exponent = torch.nn.functional.logsigmoid(-distance / sigma)
    exponent = exponent + (far - depth) / ((far - near) * gamma)
    exponent = torch.where(counts, exponent, -torch.inf)
    background = torch.full_like(exponent[:1], epsilon / gamma)
    weight = torch.cat([exponent, background]).softmax(0)  # (F + 1, P)
    colour = torch.einsum("fp,fpi,fic->pc", weight[:-1], share, values)
    return torch.cat([colour, weight[-1][:, None]], dim=-1)


def soft_shade(
    packed: Packed,
    values: Tensor,  # (sum V, C) or (sum F, 3, C)
    limit: int,
    numbers: list[float],
) -> tuple[Tensor, Tensor]:
    """Colours without background (B, H, W, C) and the background's weight (B, H, W)."""
    height, width = packed.size
    scale = 2.0 / min(height, width)
    h, channels = packed.homogeneous, values.shape[-1]
    at_corners = values.ndim == 3
    images: list[Tensor] = []
    for b in range(packed.count):
        first, last = int(packed.face_offsets[b]), int(packed.face_offsets[b + 1])
        faces = packed.faces[first:last]
        corners = h[faces].double()  # (F, 3, 3)
        own = (values[first:last] if at_corners else values[faces]).double()  # (F, 3, C)
        ahead = (corners[..., 2] > NEAR).all(-1)
        corners, own = corners[ahead], own[ahead]
        z = corners[..., 2]
        flat = corners[..., :2] / z[..., None] * scale
        with torch.no_grad():
            one, two = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
            keep = (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).abs() > _AREA
        flat, z, own = flat[keep], z[keep], own[keep]
        if not len(flat):
            empty = torch.cat(
                [h.new_zeros(height, width, channels), h.new_ones(height, width, 1)], -1
            )
            images.append(empty + 0.0 * (h.sum() + values.sum()))
            continue
        step = max(1, _CHUNK // (len(flat) * width))
        parts = []
        for top in range(0, height, step):
            rows = torch.arange(top, min(top + step, height), device=h.device)
            y, x = torch.meshgrid(rows, torch.arange(width, device=h.device), indexing="ij")
            pixels = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5).double() * scale
            parts.append(
                checkpoint(_pixels, flat, z, own, pixels, limit, numbers, use_reentrant=False)
            )
        images.append(torch.cat(parts).reshape(height, width, -1).to(h.dtype))
    nothing = h.new_zeros(0, height, width, channels + 1)
    whole = torch.stack(images) if images else nothing + 0.0 * (h.sum() + values.sum())
    return whole[..., :-1], whole[..., -1]
