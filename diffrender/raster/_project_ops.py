"""The projection kernels as torch operators; see `_native_ops.py` for how they work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.native.operators import plain
from diffrender.raster._native_ops import (
    check_status,
    define,
    differentiable,
    kernel,
    pointer,
    room,
)

__all__ = ["project"]


def _forward(points: Tensor, offsets: Tensor, k: Tensor, r: Tensor, t: Tensor) -> Tensor:
    h = torch.empty_like(points)
    status = kernel("project", "pp i ppp ii p", points.dtype)(
        points.data_ptr(),
        offsets.data_ptr(),
        offsets.shape[0] - 1,
        k.data_ptr(),
        r.data_ptr(),
        t.data_ptr(),
        k.dim() == 3,
        kernel_threads(),
        h.data_ptr(),
    )
    if status:
        check_status(status)
    return h


def _backward(
    points: Tensor,
    offsets: Tensor,
    k: Tensor,
    r: Tensor,
    t: Tensor,
    grad: Tensor,
    want_points: bool,
    want_camera: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    grads = _backward_fake(points, offsets, k, r, t, grad, want_points, want_camera)
    by_points, by_k, by_r, by_t = grads
    status = kernel("project_backward", "pp i ppp i p i pppp", points.dtype)(
        points.data_ptr(),
        offsets.data_ptr(),
        offsets.shape[0] - 1,
        k.data_ptr(),
        r.data_ptr(),
        t.data_ptr(),
        k.dim() == 3,
        grad.data_ptr(),
        kernel_threads(),
        pointer(by_points) if want_points else None,
        pointer(by_k) if want_camera else None,
        pointer(by_r) if want_camera else None,
        pointer(by_t) if want_camera else None,
    )
    if status:
        check_status(status)
    return grads


def _backward_fake(
    points: Tensor,
    offsets: Tensor,
    k: Tensor,
    r: Tensor,
    t: Tensor,
    grad: Tensor,
    want_points: bool,
    want_camera: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    by_k, by_r, by_t = (room(tensor, want_camera) for tensor in (k, r, t))
    return room(points, want_points), by_k, by_r, by_t


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(run: Any) -> Any:
    def grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        want_points, _, *want_camera = ctx.needs_input_grad
        found = run(*ctx.saved_tensors, plain(grad), want_points, any(want_camera))
        by_camera = (g if want else None for g, want in zip(found[1:], want_camera, strict=True))
        return (found[0] if want_points else None, None, *by_camera)

    return grad


_CAMERA = "Tensor points, Tensor offsets, Tensor k, Tensor r, Tensor t"
define(
    f"project_backward({_CAMERA}, Tensor grad, bool want_points, bool want_camera) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _backward_fake,
)
project = differentiable(
    define(f"project({_CAMERA}) -> Tensor", _forward, lambda points, *_: torch.empty_like(points)),
    _forward,
    _setup,
    _gradient(_backward),
    _gradient(lambda *arguments: torch.ops.diffrender.project_backward(*arguments)),
)
