"""`soft_silhouette` in Triton, as the operators `diffrender::triton_soft_silhouette...`.

Twin: `torch_soft.soft_silhouette`; maths: native/src/soft_silhouette.cpp. Backward: one program a
pair of face and tile adds up the gradients of the face's corners over the tile's pixels, pairs of
a face add up in the order of tiles, faces of a vertex in the order of faces.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.raster._packed import Packed, check_finite
from diffrender.raster._soft_operator import SCENE, fake, gradient, setup
from diffrender.raster._triton import (
    Block,
    Pointer,
    constexpr,
    define,
    fp64,
    i64,
    kernel,
    launch,
    library,
    tl,
)
from diffrender.raster.triton_bins import Grid, pairs
from diffrender.raster.triton_draw import tile_pixels, tile_side
from diffrender.raster.triton_scene import NotFiniteError, scene
from diffrender.raster.triton_soft_draw import keep, soft_draw
from diffrender.raster.triton_soft_faces import SOFT_ROW, clipped_depth, nearest, set_up, unit
from diffrender.raster.triton_sums import row_sums, to_vertices
from diffrender.raster.triton_unproject import to_homogeneous

__all__ = ["soft_silhouette"]


def _forward(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    limit: int,
    sigma: float,
    blur: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch = scene(h, faces, vertex_offsets, face_offsets, height, width)
    grid = Grid(tile_side(limit), batch.count, height, width)
    found = set_up(batch, grid, blur)
    rest, *last = soft_draw(found, grid, limit, unit(batch), sigma, blur)
    shape = (batch.count, height, width)
    last_depth, last_face = (t.reshape(shape if limit else (0,)) for t in last)
    return (1.0 - rest).to(h.dtype).reshape(shape), last_depth, last_face


@kernel
def _add(sums: Pointer, x: Block, y: Block, start: Block, end: Block, t: Block) -> None:
    """One corner's sums: pixels whose nearest side starts there, and those where it ends."""
    share = tl.where(start, 1.0 - t, 0.0) + tl.where(end, t, 0.0)
    tl.store(sums, tl.sum(share * x, axis=0))
    tl.store(sums + 1, tl.sum(share * y, axis=0))


@kernel
def _pair_gradients(
    rows: Pointer,
    face: Pointer,
    tile: Pointer,
    alpha: Pointer,
    grad: Pointer,
    last_depth: Pointer,
    last_face: Pointer,
    sums: Pointer,
    tile_rows: i64,
    columns: i64,
    height: i64,
    width: i64,
    scale: fp64,
    sigma: fp64,
    blur: fp64,
    LIMIT: constexpr,
    SIDE: constexpr,
) -> None:
    pair = tl.program_id(0).to(tl.int64)
    place = tl.load(tile + pair).to(tl.int64)
    number = tl.load(face + pair).to(tl.int64)
    at, column, line, exists = tile_pixels(place, tile_rows, columns, height, width, SIDE)
    x = (column.to(tl.float64) + 0.5) * scale
    y = (line.to(tl.float64) + 0.5) * scale
    row = rows + SOFT_ROW * number
    squared, rx, ry, t, side, inside, w0, w1, w2 = nearest(row, x, y)
    counts = exists & (inside | (squared < blur))
    if LIMIT:
        z = clipped_depth(row, w0, w1, w2)
        last = tl.load(last_depth + at, mask=exists, other=0.0)
        who = tl.load(last_face + at, mask=exists, other=0)
        counts &= ~((z > last) | ((z == last) & (number > who)))
    left = 1.0 - tl.load(alpha + at, mask=counts, other=1.0).to(tl.float64)
    q = keep(squared, inside, sigma)
    g = -tl.load(grad + at, mask=counts, other=0.0).to(tl.float64) * left * (1.0 - q) / sigma
    g = tl.where(inside, -g, g)
    gx = tl.where(counts, -2.0 * g * rx, 0.0)
    gy = tl.where(counts, -2.0 * g * ry, 0.0)
    out = sums + 6 * pair
    _add(out, gx, gy, side == 0, side == 2, t)
    _add(out + 2, gx, gy, side == 1, side == 0, t)
    _add(out + 4, gx, gy, side == 2, side == 1, t)


def _backward(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    limit: int,
    sigma: float,
    blur: float,
    alpha: Tensor,
    last_depth: Tensor,
    last_face: Tensor,
    grad: Tensor,
) -> Tensor:
    batch = scene(h, faces, vertex_offsets, face_offsets, height, width)
    grid = Grid(tile_side(1), batch.count, height, width)
    found = set_up(batch, grid, blur)
    corners = found.rows.new_zeros(len(faces), 6)
    for chunk in pairs(found.boxes, grid):
        sums = found.rows.new_empty(len(chunk.face), 6)
        launch(
            _pair_gradients,
            len(chunk.face),
            found.rows,
            chunk.face,
            chunk.tile,
            alpha,
            grad,
            last_depth if limit else alpha,
            last_face if limit else chunk.face,
            sums,
            grid.rows,
            grid.columns,
            height,
            width,
            unit(batch),
            sigma,
            blur,
            limit > 0,
            grid.side,
        )
        row_sums(sums, found.boxes.ends, corners, (chunk.first, chunk.last), chunk.before)
    places = to_vertices(corners.view(-1, 2), faces.reshape(-1), corners.new_empty(len(h), 2))
    return to_homogeneous(places, h, unit(batch))


_name = define(f"triton_soft_silhouette({SCENE}) -> (Tensor, Tensor, Tensor)", _forward, fake)
define(
    f"triton_soft_silhouette_backward({SCENE}, Tensor alpha, Tensor last_depth, "
    "Tensor last_face, Tensor grad) -> Tensor",
    _backward,
    lambda h, *_: torch.empty_like(h),
)


_backward_by = gradient(
    lambda *arguments: torch.ops.diffrender.triton_soft_silhouette_backward(*arguments)
)
torch.library.register_autograd(_name, _backward_by, setup_context=setup, lib=library)


def soft_silhouette(packed: Packed, sigma: float, blur: float, limit: int | None) -> Tensor:
    """Soft coverage of every image. Shape (B, H, W)."""
    try:
        return torch.ops.diffrender.triton_soft_silhouette(
            packed.homogeneous,
            packed.faces,
            packed.vertex_offsets,
            packed.face_offsets,
            *packed.size,
            limit or 0,
            sigma,
            blur,
        )[0]
    except NotFiniteError:
        check_finite(packed.source)
        raise
