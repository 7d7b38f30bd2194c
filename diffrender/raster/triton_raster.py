"""`rasterize` in Triton, as the operators `diffrender::triton_rasterize...`.

Twin: `torch_raster.rasterize`; maths: native/src/rasterize.cpp. Backward: the gradient at a pixel
becomes g_i = dL/db_i - sum_j b_j dL/db_j - z dL/dz, whose sums A_ji over a face's pixels of
b_j g_i give dL/dh_j = -sum_i A_ji n_i / det.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native.operators import plain
from diffrender.raster._packed import Packed, check_finite
from diffrender.raster._triton import (
    Pointer,
    blocks,
    constexpr,
    define,
    i64,
    kernel,
    launch,
    library,
    tl,
)
from diffrender.raster.triton_bins import Grid
from diffrender.raster.triton_draw import draw, tile_side
from diffrender.raster.triton_scene import NotFiniteError, scene
from diffrender.raster.triton_setup import cross, set_up
from diffrender.raster.triton_sums import corner_sums, ranges, to_vertices

__all__ = ["rasterize"]

_BLOCK = 256


def _forward(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    layers: int,
    cull: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch = scene(h, faces, vertex_offsets, face_offsets, height, width)
    grid = Grid(tile_side(layers), batch.count, height, width)
    return draw(set_up(batch, grid, cull), grid, layers, h)


def _fake(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    layers: int,
    cull: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (face_offsets.shape[0] - 1, height, width, layers)
    face = torch.empty(shape, dtype=torch.int64, device=h.device)
    return face, h.new_empty((*shape, 3)), h.new_empty(shape)


@kernel
def _pixel_gradients(
    bary: Pointer,
    depth: Pointer,
    grad_bary: Pointer,
    grad_depth: Pointer,
    out: Pointer,
    pixels: i64,
    BY_BARY: constexpr,
    BY_DEPTH: constexpr,
    BLOCK: constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < pixels
    shift = tl.zeros((BLOCK,), dtype=tl.float64)
    g0, g1, g2 = shift, shift, shift
    if BY_BARY:
        g0 = tl.load(grad_bary + 3 * at, mask=mask, other=0.0).to(tl.float64)
        g1 = tl.load(grad_bary + 3 * at + 1, mask=mask, other=0.0).to(tl.float64)
        g2 = tl.load(grad_bary + 3 * at + 2, mask=mask, other=0.0).to(tl.float64)
        b0 = tl.load(bary + 3 * at, mask=mask, other=0.0).to(tl.float64)
        b1 = tl.load(bary + 3 * at + 1, mask=mask, other=0.0).to(tl.float64)
        b2 = tl.load(bary + 3 * at + 2, mask=mask, other=0.0).to(tl.float64)
        shift = b0 * g0 + b1 * g1 + b2 * g2
    if BY_DEPTH:
        z = tl.load(depth + at, mask=mask, other=0.0).to(tl.float64)
        shift += z * tl.load(grad_depth + at, mask=mask, other=0.0).to(tl.float64)
    tl.store(out + 3 * at, g0 - shift, mask=mask)
    tl.store(out + 3 * at + 1, g1 - shift, mask=mask)
    tl.store(out + 3 * at + 2, g2 - shift, mask=mask)


@kernel
def _corner_gradients(
    h: Pointer, faces: Pointer, sums: Pointer, out: Pointer, total: i64, BLOCK: constexpr
) -> None:
    face = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = face < total
    v0 = 3 * tl.load(faces + 3 * face, mask=mask, other=0)
    v1 = 3 * tl.load(faces + 3 * face + 1, mask=mask, other=0)
    v2 = 3 * tl.load(faces + 3 * face + 2, mask=mask, other=0)
    x0 = tl.load(h + v0, mask=mask, other=0.0).to(tl.float64)
    y0 = tl.load(h + v0 + 1, mask=mask, other=0.0).to(tl.float64)
    z0 = tl.load(h + v0 + 2, mask=mask, other=0.0).to(tl.float64)
    x1 = tl.load(h + v1, mask=mask, other=0.0).to(tl.float64)
    y1 = tl.load(h + v1 + 1, mask=mask, other=0.0).to(tl.float64)
    z1 = tl.load(h + v1 + 2, mask=mask, other=0.0).to(tl.float64)
    x2 = tl.load(h + v2, mask=mask, other=0.0).to(tl.float64)
    y2 = tl.load(h + v2 + 1, mask=mask, other=0.0).to(tl.float64)
    z2 = tl.load(h + v2 + 2, mask=mask, other=0.0).to(tl.float64)
    n0x, n0y, n0z = cross(x1, y1, z1, x2, y2, z2)
    n1x, n1y, n1z = cross(x2, y2, z2, x0, y0, z0)
    n2x, n2y, n2z = cross(x0, y0, z0, x1, y1, z1)
    det = x0 * n0x + y0 * n0y + z0 * n0z
    scale = -1.0 / tl.where(det == 0, 1.0, det)  # a face without area has no pixels
    for j in range(3):
        a0 = tl.load(sums + 9 * face + 3 * j, mask=mask, other=0.0)
        a1 = tl.load(sums + 9 * face + 3 * j + 1, mask=mask, other=0.0)
        a2 = tl.load(sums + 9 * face + 3 * j + 2, mask=mask, other=0.0)
        row = out + 9 * face + 3 * j
        # Untouched faces may have vertices for which the products overflow.
        seen = (a0 != 0) | (a1 != 0) | (a2 != 0)
        tl.store(row, tl.where(seen, (n0x * a0 + n1x * a1 + n2x * a2) * scale, 0.0), mask=mask)
        tl.store(row + 1, tl.where(seen, (n0y * a0 + n1y * a1 + n2y * a2) * scale, 0.0), mask=mask)
        tl.store(row + 2, tl.where(seen, (n0z * a0 + n1z * a1 + n2z * a2) * scale, 0.0), mask=mask)


def _backward(
    h: Tensor,
    faces: Tensor,
    face: Tensor,
    bary: Tensor,
    depth: Tensor,
    grad_bary: Tensor | None,
    grad_depth: Tensor | None,
) -> Tensor:
    count, total = face.numel(), len(faces)
    at_pixels = torch.empty(count, 3, dtype=torch.float64, device=h.device)
    launch(
        _pixel_gradients,
        blocks(count, _BLOCK),
        bary,
        depth,
        bary if grad_bary is None else grad_bary,
        depth if grad_depth is None else grad_depth,
        at_pixels,
        count,
        grad_bary is not None,
        grad_depth is not None,
        _BLOCK,
    )
    sums = corner_sums(ranges(face.reshape(-1), total), bary.reshape(-1, 3), at_pixels)
    corners = torch.empty(3 * total, 3, dtype=torch.float64, device=h.device)
    launch(_corner_gradients, blocks(total, 128), h, faces, sums, corners, total, 128)
    return to_vertices(corners, faces.reshape(-1), torch.empty_like(h))


_name = define(
    "triton_rasterize(Tensor h, Tensor faces, Tensor vertex_offsets, Tensor face_offsets, "
    "int height, int width, int layers, bool cull) -> (Tensor, Tensor, Tensor)",
    _forward,
    _fake,
)
define(
    "triton_rasterize_backward(Tensor h, Tensor faces, Tensor face, Tensor bary, Tensor depth, "
    "Tensor? grad_bary, Tensor? grad_depth) -> Tensor",
    _backward,
    lambda h, *_: torch.empty_like(h),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(output[0])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[0], inputs[1], *output)


def _grad(
    ctx: Any, _: None, grad_bary: Tensor | None, grad_depth: Tensor | None
) -> tuple[Any, ...]:
    if grad_bary is None and grad_depth is None:
        return (None,) * 8
    grad = torch.ops.diffrender.triton_rasterize_backward(
        *ctx.saved_tensors,
        None if grad_bary is None else plain(grad_bary),
        None if grad_depth is None else plain(grad_depth),
    )
    return grad, *([None] * 7)


torch.library.register_autograd(_name, _grad, setup_context=_setup, lib=library)


def rasterize(packed: Packed, layers: int, cull: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Face (B, H, W, K), barycentrics (B, H, W, K, 3) and depth (B, H, W, K)."""
    try:
        return torch.ops.diffrender.triton_rasterize(
            packed.homogeneous,
            packed.faces,
            packed.vertex_offsets,
            packed.face_offsets,
            *packed.size,
            layers,
            cull,
        )
    except NotFiniteError:
        check_finite(packed.source)
        raise
