"""The readable twin of the native rasterizer, for any device and dtype: plain torch, slow.

Coverage is found in float64 without gradients; barycentrics and depth are then written as
differentiable functions of the visible faces' vertices. Maths: native/src/rasterize.cpp.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.raster._packed import Packed, check_finite
from diffrender.raster.fragments import NEAR

__all__ = ["check", "cross_product", "edge_functions", "interpolate", "rasterize"]

_CHUNK = 4_000_000  # face-pixel pairs looked at together


def check(packed: Packed) -> None:
    """Raise InputError on NaN vertices or on faces outside their mesh."""
    if not bool(torch.isfinite(packed.homogeneous).all()):
        check_finite(packed.source)
    sizes = packed.face_offsets.diff()
    device = packed.faces.device
    low = torch.repeat_interleave(packed.vertex_offsets[:-1], sizes).to(device)
    high = torch.repeat_interleave(packed.vertex_offsets[1:], sizes).to(device)
    bad = ((packed.faces < low[:, None]) | (packed.faces >= high[:, None])).any(-1)
    if bool(bad.any()):
        raise InputError(
            f"meshes.faces points outside its own mesh's vertices (packed face "
            f"{int(bad.nonzero()[0])}); check faces, vertex_offsets and face_offsets"
        )


def cross_product(one: Tensor, two: Tensor) -> Tensor:  # (..., 3) twice
    """Their cross product, to the bit the negative of that of `two` and `one`. Shape (..., 3).

    torch.linalg.cross is not: on some processors it rounds one of the two products only.
    """
    (x, y, z), (u, v, w) = one.unbind(-1), two.unbind(-1)
    return torch.stack([y * w - z * v, z * u - x * w, x * v - y * u], dim=-1)


def edge_functions(corners: Tensor) -> Tensor:  # (..., 3, 3)
    """Rows n_i = h_(i+1) x h_(i+2) of the adjugate of the corner matrix. Shape (..., 3, 3)."""
    return cross_product(corners.roll(-1, -2), corners.roll(-2, -2))


def _visible(corners: Tensor, size: tuple[int, int], layers: int, cull: bool) -> Tensor:
    """Local face index of the `layers` nearest faces at every pixel. Shape (H, W, K) int64."""
    height, width = size
    n = edge_functions(corners)  # (F, 3, 3)
    det = (corners[:, 0] * n[:, 0]).sum(-1)
    alive = (det != 0) & torch.isfinite(det) & (corners[..., 2] > NEAR).any(-1)
    if cull:
        alive &= det < 0
    local = alive.nonzero()[:, 0]
    n, det = n[local], det[local]
    n = n * det.sign()[:, None, None]
    inverse = n.sum(1) / det.abs()[:, None]  # 1 / z = inverse . p
    top_left = (n[..., 0] > 0) | ((n[..., 0] == 0) & (n[..., 1] > 0))  # (F, 3)
    order = torch.arange(len(local), device=corners.device)

    x = torch.arange(width, device=corners.device, dtype=corners.dtype) + 0.5
    rows = max(1, _CHUNK // max(1, 3 * len(local) * width))
    out = torch.full((height, width, layers), -1, dtype=torch.int64, device=corners.device)
    if not len(local):
        return out
    for first in range(0, height, rows):
        last = min(first + rows, height)
        y = torch.arange(first, last, device=corners.device, dtype=corners.dtype) + 0.5
        e = n[..., 0, None, None] * x + (n[..., 1, None] * y + n[..., 2, None])[..., None]
        inside = ((e > 0) | ((e == 0) & top_left[..., None, None])).all(1)  # (F, R, W)
        nearness = inverse[:, 0, None, None] * x
        nearness = nearness + (inverse[:, 1, None] * y + inverse[:, 2, None])[..., None]
        inside &= (nearness > 0) & (nearness < 1.0 / NEAR)
        nearness = torch.where(inside, nearness, torch.zeros_like(nearness))
        for layer in range(layers):  # peel: the nearest, then the nearest of the rest
            best = nearness.amax(0)
            ties = torch.where(nearness == best, order[:, None, None], len(local))
            winner = ties.amin(0)
            hit = best > 0
            out[first:last, :, layer] = torch.where(hit, local[winner], -1)
            nearness.scatter_(0, winner[None], 0.0)
    return out


def rasterize(packed: Packed, layers: int, cull: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Face (B, H, W, K), barycentrics (B, H, W, K, 3) and depth (B, H, W, K)."""
    h = packed.homogeneous
    height, width = packed.size
    shape = (packed.count, height, width, layers)
    face = torch.full(shape, -1, dtype=torch.int64, device=h.device)
    with torch.no_grad():
        for b in range(packed.count):
            first, last = int(packed.face_offsets[b]), int(packed.face_offsets[b + 1])
            found = _visible(h[packed.faces[first:last]].double(), packed.size, layers, cull)
            face[b] = torch.where(found >= 0, found + first, found)
    where = (face >= 0).nonzero(as_tuple=True)
    corners = h[packed.faces[face[where]]].double()  # (N, 3, 3)
    pixel = torch.stack([where[2] + 0.5, where[1] + 0.5, torch.ones_like(where[1])], -1).double()
    n = edge_functions(corners)
    e = (n * pixel[:, None]).sum(-1)  # (N, 3)
    total = e.sum(-1)
    det = (corners[:, 0] * n[:, 0]).sum(-1)
    bary = h.new_zeros((*shape, 3)).index_put(where, (e / total[:, None]).to(h.dtype))
    depth = h.new_zeros(shape).index_put(where, (det / total).to(h.dtype))
    return face, bary, depth


def interpolate(
    attributes: Tensor,  # (sum V, C) or (sum F, 3, C)
    faces: Tensor | None,  # (sum F, 3), None for face corners
    face: Tensor,  # (B, H, W)
    bary: Tensor,  # (B, H, W, 3)
) -> Tensor:
    """Attributes at pixels, 0 where `face` is -1. Shape (B, H, W, C)."""
    hit = face >= 0
    chosen = face[hit]
    corners = attributes[chosen] if faces is None else attributes[faces[chosen]]  # (N, 3, C)
    values = (bary[hit].unsqueeze(-1) * corners).sum(-2)
    out = attributes.new_zeros((*face.shape, attributes.shape[-1]))
    return out.index_put(hit.nonzero(as_tuple=True), values)
