"""Silhouette edges, and how many lines of pixel centres they cross, for Triton's antialiasing.

Twin: `torch_antialias._silhouettes`; maths: native/src/antialias.cpp. Edge instances (an edge of
the table in one image) are numbered image after image.
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
from diffrender.raster.triton_setup import cross

__all__ = ["Edges", "find_edges", "inside_of", "line_ends", "lines_of"]

_NEAR = constant(NEAR)
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
def inside_of(px: Block, py: Block, qx: Block, qy: Block, side: Block, upright: Block) -> Block:
    """Positive where the faces lie towards greater coordinates along the line."""
    return side.to(tl.float64) * tl.where(upright, qx - px, py - qy)


@kernel
def lines_of(u0: Block, u1: Block, inside: Block, lines: Block) -> Block:
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
    _, rows = lines_of(py, qy, inside_of(px, py, qx, qy, side, False), height)
    _, columns = lines_of(px, qx, inside_of(px, py, qx, qy, side, True), width)
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
