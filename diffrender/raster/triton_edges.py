"""Silhouette edges and where they cross lines of pixel centres, for the Triton antialiasing.

Twin: `torch_antialias._silhouettes` and the first half of `_blend`; maths:
native/src/antialias.cpp. Edge instances (an edge of the table in one image) are numbered image
after image. Crossings are listed edge after edge, those of rows before those of columns. Of the
crossings between the same two pixels the nearest decides: an integer maximum over the bits of its
1 / z, then a minimum over the numbers of those that reach it; both are the same in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.raster._topology import Topology
from diffrender.raster._triton import (
    Block,
    Pointer,
    blocks,
    constant,
    constexpr,
    i64,
    kernel,
    launch,
    tl,
)
from diffrender.raster.fragments import NEAR
from diffrender.raster.triton_bins import search
from diffrender.raster.triton_setup import cross

__all__ = ["Crossings", "Edges", "find_crossings", "find_edges", "line_ends"]

_NEAR = constant(NEAR)
_BLOCK_SHARE = constant(1.0 - 1e-4)  # 1 - kBlock in native/src/antialias.cpp
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of all images."""

    ends: Tensor  # (S, 2) int64, packed vertices
    side: Tensor  # (S,) int32: +1 where the faces lie at (start x end) . p > 0, -1, 0 for neither
    image: Tensor  # (S,) int32
    sums: Tensor  # (2 S,) int64, running sum of crossings: rows of all edges, then columns
    rows: int  # crossings of rows
    total: int  # and of columns


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where edges pass between two neighbouring pixel centres; columns are `upright`."""

    along: Tensor  # (N,) float64, share of the way from the edge's start to its end
    alpha: Tensor  # (N,) float64, what is blended
    sign: Tensor  # (N,) float64: -1 where the upper pixel is in, +1 the lower, 0 blends nothing
    leader: Tensor  # (2, P) int64, the crossing that decides between a pixel and the next, or N
    pair: Tensor  # (N,) int64, the lower pixel of the two, or -1


@kernel
def _vertex(h: Pointer, vertex: Block, mask: Block) -> Block:
    """A vertex in homogeneous pixels; 0 outside the mask."""
    x = tl.load(h + 3 * vertex, mask=mask, other=0.0).to(tl.float64)
    y = tl.load(h + 3 * vertex + 1, mask=mask, other=0.0).to(tl.float64)
    z = tl.load(h + 3 * vertex + 2, mask=mask, other=0.0).to(tl.float64)
    return x, y, z


@kernel
def line_ends(h: Pointer, a: Block, b: Block, mask: Block) -> Block:
    """Both ends of an edge in pixels, and their depths; 0 where they are not ahead."""
    px, py, pz = _vertex(h, a, mask)
    qx, qy, qz = _vertex(h, b, mask)
    safe_p = tl.where(pz > _NEAR, pz, float("inf"))
    safe_q = tl.where(qz > _NEAR, qz, float("inf"))
    return px / safe_p, py / safe_p, pz, qx / safe_q, qy / safe_q, qz


@kernel
def _inside(px: Block, py: Block, qx: Block, qy: Block, side: Block, upright: Block) -> Block:
    """Positive where the faces lie towards greater coordinates along the line."""
    return side.to(tl.float64) * tl.where(upright, qx - px, py - qy)


@kernel
def _lines(u0: Block, u1: Block, inside: Block, lines: Block) -> Block:
    """The first line of pixel centres that an edge crosses, and how many."""
    limit = lines.to(tl.float64)
    low = tl.ceil(tl.minimum(u0, u1) - 0.5)
    high = tl.ceil(tl.maximum(u0, u1) - 0.5)
    low = tl.minimum(tl.maximum(low, 0.0), limit)
    high = tl.minimum(tl.maximum(high, 0.0), limit)
    some = (u0 != u1) & (inside != 0)
    count = tl.where(some, tl.maximum(high - low, 0.0), 0.0)
    return low.to(tl.int64), count.to(tl.int64)


@kernel
def _classify(
    h: Pointer,
    edges: Pointer,
    opposite_offsets: Pointer,
    opposite: Pointer,
    image: Pointer,
    shift: Pointer,
    vertex_offsets: Pointer,
    ends_out: Pointer,
    side_out: Pointer,
    counts: Pointer,
    total: i64,
    height: i64,
    width: i64,
    BLOCK: constexpr,
) -> None:
    number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = number < total
    owner = tl.load(image + number, mask=mask, other=0).to(tl.int64)
    edge = number + tl.load(shift + owner, mask=mask, other=0)
    base = tl.load(vertex_offsets + owner, mask=mask, other=0)
    a = base + tl.load(edges + 2 * edge, mask=mask, other=0)
    b = base + tl.load(edges + 2 * edge + 1, mask=mask, other=0)
    px, py, pz, qx, qy, qz = line_ends(h, a, b, mask)
    ax, ay, az = _vertex(h, a, mask)
    bx, by, bz = _vertex(h, b, mask)
    nx, ny, nz = cross(ax, ay, az, bx, by, bz)
    first = tl.load(opposite_offsets + edge, mask=mask, other=0).to(tl.int64)
    last = tl.load(opposite_offsets + edge + 1, mask=mask, other=0).to(tl.int64)
    positive = tl.zeros((BLOCK,), dtype=tl.int32)
    negative = tl.zeros((BLOCK,), dtype=tl.int32)
    for i in range(tl.max(last - first, axis=0)):
        more = first + i < last
        c = base + tl.load(opposite + first + i, mask=more, other=0)
        cx, cy, cz = _vertex(h, c, more)
        safe = tl.where(cz > _NEAR, cz, 1.0)
        turn = (qx - px) * (cy / safe - py) - (qy - py) * (cx / safe - px)
        # A third vertex behind the near plane has no place in the image: ask its edge function.
        side = tl.where(cz > _NEAR, turn, nx * cx + ny * cy + nz * cz)
        positive += (more & (side > 0)).to(tl.int32)
        negative += (more & (side < 0)).to(tl.int32)
    ahead = mask & (pz > _NEAR) & (qz > _NEAR)
    kept = ahead & ((positive > 0) != (negative > 0))
    side = tl.where(kept, tl.where(positive > 0, 1, -1), 0)
    tl.store(ends_out + 2 * number, a, mask=mask)
    tl.store(ends_out + 2 * number + 1, b, mask=mask)
    tl.store(side_out + number, side, mask=mask)
    _, rows = _lines(py, qy, _inside(px, py, qx, qy, side, False), height)
    _, columns = _lines(px, qx, _inside(px, py, qx, qy, side, True), width)
    tl.store(counts + number, rows, mask=mask)
    tl.store(counts + total + number, columns, mask=mask)


def find_edges(h: Tensor, vertex_offsets: Tensor, table: Topology, size: tuple[int, int]) -> Edges:
    """Which edges are silhouettes, and how many lines each crosses."""
    device = h.device
    sizes = table.edge_offsets.diff()[table.index]
    instance = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    total = int(instance[-1])
    numbers = torch.arange(len(sizes), device=device, dtype=torch.int32)
    image = torch.repeat_interleave(numbers, sizes.to(device), output_size=total)
    shift = (table.edge_offsets[:-1][table.index] - instance[:-1]).to(device)
    ends = torch.empty(total, 2, dtype=torch.int64, device=device)
    side = torch.empty(total, dtype=torch.int32, device=device)
    counts = torch.empty(2 * total, dtype=torch.int64, device=device)
    launch(
        _classify,
        blocks(total, _BLOCK),
        h,
        table.edges,
        table.opposite_offsets,
        table.opposite,
        image,
        shift,
        vertex_offsets.to(device),
        ends,
        side,
        counts,
        total,
        *size,
        _BLOCK,
    )
    sums = counts.cumsum(0)
    rows, both = sums[[total - 1, 2 * total - 1]].tolist() if total else (0, 0)
    return Edges(ends, side, image, sums, rows, both)


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
    inside = _inside(px, py, qx, qy, tl.load(side + edge), upright)
    # u across the lines of pixel centres, v along them.
    u0, u1 = tl.where(upright, px, py), tl.where(upright, qx, qy)
    v0, v1 = tl.where(upright, py, px), tl.where(upright, qy, qx)
    low, _ = _lines(u0, u1, inside, tl.where(upright, width, height))
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
