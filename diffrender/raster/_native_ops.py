"""The rasterizer's C++ kernels as torch operators: how to find one, and what its status says.

Tensors arrive contiguous, on the CPU, all floating ones in one dtype.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.meshes import kept_ends
from diffrender.native import signature
from diffrender.native.operators import define as define
from diffrender.native.operators import differentiable as differentiable
from diffrender.native.operators import library as library
from diffrender.native.operators import plain
from diffrender.native.operators import pointer as pointer

__all__ = [
    "NotFiniteError",
    "check_status",
    "define",
    "differentiable",
    "image_by_image",
    "kernel",
    "library",
    "pointer",
    "room",
    "two_gradients",
]

_ByImages: TypeAlias = Callable[[Tensor, int, int], int]
_NOT_FINITE, _BAD_INDEX, _NO_MEMORY = 1, 2, 3


class NotFiniteError(InputError):
    """A projected vertex is NaN or infinite; the caller finds out which tensor brought it."""


@functools.cache
def kernel(name: str, arguments: str, dtype: torch.dtype) -> Callable[..., int]:
    """The C++ function of that name for a dtype; `arguments` as `native.signature` takes them."""
    suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    return signature(f"diffrender_{name}_{suffix}", arguments)


def check_status(status: int, culprit: int | None = None) -> None:
    """Raise what a kernel's status stands for; 0 is success."""
    if status == _NOT_FINITE:
        raise NotFiniteError("a projected vertex is NaN or infinite")
    if status == _BAD_INDEX:
        where = "" if culprit is None else f" (packed face {culprit})"
        raise InputError(
            f"meshes.faces points outside its own mesh's vertices{where}; "
            f"check faces, vertex_offsets and face_offsets"
        )
    if status == _NO_MEMORY:
        raise MemoryError("the native rasterizer ran out of memory")


def image_by_image(face: Tensor, face_offsets: Tensor, total: int, run: _ByImages) -> None:
    """Run a kernel that sums every image's faces apart, at once.

    Fragments of some of the images, or in another order, are taken as one image of all `total`
    faces: right for any of them, and slower.

    Args:
        run: the kernel's status from (face offsets, images, pixels of each).

    Raises:
        InputError, MemoryError: as `check_status`.
    """
    height, width = face.shape[-3:-1]
    images = math.prod(face.shape[:-3])
    if images == face_offsets.shape[0] - 1:
        status = run(face_offsets, images, height * width)
        if status != _BAD_INDEX:
            check_status(status)
            return
    check_status(run(kept_ends(total), 1, images * height * width))


def room(like: Tensor, want: bool) -> Tensor:
    """Where a kernel writes a gradient; an empty tensor where nobody wants it."""
    return torch.empty_like(like) if want else like.new_empty(0)


def two_gradients(run: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Any, ...]]:
    """The gradient of an operator in its first two tensors, by (saved ..., grad, ctx.options ...,
    whether the first is wanted, whether the second is)."""

    def gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, second, *others = ctx.needs_input_grad
        found = run(*ctx.saved_tensors, plain(grad), *ctx.options, first, second)
        return (found[0] if first else None, found[1] if second else None, *(None for _ in others))

    return gradient
