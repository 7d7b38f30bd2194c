"""The interpolation kernels as torch operators; see `_native_ops.py` for how they work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.raster._native_ops import (
    check_status,
    define,
    differentiable,
    image_by_image,
    kernel,
    pointer,
    room,
    two_gradients,
)

__all__ = ["backward_fake", "fake", "forward", "interpolate", "setup"]


def forward(
    values: Tensor,
    bary: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    layer: int,
    corners: bool,
) -> Tensor:
    out = values.new_empty((*face.shape[:-1], values.shape[1]))
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


def fake(
    values: Tensor, bary: Tensor, faces: Tensor, face_offsets: Tensor, face: Tensor, *_: Any
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
    layers = face.shape[-1]
    grad_values = room(values, want_values)
    whole = torch.empty_like if layers == 1 else torch.zeros_like  # the other layers get nothing
    grad_bary = whole(bary) if want_bary else bary.new_empty(0)
    offset = 3 * layer * bary.element_size()
    launch = kernel("interpolate_backward", "ppp iiii pi pi p i pp", values.dtype)

    def run(offsets: Tensor, images: int, pixels: int) -> int:
        return launch(
            values.data_ptr(),
            None if corners else faces.data_ptr(),
            offsets.data_ptr(),
            images,
            values.shape[0],
            values.shape[1],
            pixels,
            face.data_ptr() + 8 * layer,
            layers,
            bary.data_ptr() + offset,
            3 * layers,
            grad.data_ptr(),
            kernel_threads(),
            pointer(grad_values) if want_values else None,
            grad_bary.data_ptr() + offset if want_bary else None,
        )

    image_by_image(face, face_offsets, faces.shape[0], run)
    return grad_values, grad_bary


def backward_fake(values: Tensor, second: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    want_values, want_second = rest[-2:]
    return room(values, want_values), room(second, want_second)


def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, layer, corners = inputs
    ctx.options = (layer, corners)
    ctx.save_for_backward(*tensors)


_TENSORS = "Tensor values, Tensor bary, Tensor faces, Tensor face_offsets, Tensor face"
define(
    f"interpolate_backward({_TENSORS}, Tensor grad, int layer, bool corners, bool want_values, "
    "bool want_bary) -> (Tensor, Tensor)",
    _backward,
    backward_fake,
)
interpolate = differentiable(
    define(f"interpolate({_TENSORS}, int layer, bool corners) -> Tensor", forward, fake),
    forward,
    setup,
    two_gradients(_backward),
    two_gradients(lambda *arguments: torch.ops.diffrender.interpolate_backward(*arguments)),
)
