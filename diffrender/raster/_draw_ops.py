"""The kernels that draw attributes in one pass as torch operators; see `_native_ops.py`.

With a camera (k, r, t) the points are projected here too, so that a step is one node of autograd's
graph; without one they are homogeneous pixels already.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.raster import _project_ops
from diffrender.raster._native_ops import check_status, define, differentiable, kernel

__all__ = ["draw"]

_Drawn = tuple[Tensor, Tensor, Tensor, Tensor]


def _forward(
    points: Tensor,
    k: Tensor | None,
    r: Tensor | None,
    t: Tensor | None,
    values: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    index: Tensor,
    edge_offsets: Tensor,
    edges: Tensor,
    opposite_offsets: Tensor,
    opposite: Tensor,
    shape: list[int],
    corners: bool,
    cull: bool,
    keep: bool,
) -> _Drawn:
    h = points
    if k is not None and r is not None and t is not None:
        h = _project_ops.forward(points, vertex_offsets, k, r, t)
    height, width = shape[-2:]
    channels = values.shape[1]
    shown = torch.empty(shape, dtype=torch.int32)
    image = h.new_empty((*shape, channels))
    found, kept, culprit = ctypes.c_int64(), ctypes.c_void_p(), ctypes.c_int64()
    status = kernel("draw", "pppp iiii ppppp p iii pp ppp", h.dtype)(
        h.data_ptr(),
        faces.data_ptr(),
        vertex_offsets.data_ptr(),
        face_offsets.data_ptr(),
        face_offsets.shape[0] - 1,
        height,
        width,
        cull,
        index.data_ptr(),
        edge_offsets.data_ptr(),
        edges.data_ptr(),
        opposite_offsets.data_ptr(),
        opposite.data_ptr(),
        values.data_ptr(),
        corners,
        channels,
        kernel_threads(),
        shown.data_ptr(),
        image.data_ptr(),
        ctypes.addressof(found),
        ctypes.addressof(kept),
        ctypes.addressof(culprit),
    )
    if status:
        check_status(status, culprit.value)
    crossings = torch.empty(found.value if keep else 0, dtype=torch.uint8)
    kernel("draw_take", "pp", h.dtype)(kept.value, crossings.data_ptr() if keep else None)
    return image, h if k is not None else h.new_empty(0), shown, crossings


def _fake(points: Tensor, k: Tensor | None, *rest: Any) -> _Drawn:
    values, shape = rest[2], rest[11]
    return (
        points.new_empty((*shape, values.shape[1])),
        torch.empty_like(points) if k is not None else points.new_empty(0),
        torch.empty(shape, dtype=torch.int32),
        torch.empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.uint8),
    )


def _backward(
    h: Tensor,
    values: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    shown: Tensor,
    crossings: Tensor,
    grad: Tensor,
    corners: bool,
) -> tuple[Tensor, Tensor]:
    grad = grad.contiguous()
    grad_values, grad_h = torch.empty_like(values), torch.empty_like(h)
    height, width, channels = grad.shape[-3:]
    status = kernel("draw_backward", "pppp iii p iii ppp i pp", h.dtype)(
        h.data_ptr(),
        faces.data_ptr(),
        vertex_offsets.data_ptr(),
        face_offsets.data_ptr(),
        face_offsets.shape[0] - 1,
        height,
        width,
        values.data_ptr(),
        corners,
        values.shape[0],
        channels,
        shown.data_ptr(),
        crossings.data_ptr(),
        grad.data_ptr(),
        kernel_threads(),
        grad_values.data_ptr(),
        grad_h.data_ptr(),
    )
    if status:
        check_status(status)
    return grad_values, grad_h


def _setup(ctx: Any, inputs: tuple[Any, ...], output: _Drawn) -> None:
    points, k, r, t, values, faces, vertex_offsets, face_offsets, *_ = inputs
    _, h, shown, crossings = output
    ctx.corners = inputs[14]
    ctx.mark_non_differentiable(h, shown, crossings)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(
        points, k, r, t, values, faces, vertex_offsets, face_offsets, h, shown, crossings
    )


def _gradient(run: Any, run_project: Any) -> Any:
    def grad(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Any, ...]:
        if grad is None:
            return (None,) * 17
        points, k, r, t, values, faces, vertex_offsets, *rest = ctx.saved_tensors
        face_offsets, h, shown, crossings = rest
        grad_values, grad_h = run(
            h if k is not None else points,
            values,
            faces,
            vertex_offsets,
            face_offsets,
            shown,
            crossings,
            grad,
            ctx.corners,
        )
        want_points, *want_camera, want_values = ctx.needs_input_grad[:5]
        found = (grad_h, None, None, None)
        if k is not None and (want_points or any(want_camera)):
            found = run_project(
                points, vertex_offsets, k, r, t, grad_h, want_points, any(want_camera)
            )
        by_camera = (g if want else None for g, want in zip(found[1:], want_camera, strict=True))
        return (
            found[0] if want_points else None,
            *by_camera,
            grad_values if want_values else None,
            *(None,) * 12,
        )

    return grad


define(
    "draw_backward(Tensor h, Tensor values, Tensor faces, Tensor vertex_offsets, "
    "Tensor face_offsets, Tensor shown, Tensor crossings, Tensor grad, bool corners) "
    "-> (Tensor, Tensor)",
    _backward,
    lambda h, values, *_: (torch.empty_like(values), torch.empty_like(h)),
)
draw = differentiable(
    define(
        "draw(Tensor points, Tensor? k, Tensor? r, Tensor? t, Tensor values, Tensor faces, "
        "Tensor vertex_offsets, Tensor face_offsets, Tensor index, Tensor edge_offsets, "
        "Tensor edges, Tensor opposite_offsets, Tensor opposite, SymInt[] shape, bool corners, "
        "bool cull, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
        _forward,
        _fake,
    ),
    _forward,
    _setup,
    _gradient(_backward, _project_ops.backward),
    _gradient(
        lambda *arguments: torch.ops.diffrender.draw_backward(*arguments),
        lambda *arguments: torch.ops.diffrender.project_backward(*arguments),
    ),
)
