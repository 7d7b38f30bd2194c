"""Sums in a fixed order: pixels to corners of faces, and rows to vertices.

Nothing is added atomically. Elements are brought together by a stable sort (of pixels by face, of
corners by vertex), then one program adds up a range from front to back, lane by lane, and the
lanes at the end, in float64. The order depends on shapes and indices only, so two runs give the
same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.raster._triton import (
    Pointer,
    blocks,
    constexpr,
    i64,
    kernel,
    launch,
    power_of_two,
    tl,
)

__all__ = ["Ranges", "corner_sums", "ranges", "row_sums", "to_vertices"]

_BLOCK = 64
_SLICE = 2048  # elements of a range that one program should add up, about
_CHANNELS = 16  # at once


@dataclass(frozen=True, eq=False)
class Ranges:
    """Elements brought together by their number."""

    order: Tensor  # (N,) int64, elements sorted by number
    starts: Tensor  # (count + 1,) int64, where those of each number begin


def ranges(numbers: Tensor, count: int) -> Ranges:
    """Elements with numbers 0 ... count - 1 (others, such as -1, are left out). Shape (N,)."""
    ordered, order = numbers.to(torch.int32).sort(stable=True)
    marks = torch.arange(count + 1, device=numbers.device, dtype=torch.int32)
    return Ranges(order, torch.searchsorted(ordered, marks))


@kernel
def _corner_sums(
    order: Pointer,
    starts: Pointer,
    bary: Pointer,
    values: Pointer,
    out: Pointer,
    faces: i64,
    bary_stride: i64,
    channels: i64,
    slices: i64,
    BLOCK: constexpr,
    CHANNELS: constexpr,
) -> None:
    program = tl.program_id(0).to(tl.int64)
    face = program // slices % faces
    part = program % slices
    channel = program // (slices * faces) * CHANNELS + tl.arange(0, CHANNELS)
    some = channel < channels
    first = tl.load(starts + face)
    size = tl.load(starts + face + 1) - first
    step = (size + slices - 1) // slices
    begin = tl.minimum(part * step, size)
    end = tl.minimum(begin + step, size)
    zero = tl.zeros((BLOCK, CHANNELS), dtype=tl.float64)
    sum0, sum1, sum2 = zero, zero, zero
    for i in range(first + begin, first + end, BLOCK):
        at = i + tl.arange(0, BLOCK)
        mask = at < first + end
        pixel = tl.load(order + at, mask=mask, other=0)
        where = pixel[:, None] * channels + channel[None, :]
        value = tl.load(values + where, mask=mask[:, None] & some[None, :], other=0.0)
        value = value.to(tl.float64)
        weight = bary + pixel * bary_stride
        sum0 += tl.load(weight, mask=mask, other=0.0).to(tl.float64)[:, None] * value
        sum1 += tl.load(weight + 1, mask=mask, other=0.0).to(tl.float64)[:, None] * value
        sum2 += tl.load(weight + 2, mask=mask, other=0.0).to(tl.float64)[:, None] * value
    row = out + (face * slices + part) * 3 * channels + channel
    tl.store(row, tl.sum(sum0, axis=0), mask=some)
    tl.store(row + channels, tl.sum(sum1, axis=0), mask=some)
    tl.store(row + 2 * channels, tl.sum(sum2, axis=0), mask=some)


def corner_sums(
    pixels: Ranges,
    bary: Tensor,  # (N, 3), rows may be further apart
    values: Tensor,  # (N, C)
) -> Tensor:
    """Sums over each face's pixels of b_j values. Shape (F, 3, C) float64."""
    faces, channels = len(pixels.starts) - 1, values.shape[1]
    # Few large faces are cut into slices, so that more programs share them.
    slices = power_of_two(min(256, len(values) // (_SLICE * max(faces, 1)) + 1))
    out = torch.empty(faces, slices, 3, channels, dtype=torch.float64, device=values.device)
    width = min(power_of_two(channels), _CHANNELS)
    launch(
        _corner_sums,
        faces * slices * blocks(channels, width),
        pixels.order,
        pixels.starts,
        bary,
        values,
        out,
        faces,
        bary.stride(0),
        channels,
        slices,
        _BLOCK,
        width,
    )
    return out[:, 0] if slices == 1 else out.sum(1)


@kernel
def _row_sums(
    values: Pointer,
    ends: Pointer,
    out: Pointer,
    first_row: i64,
    before: i64,
    channels: i64,
    BLOCK: constexpr,
    CHANNELS: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) + first_row
    begin = tl.load(ends + row - 1, mask=row > 0, other=0) - before
    end = tl.load(ends + row) - before
    channel = tl.arange(0, CHANNELS)
    some = channel < channels
    total = tl.zeros((BLOCK, CHANNELS), dtype=tl.float64)
    for i in range(begin, end, BLOCK):
        at = i + tl.arange(0, BLOCK)
        mask = (at < end)[:, None] & some[None, :]
        total += tl.load(values + at[:, None] * channels + channel[None, :], mask=mask, other=0.0)
    tl.store(out + row * channels + channel, tl.sum(total, axis=0), mask=some)


def row_sums(
    values: Tensor,  # (N, C) float64
    ends: Tensor,  # (R,) int64, running sums of the lengths of rows
    out: Tensor,  # (R, C) float64
    rows: tuple[int, int],
    before: int,
) -> None:
    """Fill rows [first, last) of `out` with sums of consecutive `values`, from `before` on."""
    channels = values.shape[1]
    launch(
        _row_sums,
        rows[1] - rows[0],
        values,
        ends,
        out,
        rows[0],
        before,
        channels,
        32,
        power_of_two(channels),
        warps=1,
    )


@kernel
def _to_vertices(
    order: Pointer,
    starts: Pointer,
    values: Pointer,
    out: Pointer,
    vertices: i64,
    channels: i64,
    BLOCK: constexpr,
    CHANNELS: constexpr,
) -> None:
    groups = (channels + CHANNELS - 1) // CHANNELS
    program = tl.program_id(0).to(tl.int64)
    vertex = program // groups * BLOCK + tl.arange(0, BLOCK)
    channel = program % groups * CHANNELS + tl.arange(0, CHANNELS)
    exists = vertex < vertices
    first = tl.load(starts + vertex, mask=exists, other=0)
    size = tl.load(starts + vertex + 1, mask=exists, other=0) - first
    mask = exists[:, None] & (channel < channels)[None, :]
    total = tl.zeros((BLOCK, CHANNELS), dtype=tl.float64)
    for i in range(tl.max(size, axis=0)):
        more = i < size
        row = tl.load(order + first + i, mask=more, other=0)
        where = row[:, None] * channels + channel[None, :]
        total += tl.load(values + where, mask=mask & more[:, None], other=0.0)
    tl.store(out + vertex[:, None] * channels + channel[None, :], total, mask=mask)


def to_vertices(
    values: Tensor,  # (N, C) float64
    vertex: Tensor,  # (N,) int64, whose each row is
    out: Tensor,  # (V, C)
) -> Tensor:
    """Fill `out` with the sums of the rows of each vertex, in the order of rows."""
    rows = ranges(vertex, len(out))
    channels = values.shape[1]
    width = min(power_of_two(channels), _CHANNELS)
    launch(
        _to_vertices,
        blocks(len(out), _BLOCK) * blocks(channels, width),
        rows.order,
        rows.starts,
        values,
        out,
        len(out),
        channels,
        _BLOCK,
        width,
    )
    return out
