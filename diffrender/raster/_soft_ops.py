"""The soft silhouette kernel as a torch operator; see `_native_ops.py` for how they work."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.raster._native_ops import check_status, define, differentiable, kernel

__all__ = ["soft_silhouette"]

_SCENE = (
    "Tensor h, Tensor faces, Tensor vertex_offsets, Tensor face_offsets, int height, int width, "
    "int limit, float sigma, float blur"
)


def _scene(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    limit: int,
    sigma: float,
    blur: float,
) -> list[float]:
    """The arguments that both kernels begin with."""
    pointers = [t.data_ptr() for t in (faces, vertex_offsets, face_offsets)]
    count = len(face_offsets) - 1
    scale = 2.0 / min(height, width)
    return [*pointers, count, height, width, limit, sigma, blur, scale, h.data_ptr()]


def _fake(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
    limit: int,
    sigma: float,
    blur: float,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (face_offsets.shape[0] - 1, height, width)
    last = shape if limit else (0,)
    return (
        h.new_empty(shape),
        torch.empty(last, dtype=torch.float64, device=h.device),
        torch.empty(last, dtype=torch.int64, device=h.device),
    )


def _forward(*scene: Any) -> tuple[Tensor, Tensor, Tensor]:
    alpha, last_depth, last_face = _fake(*scene)
    culprit = ctypes.c_int64()
    status = kernel("soft_silhouette", "ppp iiii ddd p i pppp", alpha.dtype)(
        *_scene(*scene),
        kernel_threads(),
        alpha.data_ptr(),
        last_depth.data_ptr(),
        last_face.data_ptr(),
        ctypes.addressof(culprit),
    )
    check_status(status, culprit.value)
    return alpha, last_depth, last_face


def _backward(*arguments: Any) -> Tensor:
    *scene, alpha, last_depth, last_face, grad = arguments
    grad_h = torch.zeros_like(scene[0])
    status = kernel("soft_silhouette_backward", "ppp iiii ddd p pppp i p", alpha.dtype)(
        *_scene(*scene),
        alpha.data_ptr(),
        grad.data_ptr(),
        last_depth.data_ptr(),
        last_face.data_ptr(),
        kernel_threads(),
        grad_h.data_ptr(),
    )
    check_status(status)
    return grad_h


define(
    f"soft_silhouette_backward({_SCENE}, Tensor alpha, Tensor last_depth, Tensor last_face, "
    "Tensor grad) -> Tensor",
    _backward,
    lambda h, *_: torch.empty_like(h),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:4], *output)
    ctx.numbers = inputs[4:]


def _gradient(run: Any) -> Any:
    def grad(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Any, ...]:
        if grad is None:
            return (None,) * 9
        *tensors, alpha, last_depth, last_face = ctx.saved_tensors
        grad_h = run(*tensors, *ctx.numbers, alpha, last_depth, last_face, grad.contiguous())
        return (grad_h, *(None,) * 8)

    return grad


soft_silhouette = differentiable(
    define(f"soft_silhouette({_SCENE}) -> (Tensor, Tensor, Tensor)", _forward, _fake),
    _forward,
    _setup,
    _gradient(_backward),
    _gradient(lambda *arguments: torch.ops.diffrender.soft_silhouette_backward(*arguments)),
)
