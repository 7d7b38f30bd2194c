"""The kernels that draw attributes in one pass as torch operators; see `_native_ops.py`.

With a camera (k, r, t) the points are projected here too, so that a step is one node of autograd's
graph; without one they are homogeneous pixels already. In eager mode the node takes few arguments
and gives one output, since each costs as much as a hundred pixels.
"""

from __future__ import annotations

from array import array
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.raster._native_ops import check_status, define, kernel, library, pointer

__all__ = ["draw"]

_Maybe = Tensor | None
_ARGUMENTS = 17  # of the operator


def _call(
    points: Tensor,
    k: _Maybe,
    r: _Maybe,
    t: _Maybe,
    values: Tensor,
    scene: tuple[Tensor, ...],
    shape: list[int],
    corners: bool,
    cull: bool,
    h: _Maybe,
    shown: Tensor,
) -> array[int]:
    """DrawCall of native/src/drawn.h; `scene` is faces, vertex and face offsets, edge tables."""
    offsets = scene[2]
    tensors = [tensor.data_ptr() for tensor in scene]
    return array(
        "q",
        (
            points.data_ptr(),
            *((0, 0, 0) if k is None else (k.data_ptr(), r.data_ptr(), t.data_ptr())),  # type: ignore[union-attr]
            k is not None and k.dim() == 3,
            0 if h is None else h.data_ptr(),
            *tensors[:3],
            offsets.shape[0] - 1,
            shape[-2],
            shape[-1],
            cull,
            *tensors[3:],
            values.data_ptr(),
            values.shape[0],
            corners,
            values.shape[1],
            shown.data_ptr(),
            0,  # answers
            0,
            0,
        ),
    )


def _run(call: array[int], image: Tensor, keep: bool) -> Tensor:
    """Draws, and returns the crossings."""
    status = kernel("draw", "pip", image.dtype)(
        call.buffer_info()[0], kernel_threads(), image.data_ptr()
    )
    bytes_needed, kept, culprit = call[-3:]
    if status:
        check_status(status, culprit)
    crossings = torch.empty(bytes_needed if keep else 0, dtype=torch.uint8)
    kernel("draw_take", "pp", image.dtype)(kept, crossings.data_ptr() if keep else None)
    return crossings


def _run_backward(
    call: array[int],
    crossings: Tensor,
    grad: Tensor,
    inputs: tuple[Tensor, _Maybe, _Maybe, _Maybe, Tensor],
    want_points: bool,
    want_camera: bool,
) -> list[Tensor | None]:
    """Gradients of points, k, r, t and values; those of the camera are None where not wanted."""
    points, *camera, values = inputs
    by_values, by_points = torch.empty_like(values), torch.empty_like(points)
    by_camera: list[Tensor | None] = [None, None, None]
    if want_camera:
        by_camera = [None if c is None else torch.empty_like(c) for c in camera]
    status = kernel("draw_backward", "pi pp pp pppp", grad.dtype)(
        call.buffer_info()[0],
        kernel_threads(),
        crossings.data_ptr(),
        grad.data_ptr(),
        by_values.data_ptr(),
        by_points.data_ptr(),
        by_points.data_ptr() if want_points else None,
        *map(pointer, by_camera),
    )
    if status:
        check_status(status)
    return [by_points, *by_camera, by_values]


def _forward(
    points: Tensor, k: _Maybe, r: _Maybe, t: _Maybe, values: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *scene, shape, corners, cull, keep = rest
    image, h, shown, _ = _outputs(points, k, values, shape)
    call = _call(points, k, r, t, values, tuple(scene), shape, corners, cull, h, shown)
    return image, h, shown, _run(call, image, keep)


def _outputs(
    points: Tensor, k: _Maybe, values: Tensor, shape: list[int], found: int | torch.SymInt = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        points.new_empty((*shape, values.shape[1])),
        torch.empty_like(points) if k is not None else points.new_empty(0),
        torch.empty(shape, dtype=torch.int32),
        torch.empty([found], dtype=torch.uint8),
    )


def _fake(
    points: Tensor, k: _Maybe, r: _Maybe, t: _Maybe, values: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    found = torch.library.get_ctx().new_dynamic_size()
    return _outputs(points, k, values, rest[-4], found)


def _backward(
    points: Tensor,
    k: _Maybe,
    r: _Maybe,
    t: _Maybe,
    values: Tensor,
    scene: list[Tensor],
    h: Tensor,
    shown: Tensor,
    crossings: Tensor,
    grad: Tensor,
    corners: bool,
    wanted: list[bool],
) -> list[Tensor]:
    call = _call(points, k, r, t, values, tuple(scene), list(shown.shape), corners, False, h, shown)
    inputs = (points, k, r, t, values)
    found = _run_backward(call, crossings, grad.contiguous(), inputs, *wanted)
    return [points.new_empty(0) if one is None else one for one in found]


def _backward_fake(
    points: Tensor, k: _Maybe, r: _Maybe, t: _Maybe, values: Tensor, *rest: Any
) -> list[Tensor]:
    want_camera = rest[-1][1]
    camera = [torch.empty_like(c) if want_camera and c is not None else None for c in (k, r, t)]
    by_camera = [points.new_empty(0) if c is None else c for c in camera]
    return [torch.empty_like(points), *by_camera, torch.empty_like(values)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.corners = inputs[14]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:13], *output[1:])


def _gradient(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * _ARGUMENTS
    saved, needs = ctx.saved_tensors, ctx.needs_input_grad[:5]
    wanted = [needs[0], any(needs[1:4])]
    found = torch.ops.diffrender.draw_backward(
        *saved[:5], list(saved[5:13]), *saved[13:], grad, ctx.corners, wanted
    )
    kept = (one if need else None for one, need in zip(found, needs, strict=True))
    return (*kept, *(None,) * (_ARGUMENTS - 5))


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        points: Tensor,
        k: _Maybe,
        r: _Maybe,
        t: _Maybe,
        values: Tensor,
        rest: tuple[Any, ...],
    ) -> Tensor:
        *scene, shape, corners, cull, keep = rest
        h = None if k is None else torch.empty_like(points)
        image = points.new_empty((*shape, values.shape[1]))
        shown = torch.empty(shape, dtype=torch.int32)
        call = _call(points, k, r, t, values, tuple(scene), shape, corners, cull, h, shown)
        crossings = _run(call, image, keep)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(points, k, r, t, values)
        ctx.kept = (scene, h, shown)  # `call` points into them
        ctx.call, ctx.crossings, ctx.version = call, crossings, scene[0]._version
        return image

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Any, ...]:  # type: ignore[override]
        if grad is None:
            return (None,) * 6
        if ctx.kept[0][0]._version != ctx.version:
            raise RuntimeError("the faces were changed in place since they were drawn")
        if torch.is_grad_enabled():  # only with create_graph=True
            raise RuntimeError("render_attributes has no second derivative on the native back-end")
        points, k, r, t, values, _ = ctx.needs_input_grad
        found = _run_backward(
            ctx.call, ctx.crossings, grad.contiguous(), ctx.saved_tensors, points, k or r or t
        )
        return (
            found[0] if points else None,
            found[1] if k else None,
            found[2] if r else None,
            found[3] if t else None,
            found[4] if values else None,
            None,
        )


define(
    "draw_backward(Tensor points, Tensor? k, Tensor? r, Tensor? t, Tensor values, Tensor[] scene, "
    "Tensor h, Tensor shown, Tensor crossings, Tensor grad, bool corners, bool[] wanted) "
    "-> Tensor[]",
    _backward,
    _backward_fake,
)
_NAME = define(
    "draw(Tensor points, Tensor? k, Tensor? r, Tensor? t, Tensor values, Tensor faces, "
    "Tensor vertex_offsets, Tensor face_offsets, Tensor index, Tensor edge_offsets, "
    "Tensor edges, Tensor opposite_offsets, Tensor opposite, SymInt[] shape, bool corners, "
    "bool cull, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _fake,
)
torch.library.register_autograd(_NAME, _gradient, setup_context=_setup, lib=library)


def draw(
    points: Tensor,  # (sum V, 3)
    view: tuple[_Maybe, _Maybe, _Maybe],
    values: Tensor,  # (rows, C)
    *rest: Any,
) -> Tensor:
    """The picture (..., H, W, C). `rest` as the operator takes it, from `faces` to `keep`."""
    if torch.compiler.is_compiling() or type(points) not in (Tensor, torch.nn.Parameter):
        return torch.ops.diffrender.draw(points, *view, values, *rest)[0]
    if not rest[-1]:
        return _forward(points, *view, values, *rest)[0]
    return _Eager.apply(points, *view, values, rest)
