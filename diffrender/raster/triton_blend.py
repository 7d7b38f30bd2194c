"""Blending across crossings, forward and backward, for the Triton antialiasing.

Twin: the second half of `torch_antialias._blend`; maths: native/src/antialias.cpp. A pixel takes
part in at most two crossings of a pass, one with the pixel before it and one with the next, so each
pixel collects what it gets and nothing is added atomically. Gradients of edges add up over their
crossings from one end to the other.
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
from diffrender.raster.triton_crossings import Crossings
from diffrender.raster.triton_edges import Edges, line_ends

__all__ = ["blend", "edge_gradients", "slides_of"]

_BLOCK = 128
_CHANNELS = 8  # at once


@kernel
def _crossing(
    alpha: Pointer, sign: Pointer, leader: Pointer, pair: Block, exists: Block, total: i64
) -> Block:
    """Alpha and sign of the crossing between pixel `pair` and the next; 0 where there is none."""
    number = tl.load(leader + pair, mask=exists, other=0)
    some = exists & (number < total)
    number = tl.where(some, number, 0)
    return tl.load(alpha + number, mask=some, other=0.0), tl.load(
        sign + number, mask=some, other=0.0
    )


@kernel
def _collect(
    alpha: Pointer,
    sign: Pointer,
    leader: Pointer,
    source: Pointer,
    target: Pointer,
    total: i64,
    pixels: i64,
    height: i64,
    width: i64,
    channels: i64,
    UPRIGHT: constexpr,
    BACKWARD: constexpr,
    BLOCK: constexpr,
    CHANNELS: constexpr,
) -> None:
    groups = (channels + CHANNELS - 1) // CHANNELS
    program = tl.program_id(0).to(tl.int64)
    at = program // groups * BLOCK + tl.arange(0, BLOCK)
    channel = program % groups * CHANNELS + tl.arange(0, CHANNELS)
    exists = at < pixels
    if UPRIGHT:
        step = width
        place, length = at // width % height, height
    else:
        step = width * 0 + 1
        place, length = at % width, width
    has_before = exists & (place > 0)
    has_after = exists & (place + 1 < length)
    some = (channel < channels)[None, :]
    where = at[:, None] * channels + channel[None, :]
    jump = step * channels
    mine = tl.load(source + where, mask=exists[:, None] & some, other=0.0).to(tl.float64)
    before = tl.load(source + where - jump, mask=has_before[:, None] & some, other=0.0)
    after = tl.load(source + where + jump, mask=has_after[:, None] & some, other=0.0)
    alpha0, sign0 = _crossing(alpha, sign, leader, at - step, has_before, total)
    alpha1, sign1 = _crossing(alpha, sign, leader, at, has_after, total)
    # Sign -1: the upper pixel of the two is `in`. Where this pixel is in, 1, else -1:
    role0, role1 = -sign0, sign1
    # Alpha > 0 writes to `out`, else to `in`.
    mine0 = (alpha0 > 0) != (role0 > 0)
    mine1 = (alpha1 > 0) != (role1 > 0)
    if BACKWARD:
        gain0 = tl.where(mine0[:, None], mine, before.to(tl.float64))
        gain1 = tl.where(mine1[:, None], mine, after.to(tl.float64))
    else:
        gain0 = tl.where(mine0[:, None], mine - before.to(tl.float64), 0.0)
        gain1 = tl.where(mine1[:, None], mine - after.to(tl.float64), 0.0)
    result = mine + (alpha0 * role0)[:, None] * gain0 + (alpha1 * role1)[:, None] * gain1
    tl.store(target + where, result, mask=exists[:, None] & some)


def blend(crossings: Crossings, image: Tensor, upright: bool, backward: bool = False) -> Tensor:
    """One pass, or its gradient to its source given that to its target."""
    _, height, width, channels = image.shape
    pixels = image.shape[0] * height * width
    at_once = min(power_of_two(channels), _CHANNELS)
    out = torch.empty_like(image)
    launch(
        _collect,
        blocks(pixels, _BLOCK) * blocks(channels, at_once),
        crossings.alpha,
        crossings.sign,
        crossings.leader[int(upright)],
        image,
        out,
        len(crossings.pair),
        pixels,
        height,
        width,
        channels,
        upright,
        backward,
        _BLOCK,
        at_once,
    )
    return out


@kernel
def _slide(
    alpha: Pointer,
    sign: Pointer,
    leader: Pointer,
    pair: Pointer,
    source: Pointer,
    grad: Pointer,
    out: Pointer,
    first: i64,
    last: i64,
    step: i64,
    channels: i64,
    BLOCK: constexpr,
    CHANNELS: constexpr,
) -> None:
    """dL/dv of each crossing that blends: sign sum_c dL/dtarget (in - out)."""
    number = first + tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = number < last
    at = tl.load(pair + number, mask=exists, other=-1)
    there = exists & (at >= 0)
    at = tl.where(there, at, 0)
    there &= tl.load(leader + at, mask=there, other=-1) == number
    direction = tl.load(sign + number, mask=there, other=0.0)
    share = tl.load(alpha + number, mask=there, other=0.0)
    at_in = tl.where(direction > 0, at, at + step)
    at_out = tl.where(direction > 0, at + step, at)
    target = tl.where(share > 0, at_out, at_in)
    total = tl.zeros((BLOCK, CHANNELS), dtype=tl.float64)
    for begin in range(0, channels, CHANNELS):
        channel = begin + tl.arange(0, CHANNELS)
        mask = there[:, None] & (channel < channels)[None, :]
        one = tl.load(source + at_in[:, None] * channels + channel[None, :], mask=mask, other=0.0)
        two = tl.load(source + at_out[:, None] * channels + channel[None, :], mask=mask, other=0.0)
        g = tl.load(grad + target[:, None] * channels + channel[None, :], mask=mask, other=0.0)
        total += g.to(tl.float64) * (one.to(tl.float64) - two.to(tl.float64))
    tl.store(out + number, tl.sum(total, axis=1) * direction, mask=exists)


def slides_of(
    crossings: Crossings, edges: Edges, source: Tensor, grad: Tensor, slides: Tensor, upright: bool
) -> None:
    """Fill `slides` (N,) for the crossings of one pass."""
    _, _, width, channels = source.shape
    first, last = (edges.rows, edges.total) if upright else (0, edges.rows)
    launch(
        _slide,
        blocks(last - first, _BLOCK),
        crossings.alpha,
        crossings.sign,
        crossings.leader[int(upright)],
        crossings.pair,
        source,
        grad,
        slides,
        first,
        last,
        width if upright else 1,
        channels,
        _BLOCK,
        min(power_of_two(channels), _CHANNELS),
    )


@kernel
def _edge_gradients(
    h: Pointer,
    ends: Pointer,
    sums: Pointer,
    along: Pointer,
    slides: Pointer,
    out: Pointer,
    edges: i64,
    BLOCK: constexpr,
) -> None:
    """dL/dx and dL/dy of both ends of each edge, through v(line) = v0 + along (v1 - v0)."""
    edge = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = edge < edges
    a = tl.load(ends + 2 * edge, mask=exists, other=0)
    b = tl.load(ends + 2 * edge + 1, mask=exists, other=0)
    px, py, _, qx, qy, _ = line_ends(h, a, b, exists)
    zero = tl.zeros((BLOCK,), dtype=tl.float64)
    ax, ay, bx, by = zero, zero, zero, zero
    for upright in tl.static_range(2):
        place = edge + upright * edges
        first = tl.load(sums + place - 1, mask=exists & (place > 0), other=0)
        size = tl.load(sums + place, mask=exists, other=0) - first
        at_start, at_end = zero, zero
        for i in range(tl.max(size, axis=0)):
            more = i < size
            slide = tl.load(slides + first + i, mask=more, other=0.0)
            share = tl.load(along + first + i, mask=more, other=0.0)
            at_start += (1.0 - share) * slide
            at_end += share * slide
        some = size > 0
        if upright:
            slope = tl.where(some, (qy - py) / tl.where(some, qx - px, 1.0), 0.0)
            ay += at_start
            by += at_end
            ax -= slope * at_start
            bx -= slope * at_end
        else:
            slope = tl.where(some, (qx - px) / tl.where(some, qy - py, 1.0), 0.0)
            ax += at_start
            bx += at_end
            ay -= slope * at_start
            by -= slope * at_end
    tl.store(out + 4 * edge, ax, mask=exists)
    tl.store(out + 4 * edge + 1, ay, mask=exists)
    tl.store(out + 4 * edge + 2, bx, mask=exists)
    tl.store(out + 4 * edge + 3, by, mask=exists)


def edge_gradients(h: Tensor, edges: Edges, crossings: Crossings, slides: Tensor) -> Tensor:
    """dL/dx and dL/dy of both ends of each edge. Shape (2 S, 2) float64."""
    count = len(edges.side)
    out = torch.empty(2 * count, 2, dtype=torch.float64, device=h.device)
    launch(
        _edge_gradients,
        blocks(count, 64),
        h,
        edges.ends,
        edges.sums,
        crossings.along,
        slides,
        out,
        count,
        64,
    )
    return out
