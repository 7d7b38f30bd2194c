"""What the soft silhouette's operators share on all back-ends: schema, outputs, gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffrender.native.operators import plain

__all__ = ["SCENE", "fake", "gradient", "setup"]

SCENE = (
    "Tensor h, Tensor faces, Tensor vertex_offsets, Tensor face_offsets, int height, int width, "
    "int limit, float sigma, float blur"
)


def fake(
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
    """Empty outputs: the coverage, and depth and face of the last that counted under a limit."""
    shape = (face_offsets.shape[0] - 1, height, width)
    last = shape if limit else (0,)
    return (
        h.new_empty(shape),
        torch.empty(last, dtype=torch.float64, device=h.device),
        torch.empty(last, dtype=torch.int64, device=h.device),
    )


def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:4], *output)
    ctx.numbers = inputs[4:]


def gradient(run: Callable[..., Tensor]) -> Callable[..., tuple[Any, ...]]:
    """The gradient in `h`, by what an operator's backward pass runs."""

    def grad(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Any, ...]:
        if grad is None:
            return (None,) * 9
        *tensors, alpha, last_depth, last_face = ctx.saved_tensors
        grad_h = run(*tensors, *ctx.numbers, alpha, last_depth, last_face, plain(grad))
        return (grad_h, *(None,) * 8)

    return grad
