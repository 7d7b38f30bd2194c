"""`interpolate` in Triton, as the operators `diffrender::triton_interpolate...`.

Twin: `torch_raster.interpolate`; maths: native/src/interpolate.cpp. Corner j of face f reads row
faces[f, j] of the attributes, or row 3 f + j when attributes belong to corners.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native.operators import plain
from diffrender.raster._triton import (
    Block,
    Pointer,
    blocks,
    constexpr,
    define,
    i64,
    kernel,
    launch,
    library,
    power_of_two,
    tl,
)
from diffrender.raster.triton_sums import corner_sums, ranges, to_vertices

__all__ = ["interpolate"]

_BLOCK = 64
_CHANNELS = 16  # at once


@kernel
def _corner(faces: Pointer, face: Block, j: Block, hit: Block, CORNERS: constexpr) -> Block:
    """The row of the attributes that corner j of a face reads."""
    row = 3 * face + j
    if not CORNERS:
        row = tl.load(faces + row, mask=hit, other=0)
    return row


@kernel
def _interpolate(
    values: Pointer,
    faces: Pointer,
    face: Pointer,
    bary: Pointer,
    out: Pointer,
    pixels: i64,
    layers: i64,
    channels: i64,
    CORNERS: constexpr,
    BLOCK: constexpr,
    CHANNELS: constexpr,
) -> None:
    groups = (channels + CHANNELS - 1) // CHANNELS
    program = tl.program_id(0).to(tl.int64)
    at = program // groups * BLOCK + tl.arange(0, BLOCK)
    channel = program % groups * CHANNELS + tl.arange(0, CHANNELS)
    exists = at < pixels
    which = tl.load(face + at * layers, mask=exists, other=-1)
    hit = which >= 0
    mask = hit[:, None] & (channel < channels)[None, :]
    total = tl.zeros((BLOCK, CHANNELS), dtype=tl.float64)
    for j in tl.static_range(3):
        row = _corner(faces, which, j, hit, CORNERS)
        weight = tl.load(bary + 3 * layers * at + j, mask=hit, other=0.0).to(tl.float64)
        where = row[:, None] * channels + channel[None, :]
        total += weight[:, None] * tl.load(values + where, mask=mask, other=0.0)
    store = exists[:, None] & (channel < channels)[None, :]
    tl.store(out + at[:, None] * channels + channel[None, :], total, mask=store)


@kernel
def _weights_backward(
    values: Pointer,
    faces: Pointer,
    face: Pointer,
    grad: Pointer,
    out: Pointer,
    pixels: i64,
    layers: i64,
    channels: i64,
    CORNERS: constexpr,
    BLOCK: constexpr,
    CHANNELS: constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    exists = at < pixels
    which = tl.load(face + at * layers, mask=exists, other=-1)
    hit = which >= 0
    for j in tl.static_range(3):
        row = _corner(faces, which, j, hit, CORNERS)
        total = tl.zeros((BLOCK, CHANNELS), dtype=tl.float64)
        for first in range(0, channels, CHANNELS):
            channel = first + tl.arange(0, CHANNELS)
            mask = hit[:, None] & (channel < channels)[None, :]
            g = tl.load(grad + at[:, None] * channels + channel[None, :], mask=mask, other=0.0)
            where = row[:, None] * channels + channel[None, :]
            v = tl.load(values + where, mask=mask, other=0.0)
            total += g.to(tl.float64) * v.to(tl.float64)
        tl.store(out + 3 * layers * at + j, tl.sum(total, axis=1), mask=exists)


def _forward(
    values: Tensor, faces: Tensor | None, face: Tensor, bary: Tensor, layer: int
) -> Tensor:
    out = _fake(values, faces, face, bary, layer)
    layers, channels = face.shape[-1], values.shape[1]
    pixels, width = face.numel() // layers, min(power_of_two(channels), _CHANNELS)
    launch(
        _interpolate,
        blocks(pixels, _BLOCK) * blocks(channels, width),
        values,
        face if faces is None else faces,
        face.flatten()[layer:],
        bary.flatten()[3 * layer :],
        out,
        pixels,
        layers,
        channels,
        faces is None,
        _BLOCK,
        width,
    )
    return out


def _fake(values: Tensor, faces: Tensor | None, face: Tensor, bary: Tensor, layer: int) -> Tensor:
    return values.new_empty((*face.shape[:-1], values.shape[1]))


def _backward(
    values: Tensor,
    faces: Tensor | None,
    face: Tensor,
    bary: Tensor,
    grad: Tensor,
    layer: int,
    want_values: bool,
    want_bary: bool,
) -> tuple[Tensor, Tensor]:
    layers, channels = face.shape[-1], values.shape[1]
    pixels = face.numel() // layers
    grad_values, grad_bary = values.new_empty(0), bary.new_empty(0)
    if want_bary:
        grad_bary = torch.zeros_like(bary)
        launch(
            _weights_backward,
            blocks(pixels, _BLOCK),
            values,
            face if faces is None else faces,
            face.flatten()[layer:],
            grad,
            grad_bary.view(-1)[3 * layer :],
            pixels,
            layers,
            channels,
            faces is None,
            _BLOCK,
            min(power_of_two(channels), _CHANNELS),
        )
    if want_values:
        count = len(values) // 3 if faces is None else len(faces)
        seen = ranges(face[..., layer].reshape(-1), count)
        weights = bary.reshape(pixels, layers, 3)[:, layer]
        sums = corner_sums(seen, weights, grad.reshape(pixels, channels)).reshape(-1, channels)
        if faces is None:
            grad_values = sums.to(values.dtype)
        else:
            grad_values = to_vertices(sums, faces.reshape(-1), torch.empty_like(values))
    return grad_values, grad_bary


def _backward_fake(
    values: Tensor,
    faces: Tensor | None,
    face: Tensor,
    bary: Tensor,
    grad: Tensor,
    layer: int,
    want_values: bool,
    want_bary: bool,
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(values) if want_values else values.new_empty(0),
        torch.empty_like(bary) if want_bary else bary.new_empty(0),
    )


_name = define(
    "triton_interpolate(Tensor values, Tensor? faces, Tensor face, Tensor bary, int layer) "
    "-> Tensor",
    _forward,
    _fake,
)
define(
    "triton_interpolate_backward(Tensor values, Tensor? faces, Tensor face, Tensor bary, "
    "Tensor grad, int layer, bool want_values, bool want_bary) -> (Tensor, Tensor)",
    _backward,
    _backward_fake,
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.layer = inputs
    ctx.save_for_backward(*tensors)


def _grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    want_values, want_bary = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
    grad_values, grad_bary = torch.ops.diffrender.triton_interpolate_backward(
        *ctx.saved_tensors, plain(grad), ctx.layer, want_values, want_bary
    )
    return (
        grad_values if want_values else None,
        None,
        None,
        grad_bary if want_bary else None,
        None,
    )


torch.library.register_autograd(_name, _grad, setup_context=_setup, lib=library)


def interpolate(
    attributes: Tensor,  # (sum V, C) or (sum F, 3, C)
    faces: Tensor | None,  # (sum F, 3), None for face corners
    face: Tensor,  # (B, H, W, K)
    bary: Tensor,  # (B, H, W, K, 3)
    layer: int,
) -> Tensor:
    """Attributes at pixels, 0 where `face` is -1. Shape (B, H, W, C)."""
    return torch.ops.diffrender.triton_interpolate(
        plain(attributes.reshape(-1, attributes.shape[-1])),
        faces,
        plain(face),
        plain(bary),
        layer,
    )
