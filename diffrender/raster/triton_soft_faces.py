"""Faces of the soft silhouette, and how far a pixel lies from them, in Triton.

Maths: native/src/soft_silhouette.cpp. Each face gets a row of 16 float64: its corners in scaled
pixels x_0, y_0, x_1, ... (6), their depths (3), one over the squared lengths of its sides (3), and
the sign of its area.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.raster._triton import (
    Block,
    Pointer,
    blocks,
    constant,
    constexpr,
    fp64,
    i64,
    kernel,
    launch,
    tl,
)
from diffrender.raster.fragments import NEAR
from diffrender.raster.triton_bins import Boxes, Grid
from diffrender.raster.triton_scene import Scene, boxed
from diffrender.raster.triton_setup import first_tile, last_tile, store_tiles

__all__ = ["SOFT_ROW", "SoftFaces", "clipped_depth", "nearest", "set_up", "unit"]

SOFT_ROW = constant(16)
_NEAR = constant(NEAR)
_AREA = constant(1e-8)  # kArea in native/src/soft_silhouette.cpp
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class SoftFaces:
    rows: Tensor  # (F, 16) float64
    boxes: Boxes


def unit(scene: Scene) -> float:
    """Scaled units a pixel: the shorter side of the image spans 2."""
    return 2.0 / min(scene.height, scene.width)


@kernel
def _side(row: Pointer, ax: Block, ay: Block, bx: Block, by: Block, mask: Block) -> None:
    length = (bx - ax) * (bx - ax) + (by - ay) * (by - ay)
    share = tl.where(length > 0, 1.0 / tl.where(length > 0, length, 1.0), 0.0)
    tl.store(row, share, mask=mask)


@kernel
def _set_up(
    h: Pointer,
    faces: Pointer,
    image: Pointer,
    vertex_offsets: Pointer,
    rows: Pointer,
    tiles: Pointer,
    counts: Pointer,
    bad_out: Pointer,
    total: i64,
    height: i64,
    width: i64,
    scale: fp64,
    radius: fp64,
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

    z0 = tl.load(h + 3 * v0 + 2, mask=good, other=0.0).to(tl.float64)
    z1 = tl.load(h + 3 * v1 + 2, mask=good, other=0.0).to(tl.float64)
    z2 = tl.load(h + 3 * v2 + 2, mask=good, other=0.0).to(tl.float64)
    alive = good & (z0 > _NEAR) & (z1 > _NEAR) & (z2 > _NEAR)
    d0, d1, d2 = tl.where(alive, z0, 1.0), tl.where(alive, z1, 1.0), tl.where(alive, z2, 1.0)
    x0 = tl.load(h + 3 * v0, mask=good, other=0.0).to(tl.float64) / d0 * scale
    y0 = tl.load(h + 3 * v0 + 1, mask=good, other=0.0).to(tl.float64) / d0 * scale
    x1 = tl.load(h + 3 * v1, mask=good, other=0.0).to(tl.float64) / d1 * scale
    y1 = tl.load(h + 3 * v1 + 1, mask=good, other=0.0).to(tl.float64) / d1 * scale
    x2 = tl.load(h + 3 * v2, mask=good, other=0.0).to(tl.float64) / d2 * scale
    y2 = tl.load(h + 3 * v2 + 1, mask=good, other=0.0).to(tl.float64) / d2 * scale
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    alive &= tl.abs(area) > _AREA

    row = rows + SOFT_ROW * face
    tl.store(row, x0, mask=alive)
    tl.store(row + 1, y0, mask=alive)
    tl.store(row + 2, x1, mask=alive)
    tl.store(row + 3, y1, mask=alive)
    tl.store(row + 4, x2, mask=alive)
    tl.store(row + 5, y2, mask=alive)
    tl.store(row + 6, z0, mask=alive)
    tl.store(row + 7, z1, mask=alive)
    tl.store(row + 8, z2, mask=alive)
    _side(row + 9, x0, y0, x1, y1, alive)
    _side(row + 10, x1, y1, x2, y2, alive)
    _side(row + 11, x2, y2, x0, y0, alive)
    tl.store(row + 12, tl.where(area > 0, 1.0, -1.0), mask=alive)

    left = (tl.minimum(tl.minimum(x0, x1), x2) - radius) / scale
    right = (tl.maximum(tl.maximum(x0, x1), x2) + radius) / scale
    top = (tl.minimum(tl.minimum(y0, y1), y2) - radius) / scale
    bottom = (tl.maximum(tl.maximum(y0, y1), y2) + radius) / scale
    store_tiles(
        tiles,
        counts,
        face,
        mask,
        alive,
        first_tile(left, width, SIDE),
        last_tile(right, width, SIDE),
        first_tile(top, height, SIDE),
        last_tile(bottom, height, SIDE),
    )


def set_up(scene: Scene, grid: Grid, blur: float) -> SoftFaces:
    """All faces of all images, with boxes that hold what lies within the blur radius.

    Raises:
        NotFiniteError: a vertex is NaN or infinite.
        InputError: a face points outside its mesh.
    """
    faces, device = len(scene.faces), scene.h.device
    rows = torch.empty(faces, 16, dtype=torch.float64, device=device)
    tiles = torch.empty(faces, 4, dtype=torch.int32, device=device)
    counts = torch.empty(faces, dtype=torch.int64, device=device)
    bad = torch.empty(faces, dtype=torch.bool, device=device)
    launch(
        _set_up,
        blocks(faces, _BLOCK),
        scene.h,
        scene.faces,
        scene.image,
        scene.vertex_offsets,
        rows,
        tiles,
        counts,
        bad,
        faces,
        scene.height,
        scene.width,
        unit(scene),
        math.sqrt(blur),
        grid.side,
        _BLOCK,
    )
    return SoftFaces(rows, boxed(scene, tiles, counts, bad))


@kernel
def _segment(a: Pointer, b: Pointer, share: Pointer, x: Block, y: Block) -> Block:
    """Squared distance to one side, the vector from its nearest point, and where that lies."""
    ax, ay = tl.load(a), tl.load(a + 1)
    ex, ey = tl.load(b) - ax, tl.load(b + 1) - ay
    t = ((x - ax) * ex + (y - ay) * ey) * tl.load(share)
    t = tl.minimum(tl.maximum(t, 0.0), 1.0)
    rx = x - ax - t * ex
    ry = y - ay - t * ey
    return rx * rx + ry * ry, rx, ry, t


@kernel
def _weight(p: Pointer, q: Pointer, x: Block, y: Block) -> Block:
    px, py = tl.load(p), tl.load(p + 1)
    return (tl.load(q) - px) * (y - py) - (tl.load(q + 1) - py) * (x - px)


@kernel
def nearest(row: Pointer, x: Block, y: Block) -> Block:
    """The nearest point of a face's outline to each pixel, and the pixel's place.

    Returns squared distance, vector from the point, share along its side, number of the side,
    whether the pixel is inside, and its three screen barycentrics times twice the area.
    """
    squared, rx, ry, t = _segment(row, row + 2, row + 9, x, y)
    side = tl.zeros_like(squared).to(tl.int32)
    squared1, rx1, ry1, t1 = _segment(row + 2, row + 4, row + 10, x, y)
    nearer = squared1 < squared
    squared = tl.where(nearer, squared1, squared)
    rx, ry = tl.where(nearer, rx1, rx), tl.where(nearer, ry1, ry)
    t, side = tl.where(nearer, t1, t), tl.where(nearer, 1, side)
    squared2, rx2, ry2, t2 = _segment(row + 4, row, row + 11, x, y)
    nearer = squared2 < squared
    squared = tl.where(nearer, squared2, squared)
    rx, ry = tl.where(nearer, rx2, rx), tl.where(nearer, ry2, ry)
    t, side = tl.where(nearer, t2, t), tl.where(nearer, 2, side)
    w0 = _weight(row + 2, row + 4, x, y)
    w1 = _weight(row + 4, row, x, y)
    w2 = _weight(row, row + 2, x, y)
    sign = tl.load(row + 12)
    inside = (w0 * sign > 0) & (w1 * sign > 0) & (w2 * sign > 0)
    return squared, rx, ry, t, side, inside, w0, w1, w2


@kernel
def clipped_depth(row: Pointer, w0: Block, w1: Block, w2: Block) -> Block:
    """Depth at the barycentrics clipped into the face."""
    z0, z1, z2 = tl.load(row + 6), tl.load(row + 7), tl.load(row + 8)
    b0, b1, b2 = w0 / z0, w1 / z1, w2 / z2
    total = b0 + b1 + b2
    b0 = tl.minimum(tl.maximum(b0 / total, 0.0), 1.0)
    b1 = tl.minimum(tl.maximum(b1 / total, 0.0), 1.0)
    b2 = tl.minimum(tl.maximum(b2 / total, 0.0), 1.0)
    clipped = b0 + b1 + b2
    return b0 / clipped * z0 + b1 / clipped * z1 + b2 / clipped * z2
