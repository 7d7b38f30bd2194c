"""The interpolation kernels as torch operators; see `_native_ops.py` for how they work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.raster._native_ops import check_status, define, differentiable, kernel, pointer

__all__ = ["forward", "interpolate"]


def forward(
    values: Tensor,
    bary: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    layer: int,
    corners: bool,
) -> Tensor:
    out = _fake(values, bary, faces, face_offsets, face, layer, corners)
    layers = face.shape[-1]
    status = kernel("interpolate", "pp iii pi pi ii p", values.dtype)(
        values.data_ptr(),
        None if corners else faces.data_ptr(),
        values.shape[0],
        faces.shape[0],
        values.shape[1],
        face.data_ptr() + 8 * layer,
        layers,
        bary.data_ptr() + 3 * layer * bary.element_size(),
        3 * layers,
        face.numel() // layers,
        kernel_threads(),
        out.data_ptr(),
    )
    if status:
        check_status(status)
    return out


def _fake(
    values: Tensor,
    bary: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    layer: int,
    corners: bool,
) -> Tensor:
    return values.new_empty((*face.shape[:-1], values.shape[1]))


def _backward(
    values: Tensor,
    bary: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    grad: Tensor,
    layer: int,
    corners: bool,
    want_values: bool,
    want_bary: bool,
) -> tuple[Tensor, Tensor]:
    count = face_offsets.shape[0] - 1
    height, width, layers = face.shape[-3:]
    grad_values = torch.empty_like(values) if want_values else values.new_empty(0)
    whole = torch.empty_like if layers == 1 else torch.zeros_like  # the other layers get nothing
    grad_bary = whole(bary) if want_bary else bary.new_empty(0)
    offset = 3 * layer * bary.element_size()
    status = kernel("interpolate_backward", "ppp iiii pi pi p i pp", values.dtype)(
        values.data_ptr(),
        None if corners else faces.data_ptr(),
        face_offsets.data_ptr(),
        count,
        values.shape[0],
        values.shape[1],
        height * width,
        face.data_ptr() + 8 * layer,
        layers,
        bary.data_ptr() + offset,
        3 * layers,
        grad.data_ptr(),
        kernel_threads(),
        pointer(grad_values) if want_values else None,
        grad_bary.data_ptr() + offset if want_bary else None,
    )
    if status:
        check_status(status)
    return grad_values, grad_bary


def _backward_fake(
    values: Tensor,
    bary: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    grad: Tensor,
    layer: int,
    corners: bool,
    want_values: bool,
    want_bary: bool,
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(values) if want_values else values.new_empty(0),
        torch.empty_like(bary) if want_bary else bary.new_empty(0),
    )


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.layer, ctx.corners = inputs
    ctx.save_for_backward(*tensors)


def _gradient(run: Any) -> Any:
    def grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        want_values, want_bary = ctx.needs_input_grad[:2]
        grad_values, grad_bary = run(
            *ctx.saved_tensors, grad.contiguous(), ctx.layer, ctx.corners, want_values, want_bary
        )
        return (
            grad_values if want_values else None,
            grad_bary if want_bary else None,
            *(None,) * 5,
        )

    return grad


_TENSORS = "Tensor values, Tensor bary, Tensor faces, Tensor face_offsets, Tensor face"
define(
    f"interpolate_backward({_TENSORS}, Tensor grad, int layer, bool corners, bool want_values, "
    "bool want_bary) -> (Tensor, Tensor)",
    _backward,
    _backward_fake,
)
interpolate = differentiable(
    define(f"interpolate({_TENSORS}, int layer, bool corners) -> Tensor", forward, _fake),
    forward,
    _setup,
    _gradient(_backward),
    _gradient(lambda *arguments: torch.ops.diffrender.interpolate_backward(*arguments)),
)
