"""The point kernel as a torch operator; see `_native_ops.py` for how they work."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.native.operators import once, plain
from diffrender.raster._native_ops import check_status, define, kernel, library

__all__ = ["ops"]

_SCENE = "Tensor h, Tensor radius, Tensor offsets, int height, int width, int layers"


def _fake(
    h: Tensor, radius: Tensor, offsets: Tensor, height: int, width: int, layers: int
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (offsets.shape[0] - 1, height, width, layers)
    point = torch.empty(shape, dtype=torch.int64, device=h.device)
    return point, h.new_empty(shape), h.new_empty(shape)


def _forward(
    h: Tensor, radius: Tensor, offsets: Tensor, height: int, width: int, layers: int
) -> tuple[Tensor, Tensor, Tensor]:
    found = _fake(h, radius, offsets, height, width, layers)
    culprit = ctypes.c_int64()
    status = kernel("rasterize_points", "p iiii pp i ppp p", h.dtype)(
        offsets.data_ptr(),
        *found[0].shape,
        h.data_ptr(),
        radius.data_ptr(),
        kernel_threads(),
        *(t.data_ptr() for t in found),
        ctypes.addressof(culprit),
    )
    check_status(status, culprit.value)
    return found


def _backward(
    h: Tensor, offsets: Tensor, point: Tensor, grad_depth: Tensor, grad_square: Tensor
) -> Tensor:
    grad_h = torch.zeros_like(h)
    status = kernel("rasterize_points_backward", "p iiii pppp i p", h.dtype)(
        offsets.data_ptr(),
        *point.shape,
        h.data_ptr(),
        point.data_ptr(),
        grad_depth.data_ptr(),
        grad_square.data_ptr(),
        kernel_threads(),
        grad_h.data_ptr(),
    )
    check_status(status)
    return grad_h


define(f"rasterize_points({_SCENE}) -> (Tensor, Tensor, Tensor)", _forward, _fake)
define(
    "rasterize_points_backward(Tensor h, Tensor offsets, Tensor point, Tensor grad_depth, "
    "Tensor grad_square) -> Tensor",
    _backward,
    lambda h, *_: torch.empty_like(h),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(output[0])
    ctx.save_for_backward(inputs[0], inputs[2], output[0])


def _grad(ctx: Any, _: None, grad_depth: Tensor, grad_square: Tensor) -> tuple[Any, ...]:
    grad_h = torch.ops.diffrender.rasterize_points_backward(
        *ctx.saved_tensors, plain(grad_depth), plain(grad_square)
    )
    return grad_h, *([None] * 5)


torch.library.register_autograd(
    "diffrender::rasterize_points", once(_grad), setup_context=_setup, lib=library
)

ops = torch.ops.diffrender
