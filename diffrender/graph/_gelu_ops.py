"""The kernel of LayerNorm and GELU in one pass as a torch operator with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.graph._kernels import check_status, kernel
from diffrender.native import kernel_threads
from diffrender.native.operators import define, differentiable, plain, pointer

__all__ = ["native_norm_gelu"]


def _forward(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor]:
    x, weight, bias = plain(x), _row(weight), _row(bias)
    y, stats = torch.empty_like(x), x.new_empty(len(x), 2)
    status = kernel("norm_gelu", "iii d ppp pp", x.dtype)(
        *x.shape,
        kernel_threads(),
        epsilon,
        x.data_ptr(),
        pointer(weight),
        pointer(bias),
        y.data_ptr(),
        stats.data_ptr(),
    )
    check_status(status)
    return y, stats


def _row(values: Tensor | None) -> Tensor | None:
    """As the kernels read it: members of an ensemble, say, lie among each other."""
    return None if values is None else plain(values)


def _gradient(
    grad: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, stats: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grad, weight, bias, dx = plain(grad), _row(weight), _row(bias), torch.empty_like(x)
    dweight, dbias = x.new_zeros(2, 0 if weight is None else len(weight)).unbind()
    status = kernel("norm_gelu_backward", "iii pppp pppp", x.dtype)(
        *x.shape,
        kernel_threads(),
        x.data_ptr(),
        pointer(weight),
        pointer(bias),
        stats.data_ptr(),
        grad.data_ptr(),
        dx.data_ptr(),
        dweight.data_ptr(),
        dbias.data_ptr(),
    )
    check_status(status)
    return dx, dweight.clone(), dbias.clone()  # outputs of an operator do not share memory


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.normed = weight is not None
    ctx.save_for_backward(plain(x), output[1], *([weight, bias] if ctx.normed else []))


def _by(gradient: Any) -> Any:
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Any, ...]:
        if grad is None:
            return None, None, None, None
        x, stats, *norm = ctx.saved_tensors
        dx, dweight, dbias = gradient(grad, x, *(norm or (None, None)), stats)
        return (dx, *((dweight, dbias) if ctx.normed else (None, None)), None)

    return backward


define(
    "norm_gelu_backward(Tensor grad, Tensor x, Tensor? weight, Tensor? bias, Tensor stats) "
    "-> (Tensor, Tensor, Tensor)",
    _gradient,
    lambda grad, x, weight, *_: (
        torch.empty_like(x),
        x.new_empty(0 if weight is None else x.shape[1]),
        x.new_empty(0 if weight is None else x.shape[1]),
    ),
)
native_norm_gelu = differentiable(
    define(
        "norm_gelu(Tensor x, Tensor? weight, Tensor? bias, float epsilon) -> (Tensor, Tensor)",
        _forward,
        lambda x, *_: (torch.empty_like(x), x.new_empty(x.shape[0], 2)),
    ),
    _forward,
    _setup,
    _by(_gradient),
    _by(torch.ops.diffrender.norm_gelu_backward),
)
