"""The C++ kernels as torch operators `diffrender::...`, with fake versions and gradients.

Registered with `torch.library` so that autograd, torch.compile and torch.export see ordinary
operators. Tensors arrive contiguous, on the CPU, all floating ones in one dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.native import kernel_threads, signature

__all__ = ["NotFiniteError", "check_status", "define", "kernel", "library", "ops"]

_NOT_FINITE, _BAD_INDEX, _NO_MEMORY = 1, 2, 3


class NotFiniteError(InputError):
    """A projected vertex is NaN or infinite; the caller finds out which tensor brought it."""


@functools.cache
def kernel(name: str, arguments: str, dtype: torch.dtype) -> Callable[..., int]:
    suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    return signature(f"diffrender_{name}_{suffix}", arguments)


def check_status(status: int, culprit: Tensor | None = None) -> None:
    if status == _NOT_FINITE:
        raise NotFiniteError("a projected vertex is NaN or infinite")
    if status == _BAD_INDEX:
        where = "" if culprit is None else f" (packed face {int(culprit)})"
        raise InputError(
            f"meshes.faces points outside its own mesh's vertices{where}; "
            f"check faces, vertex_offsets and face_offsets"
        )
    if status == _NO_MEMORY:
        raise MemoryError("the native rasterizer ran out of memory")


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


library = torch.library.Library("diffrender", "FRAGMENT")


def define(schema: str, cpu: Callable[..., Any], fake: Callable[..., Any]) -> str:
    name = "diffrender::" + schema.split("(")[0]
    library.define(schema)
    library.impl(schema.split("(")[0], cpu, "CPU")
    torch.library.register_fake(name, fake, lib=library)
    return name


# --- rasterize ---------------------------------------------------------------------------------


def _rasterize(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    layers: int,
    cull: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    count = len(face_offsets) - 1
    face, bary, depth = _rasterize_fake(
        h, faces, vertex_offsets, face_offsets, height, width, layers, cull
    )
    culprit = torch.zeros(1, dtype=torch.int64)
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
        culprit.data_ptr(),
    )
    check_status(status, culprit)
    return face, bary, depth


def _rasterize_fake(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    layers: int,
    cull: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (face_offsets.shape[0] - 1, height, width, layers)
    face = torch.empty(shape, dtype=torch.int64, device=h.device)
    return face, h.new_empty((*shape, 3)), h.new_empty(shape)


def _rasterize_backward(
    h: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    face: Tensor,
    bary: Tensor,
    depth: Tensor,
    grad_bary: Tensor | None,
    grad_depth: Tensor | None,
) -> Tensor:
    grad = torch.zeros_like(h)
    count, height, width, layers = face.shape
    status = kernel("rasterize_backward", "ppp iiii ppppp i p", h.dtype)(
        h.data_ptr(),
        faces.data_ptr(),
        face_offsets.data_ptr(),
        count,
        height,
        width,
        layers,
        face.data_ptr(),
        bary.data_ptr(),
        depth.data_ptr(),
        _pointer(grad_bary),
        _pointer(grad_depth),
        kernel_threads(),
        grad.data_ptr(),
    )
    check_status(status)
    return grad


define(
    "rasterize(Tensor h, Tensor faces, Tensor vertex_offsets, Tensor face_offsets, int height, "
    "int width, int layers, bool cull) -> (Tensor, Tensor, Tensor)",
    _rasterize,
    _rasterize_fake,
)
define(
    "rasterize_backward(Tensor h, Tensor faces, Tensor face_offsets, Tensor face, Tensor bary, "
    "Tensor depth, Tensor? grad_bary, Tensor? grad_depth) -> Tensor",
    _rasterize_backward,
    lambda h, *_: torch.empty_like(h),
)


def _rasterize_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    h, faces, _, face_offsets, *_ = inputs
    face, bary, depth = output
    ctx.mark_non_differentiable(face)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(h, faces, face_offsets, face, bary, depth)


def _rasterize_grad(
    ctx: Any, _: None, grad_bary: Tensor | None, grad_depth: Tensor | None
) -> tuple[Any, ...]:
    if grad_bary is None and grad_depth is None:
        return (None,) * 8
    grad = torch.ops.diffrender.rasterize_backward(
        *ctx.saved_tensors,
        None if grad_bary is None else grad_bary.contiguous(),
        None if grad_depth is None else grad_depth.contiguous(),
    )
    return grad, *([None] * 7)


torch.library.register_autograd(
    "diffrender::rasterize", _rasterize_grad, setup_context=_rasterize_setup, lib=library
)


# --- interpolate -------------------------------------------------------------------------------


def _interpolate(
    values: Tensor,
    faces: Tensor | None,
    face_offsets: Tensor,
    face: Tensor,
    bary: Tensor,
    layer: int,
) -> Tensor:
    out = _interpolate_fake(values, faces, face_offsets, face, bary, layer)
    layers = face.shape[-1]
    status = kernel("interpolate", "pp iii pi pi ii p", values.dtype)(
        values.data_ptr(),
        _pointer(faces),
        values.shape[0],
        int(face_offsets[-1]),
        values.shape[1],
        face.data_ptr() + 8 * layer,
        layers,
        bary.data_ptr() + 3 * layer * bary.element_size(),
        3 * layers,
        face.numel() // layers,
        kernel_threads(),
        out.data_ptr(),
    )
    check_status(status)
    return out


def _interpolate_fake(
    values: Tensor,
    faces: Tensor | None,
    face_offsets: Tensor,
    face: Tensor,
    bary: Tensor,
    layer: int,
) -> Tensor:
    return values.new_empty((*face.shape[:-1], values.shape[1]))


def _interpolate_backward(
    values: Tensor,
    faces: Tensor | None,
    face_offsets: Tensor,
    face: Tensor,
    bary: Tensor,
    grad: Tensor,
    layer: int,
    want_values: bool,
    want_bary: bool,
) -> tuple[Tensor, Tensor]:
    layers = face.shape[-1]
    count = face.shape[0]
    grad_values = torch.zeros_like(values) if want_values else values.new_empty(0)
    if want_bary:
        grad_bary = torch.empty_like(bary) if layers == 1 else torch.zeros_like(bary)
    else:
        grad_bary = bary.new_empty(0)
    offset = 3 * layer * bary.element_size()
    status = kernel("interpolate_backward", "ppp ii pi pi i p i pp", values.dtype)(
        values.data_ptr(),
        _pointer(faces),
        face_offsets.data_ptr(),
        count,
        values.shape[1],
        face.data_ptr() + 8 * layer,
        layers,
        bary.data_ptr() + offset,
        3 * layers,
        face.numel() // (layers * count),
        grad.data_ptr(),
        kernel_threads(),
        grad_values.data_ptr() if want_values else None,
        grad_bary.data_ptr() + offset if want_bary else None,
    )
    check_status(status)
    return grad_values, grad_bary


def _interpolate_backward_fake(
    values: Tensor,
    faces: Tensor | None,
    face_offsets: Tensor,
    face: Tensor,
    bary: Tensor,
    grad: Tensor,
    layer: int,
    want_values: bool,
    want_bary: bool,
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(values) if want_values else values.new_empty(0),
        torch.empty_like(bary) if want_bary else bary.new_empty(0),
    )


define(
    "interpolate(Tensor values, Tensor? faces, Tensor face_offsets, Tensor face, Tensor bary, "
    "int layer) -> Tensor",
    _interpolate,
    _interpolate_fake,
)
define(
    "interpolate_backward(Tensor values, Tensor? faces, Tensor face_offsets, Tensor face, "
    "Tensor bary, Tensor grad, int layer, bool want_values, bool want_bary) -> (Tensor, Tensor)",
    _interpolate_backward,
    _interpolate_backward_fake,
)


def _interpolate_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, faces, face_offsets, face, bary, ctx.layer = inputs
    ctx.save_for_backward(values, faces, face_offsets, face, bary)


def _interpolate_grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    want_values, want_bary = ctx.needs_input_grad[0], ctx.needs_input_grad[4]
    grad_values, grad_bary = torch.ops.diffrender.interpolate_backward(
        *ctx.saved_tensors, grad.contiguous(), ctx.layer, want_values, want_bary
    )
    return (
        grad_values if want_values else None,
        None,
        None,
        None,
        grad_bary if want_bary else None,
        None,
    )


torch.library.register_autograd(
    "diffrender::interpolate", _interpolate_grad, setup_context=_interpolate_setup, lib=library
)


# --- antialias ---------------------------------------------------------------------------------


def _shapes(image: Tensor, face: Tensor, tables: tuple[Tensor, ...]) -> list[int]:
    """The arguments that both antialias kernels begin with."""
    count, height, width, channels = image.shape
    pointers = [t.data_ptr() for t in tables]
    return [*pointers, count, height, width, channels, face.shape[-1]]


def _antialias(
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
) -> tuple[Tensor, Tensor]:
    rows, out = torch.empty_like(image), torch.empty_like(image)
    tables = (vertex_offsets, index, edge_offsets, edges, opposite_offsets, opposite)
    status = kernel("antialias", "pppppp iiiii pppp i pp", image.dtype)(
        *_shapes(image, face, tables),
        h.data_ptr(),
        face.data_ptr(),
        depth.data_ptr(),
        image.data_ptr(),
        kernel_threads(),
        rows.data_ptr(),
        out.data_ptr(),
    )
    check_status(status)
    return out, rows


def _antialias_backward(
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
    rows: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor]:
    grad_image, grad_h = torch.empty_like(image), torch.zeros_like(h)
    tables = (vertex_offsets, index, edge_offsets, edges, opposite_offsets, opposite)
    status = kernel("antialias_backward", "pppppp iiiii pppppp i pp", image.dtype)(
        *_shapes(image, face, tables),
        h.data_ptr(),
        face.data_ptr(),
        depth.data_ptr(),
        image.data_ptr(),
        rows.data_ptr(),
        grad.data_ptr(),
        kernel_threads(),
        grad_image.data_ptr(),
        grad_h.data_ptr(),
    )
    check_status(status)
    return grad_image, grad_h


_TABLES = (
    "Tensor vertex_offsets, Tensor index, Tensor edge_offsets, Tensor edges, "
    "Tensor opposite_offsets, Tensor opposite"
)
define(
    f"antialias(Tensor image, Tensor h, Tensor face, Tensor depth, {_TABLES}) -> (Tensor, Tensor)",
    _antialias,
    lambda image, *_: (torch.empty_like(image), torch.empty_like(image)),
)
define(
    f"antialias_backward(Tensor image, Tensor h, Tensor face, Tensor depth, {_TABLES}, "
    "Tensor rows, Tensor grad) -> (Tensor, Tensor)",
    _antialias_backward,
    lambda image, h, *_: (torch.empty_like(image), torch.empty_like(h)),
)


def _antialias_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, output[1])


def _antialias_grad(ctx: Any, grad: Tensor | None, _: None) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 10
    grad_image, grad_h = torch.ops.diffrender.antialias_backward(
        *ctx.saved_tensors, grad.contiguous()
    )
    return grad_image, grad_h, *([None] * 8)


torch.library.register_autograd(
    "diffrender::antialias", _antialias_grad, setup_context=_antialias_setup, lib=library
)

ops = torch.ops.diffrender
