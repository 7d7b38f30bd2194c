"""`interpolate` with its gradient straight to the vertices; see `_native_ops.py` for how they work.

The forward pass is that of `_interpolate_ops.py`. The gradient with respect to the barycentrics is
never written out, which is worth a third of the backward pass. Only for barycentrics that come
from `rasterize` with the same homogeneous vertices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.raster._interpolate_ops import backward_fake, fake, forward, setup
from diffrender.raster._native_ops import (
    define,
    differentiable,
    image_by_image,
    kernel,
    pointer,
    room,
    two_gradients,
)

__all__ = ["interpolate_through"]


def _forward(values: Tensor, h: Tensor, *rest: Any) -> Tensor:
    return forward(values, *rest)


def _fake(values: Tensor, h: Tensor, *rest: Any) -> Tensor:
    return fake(values, *rest)


def _backward(
    values: Tensor,
    h: Tensor,
    bary: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    grad: Tensor,
    layer: int,
    corners: bool,
    want_values: bool,
    want_h: bool,
) -> tuple[Tensor, Tensor]:
    layers = face.shape[-1]
    grad_values, grad_h = room(values, want_values), room(h, want_h)
    launch = kernel("interpolate_through", "pppp iiiiii pipp i pp", values.dtype)

    def run(offsets: Tensor, images: int, pixels: int) -> int:
        return launch(
            values.data_ptr(),
            h.data_ptr(),
            faces.data_ptr(),
            offsets.data_ptr(),
            images,
            values.shape[0],
            h.shape[0],
            values.shape[1],
            pixels,
            corners,
            face.data_ptr() + 8 * layer,
            layers,
            bary.data_ptr() + 3 * layer * bary.element_size(),
            grad.data_ptr(),
            kernel_threads(),
            pointer(grad_values) if want_values else None,
            pointer(grad_h) if want_h else None,
        )

    image_by_image(face, face_offsets, faces.shape[0], run)
    return grad_values, grad_h


_TENSORS = "Tensor values, Tensor h, Tensor bary, Tensor faces, Tensor face_offsets, Tensor face"
define(
    f"interpolate_through_backward({_TENSORS}, Tensor grad, int layer, bool corners, "
    "bool want_values, bool want_h) -> (Tensor, Tensor)",
    _backward,
    backward_fake,
)
interpolate_through = differentiable(
    define(f"interpolate_through({_TENSORS}, int layer, bool corners) -> Tensor", _forward, _fake),
    _forward,
    setup,
    two_gradients(_backward),
    two_gradients(lambda *arguments: torch.ops.diffrender.interpolate_through_backward(*arguments)),
)
