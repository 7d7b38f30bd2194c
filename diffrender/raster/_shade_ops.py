"""The soft colour kernel as a torch operator; see `_native_ops.py` for how they work."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.native.operators import once, plain
from diffrender.raster._native_ops import check_status, define, kernel, library

__all__ = ["ops"]

# numbers: sigma, gamma, blur, near, far, epsilon
_SCENE = (
    "Tensor h, Tensor values, Tensor faces, Tensor vertex_offsets, Tensor face_offsets, "
    "int height, int width, int limit, float[] numbers, bool at_corners"
)
_ARGUMENTS = "ppp iiii dddddd d ii pp"
_INPUTS = 10


def _scene(
    h: Tensor,
    values: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    limit: int,
    numbers: list[float],
    at_corners: bool,
) -> list[float]:
    """The arguments that both kernels begin with."""
    pointers = [t.data_ptr() for t in (faces, vertex_offsets, face_offsets)]
    sizes = [len(face_offsets) - 1, height, width, limit]
    scale = 2.0 / min(height, width)
    last = [values.shape[-1], at_corners, h.data_ptr(), values.data_ptr()]
    return [*pointers, *sizes, *numbers, scale, *last]


def _fake(
    h: Tensor,
    values: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    limit: int,
    numbers: list[float],
    at_corners: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    shape = (face_offsets.shape[0] - 1, height, width)
    last = shape if limit else (0,)
    return (
        h.new_empty((*shape, values.shape[-1])),
        h.new_empty(shape),
        torch.empty(shape, dtype=torch.float64, device=h.device),
        torch.empty(last, dtype=torch.float64, device=h.device),
        torch.empty(last, dtype=torch.int64, device=h.device),
    )


def _forward(*scene: Any) -> tuple[Tensor, ...]:
    found = _fake(*scene)
    culprit = ctypes.c_int64()
    run = kernel("soft_shade", f"{_ARGUMENTS} i ppppp p", found[0].dtype)
    pointers = [t.data_ptr() for t in found]
    check_status(
        run(*_scene(*scene), kernel_threads(), *pointers, ctypes.addressof(culprit)), culprit.value
    )
    return found


def _backward(*arguments: Any) -> tuple[Tensor, Tensor]:
    scene, saved = arguments[:_INPUTS], arguments[_INPUTS:]
    grad_h, grad_values = torch.zeros_like(scene[0]), torch.zeros_like(scene[1])
    run = kernel("soft_shade_backward", f"{_ARGUMENTS} ppppp pp i pp", grad_h.dtype)
    pointers = [t.data_ptr() for t in saved]
    out = [grad_h.data_ptr(), grad_values.data_ptr()]
    check_status(run(*_scene(*scene), *pointers, kernel_threads(), *out))
    return grad_h, grad_values


define(f"soft_shade({_SCENE}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)", _forward, _fake)
define(
    f"soft_shade_backward({_SCENE}, Tensor colour, Tensor rest, Tensor total, Tensor last_depth, "
    "Tensor last_face, Tensor grad_colour, Tensor grad_rest) -> (Tensor, Tensor)",
    _backward,
    lambda h, values, *_: (torch.empty_like(h), torch.empty_like(values)),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[2:])
    ctx.save_for_backward(*inputs[:5], *output)
    ctx.numbers = inputs[5:]


def _grad(ctx: Any, colour: Tensor, rest: Tensor, *_: None) -> tuple[Any, ...]:
    tensors, saved = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
    grads = torch.ops.diffrender.soft_shade_backward(
        *tensors, *ctx.numbers, *saved, plain(colour), plain(rest)
    )
    return *grads, *([None] * (_INPUTS - 2))


torch.library.register_autograd(
    "diffrender::soft_shade", once(_grad), setup_context=_setup, lib=library
)

ops = torch.ops.diffrender
