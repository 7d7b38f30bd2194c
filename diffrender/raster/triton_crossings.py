"""Where silhouette edges pass between two pixel centres, for the Triton antialiasing.

Twin: the first half of `torch_antialias._blend`; maths: native/src/antialias.cpp. Crossings are
listed edge after edge, those of rows before those of columns. Of the crossings between the same
two pixels the nearest decides: an integer maximum over the bits of its 1 / z, then a minimum over
the numbers of those that reach it; both come out the same in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.raster._triton import (
    Pointer,
    blocks,
    constant,
    constexpr,
    i64,
    kernel,
    launch,
    tl,
)
from diffrender.raster.triton_bins import search
from diffrender.raster.triton_edges import Edges, inside_of, line_ends, lines_of

__all__ = ["Crossings", "find_crossings"]

_BLOCK_SHARE = constant(1.0 - 1e-4)  # 1 - kBlock in native/src/antialias.cpp
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where edges pass between two neighbouring pixel centres; columns are `upright`."""

    along: Tensor  # (N,) float64, share of the way from the edge's start to its end
    alpha: Tensor  # (N,) float64, what is blended
    sign: Tensor  # (N,) float64: -1 where the upper pixel is in, +1 the lower, 0 blends nothing
    leader: Tensor  # (2, P) int64, the crossing that decides between a pixel and the next, or N
    pair: Tensor  # (N,) int64, the lower pixel of the two, or -1


@kernel
def _cross(
    h: Pointer,
    ends: Pointer,
    side: Pointer,
    image: Pointer,
    sums: Pointer,
    face: Pointer,
    depth: Pointer,
    along_out: Pointer,
    alpha_out: Pointer,
    sign_out: Pointer,
    pair_out: Pointer,
    strength_out: Pointer,
    strongest: Pointer,
    edges: i64,
    steps: i64,
    total: i64,
    height: i64,
    width: i64,
    layers: i64,
    pixels: i64,
    BLOCK: constexpr,
) -> None:
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = number < total
    place = search(sums, tl.where(mask, number, 0), 2 * edges, steps)
    before = tl.load(sums + place - 1, mask=place > 0, other=0)
    upright = place >= edges
    edge = tl.where(upright, place - edges, place)
    a = tl.load(ends + 2 * edge)
    b = tl.load(ends + 2 * edge + 1)
    px, py, pz, qx, qy, qz = line_ends(h, a, b, mask)
    inside = inside_of(px, py, qx, qy, tl.load(side + edge), upright)
    # u across the lines of pixel centres, v along them.
    u0, u1 = tl.where(upright, px, py), tl.where(upright, qx, qy)
    v0, v1 = tl.where(upright, py, px), tl.where(upright, qy, qx)
    low, _ = lines_of(u0, u1, inside, tl.where(upright, width, height))
    line = low + (number - before)
    along = (line.to(tl.float64) + 0.5 - u0) / tl.where(mask, u1 - u0, 1.0)
    v = v0 + along * (v1 - v0)
    lower = tl.floor(v - 0.5)
    length = tl.where(upright, height, width)
    valid = mask & (lower >= 0.0) & (lower + 1.0 < length.to(tl.float64))
    lower = tl.where(valid, lower, 0.0).to(tl.int64)
    start = tl.load(image + edge).to(tl.int64) * height * width
    pair = start + tl.where(upright, lower * width + line, line * width + lower)
    upper = pair + tl.where(upright, width, 1)
    up = inside > 0
    at_in, at_out = tl.where(up, upper, pair), tl.where(up, pair, upper)
    face_in = tl.load(face + at_in * layers, mask=valid, other=-1)
    face_out = tl.load(face + at_out * layers, mask=valid, other=-1)
    far = tl.load(depth + at_out * layers, mask=valid, other=0.0).to(tl.float64)
    start_inverse = 1.0 / tl.where(mask, pz, 1.0)
    end_inverse = 1.0 / tl.where(mask, qz, 1.0)
    strength = start_inverse + along * (end_inverse - start_inverse)
    hidden = (face_out >= 0) & ~(strength * far > 1.0)
    valid &= (face_in >= 0) & (face_in != face_out) & ~hidden
    steep = tl.abs(qy - py) >= tl.abs(qx - px)
    other_kind = steep == upright  # steep edges blend along rows, flat ones along columns
    strength = tl.where(other_kind, strength * _BLOCK_SHARE, strength)
    sign = tl.where(up, -1.0, 1.0)
    near = (lower + up.to(tl.int64)).to(tl.float64) + 0.5
    alpha = sign * (v - near) - 0.5
    blends = valid & ~other_kind
    tl.store(along_out + number, along, mask=mask)
    tl.store(alpha_out + number, tl.where(blends, alpha, 0.0), mask=mask)
    tl.store(sign_out + number, tl.where(blends, sign, 0.0), mask=mask)
    tl.store(pair_out + number, tl.where(valid, pair, -1), mask=mask)
    tl.store(strength_out + number, strength, mask=mask)
    best = strongest + tl.where(upright, pixels, 0) + pair
    # Positive numbers are ordered as their bits are.
    tl.atomic_max(best, strength.to(tl.int64, bitcast=True), mask=valid)


@kernel
def _lead(
    pair: Pointer,
    strength: Pointer,
    strongest: Pointer,
    leader: Pointer,
    rows: i64,
    total: i64,
    pixels: i64,
    BLOCK: constexpr,
) -> None:
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = number < total
    at = tl.load(pair + number, mask=mask, other=-1)
    mask &= at >= 0
    at += tl.where(number >= rows, pixels, 0)
    mine = tl.load(strength + number, mask=mask, other=0.0).to(tl.int64, bitcast=True)
    best = tl.load(strongest + at, mask=mask, other=-1)
    tl.atomic_min(leader + at, number, mask=mask & (mine == best))


def find_crossings(h: Tensor, edges: Edges, face: Tensor, depth: Tensor) -> Crossings:
    """All crossings, and which one decides between each pixel and the next."""
    _, height, width, layers = face.shape
    pixels, total, device = face.numel() // layers, edges.total, h.device
    along, alpha, sign, strength = torch.empty(4, total, dtype=torch.float64, device=device)
    pair = torch.empty(total, dtype=torch.int64, device=device)
    strongest = torch.zeros(2, pixels, dtype=torch.int64, device=device)
    leader = torch.full((2, pixels), total, dtype=torch.int64, device=device)
    launch(
        _cross,
        blocks(total, _BLOCK),
        h,
        edges.ends,
        edges.side,
        edges.image,
        edges.sums,
        face,
        depth,
        along,
        alpha,
        sign,
        pair,
        strength,
        strongest,
        len(edges.side),
        len(edges.sums).bit_length() + 1,
        total,
        height,
        width,
        layers,
        pixels,
        _BLOCK,
    )
    launch(
        _lead,
        blocks(total, _BLOCK),
        pair,
        strength,
        strongest,
        leader,
        edges.rows,
        total,
        pixels,
        _BLOCK,
    )
    return Crossings(along, alpha, sign, leader, pair)
