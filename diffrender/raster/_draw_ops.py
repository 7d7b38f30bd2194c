"""The kernels that draw attributes in one pass as torch operators; see `_native_ops.py`.

With a camera (k, r, t) the points are projected here too, so that a step is one node of autograd's
graph; without one they are homogeneous pixels already. In eager mode the node takes few arguments
and gives one output, since each costs as much as a hundred pixels.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.native.operators import plain, refuse_tangents
from diffrender.raster._draw_scene import Scene
from diffrender.raster._native_ops import check_status, define, kernel, library, pointer
from diffrender.raster._topology import Topology

__all__ = ["draw"]

_Maybe = Tensor | None
_ARGUMENTS = 17  # of the operator
_PLAIN = (Tensor, torch.nn.Parameter)
_NO_CAMERA = (None, None, None)


class _Kernels(NamedTuple):
    """Those of one dtype: drawing, letting go of what it keeps, and its gradient."""

    draw: Callable[..., int]
    take: Callable[..., int]
    backward: Callable[..., int]


@functools.cache
def _kernels(dtype: torch.dtype) -> _Kernels:
    return _Kernels(
        kernel("draw", "pip", dtype),
        kernel("draw_take", "pp", dtype),
        kernel("draw_backward", "pi pp pp pppp", dtype),
    )


def _run(kernels: _Kernels, call: array[int], image: Tensor) -> None:
    status = kernels.draw(call.buffer_info()[0], kernel_threads(), image.data_ptr())
    if status:
        check_status(status, call[-1])


def _take(kernels: _Kernels, call: array[int], keep: bool) -> Tensor:
    """The crossings that the call keeps, or nothing; it keeps nothing then."""
    bytes_needed, kept = call[-3:-1]
    crossings = torch.empty(bytes_needed if keep else 0, dtype=torch.uint8)
    kernels.take(kept, crossings.data_ptr() if keep else None)
    return crossings


class _Keeper:
    """Lets go of what a call keeps."""

    __slots__ = ("address", "let_go")

    def __init__(self, address: int, let_go: Callable[..., int]) -> None:
        self.address, self.let_go = address, let_go

    def __del__(self) -> None:
        self.let_go(self.address, None)


def _run_backward(
    kernels: _Kernels,
    call: array[int],
    crossings: int | None,
    grad: Tensor,
    points: Tensor,
    values: Tensor,
    camera: tuple[_Maybe, ...],
    want_points: bool,
) -> tuple[Tensor, Tensor, list[_Maybe]]:
    """Gradients of points, values and of the camera (k, r, t), which may be left out."""
    by_values = torch.empty_like(values)
    by_points = torch.empty_like(points)
    by_camera: list[_Maybe] = []
    at: Sequence[int | None] = _NO_CAMERA
    if camera:
        by_camera = [None if c is None else torch.empty_like(c) for c in camera]
        at = [pointer(c) for c in by_camera]
    to_points = by_points.data_ptr()
    status = kernels.backward(
        call.buffer_info()[0],
        kernel_threads(),
        crossings,
        grad.data_ptr(),
        by_values.data_ptr(),
        to_points,
        to_points if want_points else None,
        *at,
    )
    if status:
        check_status(status)
    return by_points, by_values, by_camera


def _forward(
    points: Tensor, k: _Maybe, r: _Maybe, t: _Maybe, values: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    faces, vertex_offsets, face_offsets, *tables, shape, corners, cull, keep = rest
    scene = Scene(faces, vertex_offsets, face_offsets, Topology.of(tables), shape, corners, cull)
    image, h, shown, _ = _outputs(points, k, values, shape)
    call = scene.call(points, (k, r, t), values, h.data_ptr(), shown.data_ptr())
    kernels = _kernels(image.dtype)
    _run(kernels, call, image)
    return image, h, shown, _take(kernels, call, keep)


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
    faces, vertex_offsets, face_offsets, *tables = scene
    table = Topology.of(tables)
    made = Scene(faces, vertex_offsets, face_offsets, table, shown.shape, corners, False)
    call = made.call(points, (k, r, t), values, h.data_ptr(), shown.data_ptr())
    want_points, want_camera = wanted
    camera = (k, r, t) if want_camera else ()
    by_points, by_values, by_camera = _run_backward(
        _kernels(points.dtype), call, crossings.data_ptr(), plain(grad), points, values,
        camera, want_points,
    )  # fmt: skip
    found = (by_points, *(by_camera or _NO_CAMERA), by_values)
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
    """The same in eager mode; a camera that wants gradients comes as `camera`, else in `view`."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        points: Tensor,
        values: Tensor,
        scene: Scene,
        view: tuple[_Maybe, ...],
        *camera: Tensor,
    ) -> Tensor:
        image = torch.empty((*scene.shape, values.shape[1]), dtype=points.dtype)
        call, kernels = scene.call(points, camera or view, values), _kernels(image.dtype)
        _run(kernels, call, image)
        ctx.save_for_backward(points, values, *camera)
        keeper = _Keeper(call[-2], kernels.take)
        # `call` points into the scene and the view.
        ctx.kept = kernels, call, keeper, scene, view, _versions(view)
        return image

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        kernels, call, _, scene, view, versions = ctx.kept
        if scene.changed():
            raise RuntimeError("the faces were changed in place since they were drawn")
        if versions != _versions(view):
            raise RuntimeError("the camera was changed in place since it drew")
        if torch.is_grad_enabled():  # only with create_graph=True
            raise RuntimeError("render_attributes has no second derivative on the native back-end")
        points, values, *camera = ctx.saved_tensors
        needs = ctx.needs_input_grad
        by_points, by_values, by_camera = _run_backward(
            kernels, call, None, plain(grad), points, values, camera, needs[0]
        )
        own = (by_points if needs[0] else None, by_values if needs[1] else None, None, None)
        if not camera:
            return own
        return own + tuple(
            c if need else None for c, need in zip(by_camera, needs[4:], strict=True)
        )


# What `Function.apply` calls itself, after it looked for functorch's wrappers; these have no memory
# to draw from, which is found out soon enough.
_apply = super(torch.autograd.Function, _Eager).apply


def _versions(view: tuple[_Maybe, ...]) -> tuple[int, ...]:
    """Torch's counts of the changes of a camera that autograd does not look after."""
    k, r, t = view
    if k is None or r is None or t is None or k.is_inference():
        return ()
    return k._version, r._version, t._version


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
    view: tuple[_Maybe, ...],  # k, r, t
    values: Tensor,  # (rows, C)
    scene: Scene,
    keep: bool,
    to_camera: bool,
) -> Tensor:
    """The picture (..., H, W, C); `keep` what its gradient needs, the camera's `to_camera`."""
    refuse_tangents("render_attributes", points, *view, values)
    eager = type(points) in _PLAIN and not torch.compiler.is_compiling()
    if eager and keep:
        if to_camera:
            return _apply(points, values, scene, _NO_CAMERA, *view)
        return _apply(points, values, scene, view)
    run = _forward if eager else torch.ops.diffrender.draw
    rest = (*scene.tensors(), list(scene.shape), scene.corners, scene.cull, keep)
    k, r, t = view
    return run(points, k, r, t, values, *rest)[0]
