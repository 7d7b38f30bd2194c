"""The antialiasing kernels as torch operators; see `_native_ops.py` for how they work."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.native.operators import plain
from diffrender.raster._native_ops import check_status, define, differentiable, kernel

__all__ = ["antialias"]


def _forward(
    image: Tensor,
    h: Tensor,
    face: Tensor,
    depth: Tensor,
    vertex_offsets: Tensor,
    index: Tensor,
    edge_offsets: Tensor,
    edges: Tensor,
    opposite_offsets: Tensor,
    opposite: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    count = vertex_offsets.shape[0] - 1
    height, width, channels = image.shape[-3:]
    out = torch.empty_like(image)
    total, kept = ctypes.c_int64(), ctypes.c_void_p()
    status = kernel("antialias", "pppppp iiiii pppp i ppp", image.dtype)(
        vertex_offsets.data_ptr(),
        index.data_ptr(),
        edge_offsets.data_ptr(),
        edges.data_ptr(),
        opposite_offsets.data_ptr(),
        opposite.data_ptr(),
        count,
        height,
        width,
        channels,
        face.shape[-1],
        h.data_ptr(),
        face.data_ptr(),
        depth.data_ptr(),
        image.data_ptr(),
        kernel_threads(),
        out.data_ptr(),
        ctypes.addressof(total),
        ctypes.addressof(kept),
    )
    if status:
        check_status(status)
    found = total.value if keep else 0
    crossing = torch.empty(found, 4, dtype=torch.int32)
    weight = torch.empty(found, 4, dtype=torch.float64)
    difference = image.new_empty(found, channels)
    # Without a crossing the pointers are null and nothing is written, the counts of 0 neither.
    counts = torch.zeros(count, 2, dtype=torch.int64)
    kernel("antialias_take", "ppppp", image.dtype)(
        kept.value,
        crossing.data_ptr() if keep else None,
        weight.data_ptr(),
        difference.data_ptr(),
        counts.data_ptr(),
    )
    return out, crossing, weight, difference, counts


def _fake(
    image: Tensor, h: Tensor, face: Tensor, depth: Tensor, vertex_offsets: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    found = torch.library.get_ctx().new_dynamic_size()
    return (
        torch.empty_like(image),
        torch.empty(found, 4, dtype=torch.int32),
        torch.empty(found, 4, dtype=torch.float64),
        image.new_empty(found, image.shape[-1]),
        torch.empty(vertex_offsets.shape[0] - 1, 2, dtype=torch.int64),
    )


def _backward(
    h: Tensor,
    vertex_offsets: Tensor,
    crossing: Tensor,
    weight: Tensor,
    difference: Tensor,
    counts: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor]:
    count = vertex_offsets.shape[0] - 1
    height, width, channels = grad.shape[-3:]
    grad = plain(grad)
    grad_image, grad_h = torch.empty_like(grad), torch.empty_like(h)
    status = kernel("antialias_backward", "pp iiii ppppp i pp", h.dtype)(
        h.data_ptr(),
        vertex_offsets.data_ptr(),
        count,
        height,
        width,
        channels,
        crossing.data_ptr(),
        weight.data_ptr(),
        difference.data_ptr(),
        counts.data_ptr(),
        grad.data_ptr(),
        kernel_threads(),
        grad_image.data_ptr(),
        grad_h.data_ptr(),
    )
    if status:
        check_status(status)
    return grad_image, grad_h


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, h, _, _, vertex_offsets, *_ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(h, vertex_offsets, *output[1:])


def _gradient(run: Any) -> Any:
    def grad(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Any, ...]:
        if grad is None:
            return (None,) * 11
        grad_image, grad_h = run(*ctx.saved_tensors, grad)
        return (grad_image, grad_h, *(None,) * 9)

    return grad


define(
    "antialias_backward(Tensor h, Tensor vertex_offsets, Tensor crossing, Tensor weight, "
    "Tensor difference, Tensor counts, Tensor grad) -> (Tensor, Tensor)",
    _backward,
    lambda h, *rest: (torch.empty_like(rest[-1]), torch.empty_like(h)),
)
antialias = differentiable(
    define(
        "antialias(Tensor image, Tensor h, Tensor face, Tensor depth, Tensor vertex_offsets, "
        "Tensor index, Tensor edge_offsets, Tensor edges, Tensor opposite_offsets, "
        "Tensor opposite, bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        _forward,
        _fake,
    ),
    _forward,
    _setup,
    _gradient(_backward),
    _gradient(lambda *arguments: torch.ops.diffrender.antialias_backward(*arguments)),
)
