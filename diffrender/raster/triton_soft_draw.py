"""Soft coverage on tiles: each program walks the faces of one tile.

Twin: `torch_soft._rows`. Without a limit a pixel keeps the product of q over its faces; with a
limit K it keeps the depth, face and q of the K nearest, in no order: a nearer face takes the place
of the farthest, of equally far ones the one with the highest index. Empty places lie at infinity
with q = 1; places beyond K, which round it up to a power of two, lie before everything and stay.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.raster._triton import (
    Block,
    Pointer,
    constexpr,
    fp64,
    i64,
    kernel,
    launch,
    power_of_two,
    tl,
)
from diffrender.raster.triton_bins import Grid, pairs, sort_by_tile
from diffrender.raster.triton_draw import tile_pixels
from diffrender.raster.triton_soft_faces import SOFT_ROW, SoftFaces, clipped_depth, nearest

__all__ = ["keep", "soft_draw"]


@kernel
def keep(squared: Block, inside: Block, sigma: fp64) -> Block:
    """q = sigmoid(d / sigma) with the signed square d, negative inside."""
    return 1.0 / (1.0 + tl.exp(tl.where(inside, squared, -squared) / sigma))


@kernel
def _products(
    rows: Pointer,
    starts: Pointer,
    listed: Pointer,
    product: Pointer,
    tile_rows: i64,
    columns: i64,
    height: i64,
    width: i64,
    scale: fp64,
    sigma: fp64,
    blur: fp64,
    SIDE: constexpr,
) -> None:
    tile = tl.program_id(0).to(tl.int64)
    at, column, line, exists = tile_pixels(tile, tile_rows, columns, height, width, SIDE)
    first = tl.load(starts + tile)
    last = tl.load(starts + tile + 1)
    if first < last:
        x = (column.to(tl.float64) + 0.5) * scale
        y = (line.to(tl.float64) + 0.5) * scale
        total = tl.load(product + at, mask=exists, other=1.0)
        for i in range(first, last):
            row = rows + SOFT_ROW * tl.load(listed + i).to(tl.int64)
            squared, _, _, _, _, inside, _, _, _ = nearest(row, x, y)
            counts = inside | (squared < blur)
            if tl.max(counts.to(tl.int32), axis=0) > 0:
                total = tl.where(counts, total * keep(squared, inside, sigma), total)
        tl.store(product + at, total, mask=exists)


@kernel
def _lists(
    rows: Pointer,
    starts: Pointer,
    listed: Pointer,
    depth: Pointer,
    who: Pointer,
    share: Pointer,
    tile_rows: i64,
    columns: i64,
    height: i64,
    width: i64,
    pixels: i64,
    scale: fp64,
    sigma: fp64,
    blur: fp64,
    SIDE: constexpr,
    KEPT: constexpr,
) -> None:
    tile = tl.program_id(0).to(tl.int64)
    at, column, line, exists = tile_pixels(tile, tile_rows, columns, height, width, SIDE)
    first = tl.load(starts + tile)
    last = tl.load(starts + tile + 1)
    if first < last:
        x = (column.to(tl.float64) + 0.5) * scale
        y = (line.to(tl.float64) + 0.5) * scale
        places = tl.arange(0, KEPT)[:, None] * pixels + at[None, :]
        there = exists[None, :] & (places >= 0)
        depths = tl.load(depth + places, mask=there, other=0.0)
        helds = tl.load(who + places, mask=there, other=-1)
        shares = tl.load(share + places, mask=there, other=1.0)
        for i in range(first, last):
            face = tl.load(listed + i)
            row = rows + SOFT_ROW * face.to(tl.int64)
            squared, _, _, _, _, inside, w0, w1, w2 = nearest(row, x, y)
            counts = inside | (squared < blur)
            if tl.max(counts.to(tl.int32), axis=0) > 0:
                z = clipped_depth(row, w0, w1, w2)
                q = keep(squared, inside, sigma)
                farthest = tl.max(depths, axis=0)
                worst = tl.max(tl.where(depths == farthest[None, :], helds, -(2**31)), axis=0)
                wins = counts & (z < farthest)
                takes = wins[None, :] & (depths == farthest[None, :]) & (helds == worst[None, :])
                depths = tl.where(takes, z[None, :], depths)
                helds = tl.where(takes, face, helds)
                shares = tl.where(takes, q[None, :], shares)
        tl.store(depth + places, depths, mask=there)
        tl.store(who + places, helds, mask=there)
        tl.store(share + places, shares, mask=there)


def soft_draw(
    faces: SoftFaces, grid: Grid, limit: int, scale: float, sigma: float, blur: float
) -> tuple[Tensor, Tensor, Tensor]:
    """prod_f q_f (P,), and with a limit the K-th nearest depth and face of each pixel (P,)."""
    pixels, device = grid.images * grid.height * grid.width, faces.rows.device
    kept = power_of_two(limit)
    if limit:
        share = faces.rows.new_ones(kept, pixels)
        depth = torch.full_like(share, torch.inf)
        depth[limit:] = -torch.inf
        empty = -1 - torch.arange(kept, device=device, dtype=torch.int32)
        who = empty[:, None].repeat(1, pixels)
    else:
        share = faces.rows.new_ones(pixels)
    for chunk in pairs(faces.boxes, grid):
        listed, starts = sort_by_tile(chunk, grid)
        shape = (grid.rows, grid.columns, grid.height, grid.width)
        numbers = (scale, sigma, blur, grid.side)
        lists = (faces.rows, starts, listed)
        if limit:
            launch(_lists, grid.count, *lists, depth, who, share, *shape, pixels, *numbers, kept)
        else:
            launch(_products, grid.count, *lists, share, *shape, *numbers)
    if not limit:
        return share, share.new_empty(0), torch.empty(0, dtype=torch.int64, device=device)
    last_depth = depth.amax(0)
    last_face = torch.where(depth == last_depth, who, -(2**31)).amax(0)
    return share.prod(0), last_depth, last_face.long()
