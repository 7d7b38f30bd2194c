"""Visibility on tiles: each program walks the faces of one tile and keeps the nearest.

Twin: `torch_raster._visible`. A pixel keeps K pairs of nearness (1 / z, float64) and face, in
memory between chunks of faces. Faces come in order and only a strictly nearer one gets in, so
equal depths go to the lower face. For K > 1 the K pairs are in no order: a nearer face takes the
place of the farthest, of equally far ones the one with the highest index. Empty places have
nearness 0 and the faces -1, -2, ..., so that they differ. `resolve` sorts them, and works out
barycentrics and depth as the C++ kernel does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.raster._triton import (
    Block,
    Pointer,
    blocks,
    constexpr,
    i64,
    kernel,
    launch,
    power_of_two,
    tl,
)
from diffrender.raster.triton_bins import Grid, pairs, sort_by_tile
from diffrender.raster.triton_setup import EXACT_ROW, ROUGH, ROUGH_ROW, Faces

__all__ = ["draw", "tile_pixels", "tile_side"]

_NOBODY = 2**31 - 1


def tile_side(layers: int) -> int:
    """Pixels along a tile's side: fewer where each keeps many faces, to stay in registers."""
    return 16 if layers <= 8 else 8


@kernel
def tile_pixels(
    tile: Block, rows: i64, columns: i64, height: i64, width: i64, SIDE: constexpr
) -> Block:
    """The pixels of a tile: where they lie among those of all images, x, y, and which exist."""
    lane = tl.arange(0, SIDE * SIDE)
    image = tile // (rows * columns)
    y = (tile // columns) % rows * SIDE + lane // SIDE
    x = tile % columns * SIDE + lane % SIDE
    exists = (y < height) & (x < width)
    return (image * height + y) * width + x, x, y, exists


@kernel
def _edge(row: Pointer, x: Block, y: Block) -> Block:
    return tl.load(row) * x + (tl.load(row + 1) * y + tl.load(row + 2))


@kernel
def _hits(
    exact: Pointer, rough: Pointer, spans: Pointer, face: Block, column: Block, line: Block
) -> Block:
    """Which pixels lie inside the face, how near it is there, and whether it reaches any.

    Float32 decides where it can: beyond `ROUGH` of all three edges. Float64 is left for tiles
    with a pixel nearer to an edge, and for the nearness of faces that reach the tile at all.
    """
    x, y = column.to(tl.float64) + 0.5, line.to(tl.float64) + 0.5
    x32, y32 = x.to(tl.float32), y.to(tl.float32)
    row = rough + ROUGH_ROW * face
    low = tl.minimum(_edge(row, x32, y32), _edge(row + 3, x32, y32))
    low = tl.minimum(low, _edge(row + 6, x32, y32))
    # A sliver's edge functions may be rounding alone: it ends where its corners do.
    span = spans + 4 * face
    within = (column >= tl.load(span)) & (column <= tl.load(span + 1))
    within &= (line >= tl.load(span + 2)) & (line <= tl.load(span + 3))
    inside = within & (low > ROUGH)
    doubt = within & (tl.abs(low) <= ROUGH)
    reach = tl.max(tl.where(doubt, 2, tl.where(inside, 1, 0)), axis=0)
    row = exact + EXACT_ROW * face
    if reach == 2:
        inside = within & (_edge(row, x, y) > tl.load(row + 12))
        inside &= _edge(row + 3, x, y) > tl.load(row + 13)
        inside &= _edge(row + 6, x, y) > tl.load(row + 14)
    nearness = tl.zeros_like(x)
    if reach > 0:
        nearness = _edge(row + 9, x, y)
        inside &= nearness < tl.load(row + 15)
    return inside, nearness, reach > 0


@kernel
def _draw(
    exact: Pointer,
    rough: Pointer,
    spans: Pointer,
    starts: Pointer,
    listed: Pointer,
    nearest: Pointer,
    who: Pointer,
    rows: i64,
    columns: i64,
    height: i64,
    width: i64,
    pixels: i64,
    SIDE: constexpr,
    KEPT: constexpr,
) -> None:
    tile = tl.program_id(0).to(tl.int64)
    at, column, line, exists = tile_pixels(tile, rows, columns, height, width, SIDE)
    first = tl.load(starts + tile)
    last = tl.load(starts + tile + 1)
    if first < last:
        if KEPT == 1:
            near = tl.load(nearest + at, mask=exists, other=0.0)
            held = tl.load(who + at, mask=exists, other=-1)
            for i in range(first, last):
                face = tl.load(listed + i)
                row = face.to(tl.int64)
                inside, nearness, _ = _hits(exact, rough, spans, row, column, line)
                wins = inside & (nearness > near)
                near = tl.where(wins, nearness, near)
                held = tl.where(wins, face, held)
            tl.store(nearest + at, near, mask=exists)
            tl.store(who + at, held, mask=exists)
        else:
            places = tl.arange(0, KEPT)[:, None] * pixels + at[None, :]
            there = exists[None, :] & (places >= 0)
            nears = tl.load(nearest + places, mask=there, other=0.0)
            helds = tl.load(who + places, mask=there, other=-1)
            for i in range(first, last):
                face = tl.load(listed + i)
                row = face.to(tl.int64)
                inside, nearness, reaches = _hits(exact, rough, spans, row, column, line)
                if reaches:
                    least = tl.min(nears, axis=0)
                    worst = tl.max(tl.where(nears == least[None, :], helds, -(2**31)), axis=0)
                    wins = inside & (nearness > least)
                    takes = wins[None, :] & (nears == least[None, :]) & (helds == worst[None, :])
                    nears = tl.where(takes, nearness[None, :], nears)
                    helds = tl.where(takes, face, helds)
            tl.store(nearest + places, nears, mask=there)
            tl.store(who + places, helds, mask=there)


@kernel
def _resolve(
    exact: Pointer,
    det: Pointer,
    nearest: Pointer,
    who: Pointer,
    face_out: Pointer,
    bary_out: Pointer,
    depth_out: Pointer,
    width: i64,
    height: i64,
    pixels: i64,
    LAYERS: constexpr,
    KEPT: constexpr,
    NOBODY: constexpr,
    BLOCK: constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = at < pixels
    x = (at % width).to(tl.float64) + 0.5
    y = (at // width % height).to(tl.float64) + 0.5
    places = tl.arange(0, KEPT)[:, None] * pixels + at[None, :]
    there = exists[None, :] & (places >= 0)
    nears = tl.load(nearest + places, mask=there, other=0.0)
    helds = tl.load(who + places, mask=there, other=-1)
    for layer in range(LAYERS):
        best = tl.max(nears, axis=0)
        pick = tl.min(tl.where(nears == best[None, :], helds, NOBODY), axis=0)
        nears = tl.where(helds == pick[None, :], 0.0, nears)
        hit = exists & (best > 0.0)
        face = tl.where(hit, pick, 0).to(tl.int64)
        row = exact + EXACT_ROW * face
        e0 = _edge_at(row, x, y, hit)
        e1 = _edge_at(row + 3, x, y, hit)
        e2 = _edge_at(row + 6, x, y, hit)
        scale = 1.0 / tl.where(hit, e0 + e1 + e2, 1.0)
        out = at * LAYERS + layer
        tl.store(face_out + out, tl.where(hit, face, -1), mask=exists)
        tl.store(bary_out + 3 * out, e0 * scale, mask=exists)
        tl.store(bary_out + 3 * out + 1, e1 * scale, mask=exists)
        tl.store(bary_out + 3 * out + 2, e2 * scale, mask=exists)
        tl.store(depth_out + out, tl.load(det + face, mask=hit, other=0.0) * scale, mask=exists)


@kernel
def _edge_at(row: Pointer, x: Block, y: Block, hit: Block) -> Block:
    """An edge function of each pixel's own face; 0 where there is none."""
    a = tl.load(row, mask=hit, other=0.0)
    b = tl.load(row + 1, mask=hit, other=0.0)
    c = tl.load(row + 2, mask=hit, other=0.0)
    return a * x + b * y + c


def draw(faces: Faces, grid: Grid, layers: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Face (B, H, W, K), barycentrics (B, H, W, K, 3) and depth (B, H, W, K)."""
    kept = power_of_two(layers)
    pixels = grid.images * grid.height * grid.width
    nearest = faces.det.new_zeros(kept, pixels)
    empty = -1 - torch.arange(kept, device=like.device, dtype=torch.int32)
    who = empty[:, None].repeat(1, pixels)
    for chunk in pairs(faces.boxes, grid):
        listed, starts = sort_by_tile(chunk, grid)
        launch(
            _draw,
            grid.count,
            faces.exact,
            faces.rough,
            faces.spans,
            starts,
            listed,
            nearest,
            who,
            grid.rows,
            grid.columns,
            grid.height,
            grid.width,
            pixels,
            grid.side,
            kept,
        )
    shape = (grid.images, grid.height, grid.width, layers)
    face = torch.empty(shape, dtype=torch.int64, device=like.device)
    bary, depth = like.new_empty((*shape, 3)), like.new_empty(shape)
    block = max(16, 512 // kept)
    launch(
        _resolve,
        blocks(pixels, block),
        faces.exact,
        faces.det,
        nearest,
        who,
        face,
        bary,
        depth,
        grid.width,
        grid.height,
        pixels,
        layers,
        kept,
        _NOBODY,
        block,
    )
    return face, bary, depth
