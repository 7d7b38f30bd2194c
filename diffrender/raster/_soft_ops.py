"""The soft silhouette kernel as a torch operator; see `_native_ops.py` for how they work."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.raster._native_ops import check_status, define, differentiable, kernel
from diffrender.raster._soft_operator import SCENE, fake, gradient, setup

__all__ = ["soft_silhouette"]


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


def _forward(*scene: Any) -> tuple[Tensor, Tensor, Tensor]:
    alpha, last_depth, last_face = fake(*scene)
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
    f"soft_silhouette_backward({SCENE}, Tensor alpha, Tensor last_depth, Tensor last_face, "
    "Tensor grad) -> Tensor",
    _backward,
    lambda h, *_: torch.empty_like(h),
)


soft_silhouette = differentiable(
    define(f"soft_silhouette({SCENE}) -> (Tensor, Tensor, Tensor)", _forward, fake),
    _forward,
    setup,
    gradient(_backward),
    gradient(lambda *arguments: torch.ops.diffrender.soft_silhouette_backward(*arguments)),
)
