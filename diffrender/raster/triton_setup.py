"""Edge functions and boxes of faces, for the Triton rasterizer.

Maths: native/src/rasterize.cpp. Each face gets a row of 16 float64: three edge functions n_i
(positive inside), 1 / z as a function of the pixel, the three limits that inside means being
above (just under 0 on top and left edges), and the greatest 1 / z that is drawn. A second row
holds the edge functions in float32, scaled so that |n.x| W + |n.y| H + |n.z| = 1: all over the
image their rounding stays below `ROUGH`, so a greater value has a certain sign and only pixels
closer to an edge need float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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
from diffrender.raster.triton_bins import Boxes, Grid
from diffrender.raster.triton_scene import Scene, boxed

__all__ = [
    "EXACT_ROW",
    "ROUGH",
    "ROUGH_ROW",
    "Faces",
    "cross",
    "first_tile",
    "last_tile",
    "set_up",
    "store_tiles",
]

EXACT_ROW = constant(16)
ROUGH_ROW = constant(9)
ROUGH = constant(1e-6)
_NEAR = constant(NEAR)
_TINY = constant(torch.finfo(torch.float64).tiny)
_FAR = constant(1e300)
_SLACK = constant(1e-3)  # pixels by which boxes are widened against rounding
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces ready to be drawn."""

    exact: Tensor  # (F, 16) float64
    rough: Tensor  # (F, 9) float32
    det: Tensor  # (F,) float64, positive
    spans: Tensor  # (F, 4) int32, pixels that may be inside: left, right, top, bottom
    boxes: Boxes


@kernel
def cross(ax: Block, ay: Block, az: Block, bx: Block, by: Block, bz: Block) -> Block:
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@kernel
def first_tile(low: Block, size: i64, SIDE: constexpr) -> Block:
    """The tile of the first pixel whose centre lies at or beyond `low`."""
    pixel = tl.ceil(tl.minimum(tl.maximum(low - _SLACK - 0.5, 0.0), size.to(tl.float64)))
    return pixel.to(tl.int32), pixel.to(tl.int32) // SIDE


@kernel
def last_tile(high: Block, size: i64, SIDE: constexpr) -> Block:
    limit = (size - 1).to(tl.float64)
    pixel = tl.floor(tl.minimum(tl.maximum(high + _SLACK - 0.5, -1.0), limit))
    return pixel.to(tl.int32), tl.maximum(pixel, 0.0).to(tl.int32) // SIDE


@kernel
def store_tiles(
    tiles: Pointer,
    counts: Pointer,
    face: Block,
    mask: Block,
    alive: Block,
    left: Block,
    right: Block,
    top: Block,
    bottom: Block,
) -> None:
    """The tiles of a box, whose sides are pairs of pixel and tile; none where it is empty."""
    alive &= (left[0] <= right[0]) & (top[0] <= bottom[0])
    tl.store(tiles + 4 * face, left[1], mask=mask)
    tl.store(tiles + 4 * face + 1, right[1], mask=mask)
    tl.store(tiles + 4 * face + 2, top[1], mask=mask)
    tl.store(tiles + 4 * face + 3, bottom[1], mask=mask)
    count = (right[1] - left[1] + 1).to(tl.int64) * (bottom[1] - top[1] + 1)
    tl.store(counts + face, tl.where(alive, count, 0), mask=mask)


@kernel
def _cut(a: Block, b: Block, az: Block, bz: Block) -> Block:
    """Where the edge from a to b meets the near plane, in pixels."""
    share = (_NEAR - az) / (bz - az)
    return (a + share * (b - a)) / _NEAR


@kernel
def _reach(
    x0: Block, x1: Block, x2: Block, z0: Block, z1: Block, z2: Block, SIGN: constexpr
) -> Block:
    """The greatest (SIGN 1) or least (-1) pixel coordinate of what lies beyond the near plane."""
    none = -_FAR
    best = tl.where(z0 > _NEAR, x0 / z0 * SIGN, none)
    best = tl.maximum(best, tl.where(z1 > _NEAR, x1 / z1 * SIGN, none))
    best = tl.maximum(best, tl.where(z2 > _NEAR, x2 / z2 * SIGN, none))
    cuts01 = (z0 > _NEAR) != (z1 > _NEAR)
    cuts12 = (z1 > _NEAR) != (z2 > _NEAR)
    cuts20 = (z2 > _NEAR) != (z0 > _NEAR)
    best = tl.maximum(best, tl.where(cuts01, _cut(x0, x1, z0, z1) * SIGN, none))
    best = tl.maximum(best, tl.where(cuts12, _cut(x1, x2, z1, z2) * SIGN, none))
    best = tl.maximum(best, tl.where(cuts20, _cut(x2, x0, z2, z0) * SIGN, none))
    return best * SIGN


@kernel
def _store_edge(
    exact: Pointer, rough: Pointer, x: Block, y: Block, z: Block, margin: Block, mask: Block
) -> None:
    tl.store(exact, x, mask=mask)
    tl.store(exact + 1, y, mask=mask)
    tl.store(exact + 2, z, mask=mask)
    # `margin` is the size of the longer side of the image, whole tiles counted.
    size = (tl.abs(x) + tl.abs(y)) * margin + tl.abs(z)
    tl.store(rough, (x / size).to(tl.float32), mask=mask)
    tl.store(rough + 1, (y / size).to(tl.float32), mask=mask)
    tl.store(rough + 2, (z / size).to(tl.float32), mask=mask)


@kernel
def _limit(x: Block, y: Block) -> Block:
    return tl.where((x > 0) | ((x == 0) & (y > 0)), -_TINY, 0.0)


@kernel
def _set_up(
    h: Pointer,
    faces: Pointer,
    image: Pointer,
    vertex_offsets: Pointer,
    exact: Pointer,
    rough: Pointer,
    det_out: Pointer,
    spans: Pointer,
    tiles: Pointer,
    counts: Pointer,
    bad_out: Pointer,
    total: i64,
    height: i64,
    width: i64,
    margin: i64,
    CULL: constexpr,
    SIDE: constexpr,
    BLOCK: constexpr,
) -> None:
    face = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = face < total
    v0 = tl.load(faces + 3 * face, mask=mask, other=0)
    v1 = tl.load(faces + 3 * face + 1, mask=mask, other=0)
    v2 = tl.load(faces + 3 * face + 2, mask=mask, other=0)
    owner = tl.load(image + face, mask=mask, other=0).to(tl.int64)
    low = tl.load(vertex_offsets + owner, mask=mask, other=0)
    high = tl.load(vertex_offsets + owner + 1, mask=mask, other=0)
    first = tl.minimum(tl.minimum(v0, v1), v2)
    last = tl.maximum(tl.maximum(v0, v1), v2)
    bad = mask & ((first < low) | (last >= high))
    tl.store(bad_out + face, bad, mask=mask)
    good = mask & ~bad

    x0 = tl.load(h + 3 * v0, mask=good, other=0.0).to(tl.float64)
    y0 = tl.load(h + 3 * v0 + 1, mask=good, other=0.0).to(tl.float64)
    z0 = tl.load(h + 3 * v0 + 2, mask=good, other=0.0).to(tl.float64)
    x1 = tl.load(h + 3 * v1, mask=good, other=0.0).to(tl.float64)
    y1 = tl.load(h + 3 * v1 + 1, mask=good, other=0.0).to(tl.float64)
    z1 = tl.load(h + 3 * v1 + 2, mask=good, other=0.0).to(tl.float64)
    x2 = tl.load(h + 3 * v2, mask=good, other=0.0).to(tl.float64)
    y2 = tl.load(h + 3 * v2 + 1, mask=good, other=0.0).to(tl.float64)
    z2 = tl.load(h + 3 * v2 + 2, mask=good, other=0.0).to(tl.float64)
    ahead = (z0 > _NEAR) | (z1 > _NEAR) | (z2 > _NEAR)
    whole = (z0 > _NEAR) & (z1 > _NEAR) & (z2 > _NEAR)

    n0x, n0y, n0z = cross(x1, y1, z1, x2, y2, z2)
    n1x, n1y, n1z = cross(x2, y2, z2, x0, y0, z0)
    n2x, n2y, n2z = cross(x0, y0, z0, x1, y1, z1)
    det = x0 * n0x + y0 * n0y + z0 * n0z
    alive = good & ahead & (tl.abs(det) > 0.0) & (tl.abs(det) < float("inf"))
    if CULL:
        alive &= det < 0  # outward faces seen from outside have det < 0
    sign = tl.where(det < 0, -1.0, 1.0)
    n0x, n0y, n0z = n0x * sign, n0y * sign, n0z * sign
    n1x, n1y, n1z = n1x * sign, n1y * sign, n1z * sign
    n2x, n2y, n2z = n2x * sign, n2y * sign, n2z * sign
    det = det * sign
    nearer = 1.0 / det

    row = exact + EXACT_ROW * face
    rough_row = rough + ROUGH_ROW * face
    side = margin.to(tl.float64)
    _store_edge(row, rough_row, n0x, n0y, n0z, side, alive)
    _store_edge(row + 3, rough_row + 3, n1x, n1y, n1z, side, alive)
    _store_edge(row + 6, rough_row + 6, n2x, n2y, n2z, side, alive)
    tl.store(row + 9, (n0x + n1x + n2x) * nearer, mask=alive)
    tl.store(row + 10, (n0y + n1y + n2y) * nearer, mask=alive)
    tl.store(row + 11, (n0z + n1z + n2z) * nearer, mask=alive)
    tl.store(row + 12, _limit(n0x, n0y), mask=alive)
    tl.store(row + 13, _limit(n1x, n1y), mask=alive)
    tl.store(row + 14, _limit(n2x, n2y), mask=alive)
    tl.store(row + 15, tl.where(whole, _FAR, 1.0 / _NEAR), mask=alive)
    tl.store(det_out + face, det, mask=mask)

    left = first_tile(_reach(x0, x1, x2, z0, z1, z2, -1), width, SIDE)
    right = last_tile(_reach(x0, x1, x2, z0, z1, z2, 1), width, SIDE)
    top = first_tile(_reach(y0, y1, y2, z0, z1, z2, -1), height, SIDE)
    bottom = last_tile(_reach(y0, y1, y2, z0, z1, z2, 1), height, SIDE)
    tl.store(spans + 4 * face, left[0], mask=mask)
    tl.store(spans + 4 * face + 1, right[0], mask=mask)
    tl.store(spans + 4 * face + 2, top[0], mask=mask)
    tl.store(spans + 4 * face + 3, bottom[0], mask=mask)
    store_tiles(tiles, counts, face, mask, alive, left, right, top, bottom)


def set_up(scene: Scene, grid: Grid, cull: bool) -> Faces:
    """All faces of all images.

    Raises:
        NotFiniteError: a vertex is NaN or infinite.
        InputError: a face points outside its mesh.
    """
    faces, device = len(scene.faces), scene.h.device
    exact = torch.empty(faces, 16, dtype=torch.float64, device=device)
    rough = torch.empty(faces, 9, dtype=torch.float32, device=device)
    det = exact.new_empty(faces)
    spans, tiles = torch.empty(2, faces, 4, dtype=torch.int32, device=device)
    counts = torch.empty(faces, dtype=torch.int64, device=device)
    bad = torch.empty(faces, dtype=torch.bool, device=device)
    margin = grid.side * max(grid.rows, grid.columns)
    launch(
        _set_up,
        blocks(faces, _BLOCK),
        scene.h,
        scene.faces,
        scene.image,
        scene.vertex_offsets,
        exact,
        rough,
        det,
        spans,
        tiles,
        counts,
        bad,
        faces,
        scene.height,
        scene.width,
        margin,
        cull,
        grid.side,
        _BLOCK,
    )
    return Faces(exact, rough, det, spans, boxed(scene, tiles, counts, bad))
