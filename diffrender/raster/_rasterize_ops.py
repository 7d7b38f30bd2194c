"""The rasterization kernels as torch operators; see `_native_ops.py` for how they work."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.native.operators import plain
from diffrender.raster._native_ops import check_status, define, differentiable, kernel, pointer

__all__ = ["rasterize"]


def _forward(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    shape: list[int],
    cull: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    count = face_offsets.shape[0] - 1
    face, bary, depth = _fake(h, faces, vertex_offsets, face_offsets, shape, cull)
    height, width, layers = shape[-3:]
    culprit = ctypes.c_int64()
    status = kernel("rasterize", "pppp iiiiii pppp", h.dtype)(
        h.data_ptr(),
        faces.data_ptr(),
        vertex_offsets.data_ptr(),
        face_offsets.data_ptr(),
        count,
        height,
        width,
        layers,
        cull,
        kernel_threads(),
        face.data_ptr(),
        bary.data_ptr(),
        depth.data_ptr(),
        ctypes.addressof(culprit),
    )
    if status:
        check_status(status, culprit.value)
    return face, bary, depth


def _fake(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    shape: list[int],
    cull: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    face = torch.empty(shape, dtype=torch.int64, device=h.device)
    return face, h.new_empty((*shape, 3)), h.new_empty(shape)


def _backward(
    h: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    bary: Tensor,
    depth: Tensor,
    grad_bary: Tensor | None,
    grad_depth: Tensor | None,
) -> Tensor:
    grad = torch.empty_like(h)
    count = face_offsets.shape[0] - 1
    height, width, layers = face.shape[-3:]
    status = kernel("rasterize_backward", "pipp iii ppppp i p", h.dtype)(
        h.data_ptr(),
        h.shape[0],
        faces.data_ptr(),
        face_offsets.data_ptr(),
        count,
        height * width,
        layers,
        face.data_ptr(),
        bary.data_ptr(),
        depth.data_ptr(),
        pointer(grad_bary),
        pointer(grad_depth),
        kernel_threads(),
        grad.data_ptr(),
    )
    if status:
        check_status(status)
    return grad


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    h, faces, _, face_offsets, *_ = inputs
    face, bary, depth = output
    ctx.mark_non_differentiable(face)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(h, faces, face_offsets, face, bary, depth)


def _gradient(run: Any) -> Any:
    def grad(
        ctx: Any, _: None, grad_bary: Tensor | None, grad_depth: Tensor | None
    ) -> tuple[Any, ...]:
        if grad_bary is None and grad_depth is None:
            return (None,) * 6
        grad_h = run(
            *ctx.saved_tensors,
            None if grad_bary is None else plain(grad_bary),
            None if grad_depth is None else plain(grad_depth),
        )
        return (grad_h, *(None,) * 5)

    return grad


define(
    "rasterize_backward(Tensor h, Tensor faces, Tensor face_offsets, Tensor face, Tensor bary, "
    "Tensor depth, Tensor? grad_bary, Tensor? grad_depth) -> Tensor",
    _backward,
    lambda h, *_: torch.empty_like(h),
)
rasterize = differentiable(
    define(
        "rasterize(Tensor h, Tensor faces, Tensor vertex_offsets, Tensor face_offsets, "
        "SymInt[] shape, bool cull) -> (Tensor, Tensor, Tensor)",
        _forward,
        _fake,
    ),
    _forward,
    _setup,
    _gradient(_backward),
    _gradient(lambda *arguments: torch.ops.diffrender.rasterize_backward(*arguments)),
)
