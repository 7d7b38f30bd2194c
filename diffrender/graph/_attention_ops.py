"""The kernel of attention within ragged graphs as a torch operator with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.graph._kernels import check_status, kernel
from diffrender.native import kernel_threads
from diffrender.native.operators import define, differentiable, plain, pointer

__all__ = ["native_attention"]


def _forward(
    qkv: Tensor,
    bias: Tensor | None,
    keep: Tensor | None,
    node_offsets: Tensor,
    pair_offsets: Tensor,
    heads: int,
    pairs: int,
) -> tuple[Tensor, Tensor]:
    qkv = plain(qkv)
    width = qkv.shape[1] // (3 * heads)
    out = qkv.new_empty(len(qkv), heads * width)
    weights = qkv.new_empty(pairs, heads)
    bias, keep = (None if t is None else plain(t) for t in (bias, keep))
    status = kernel("ragged_attention", "pp iiii pppp p", qkv.dtype)(
        node_offsets.data_ptr(),
        pair_offsets.data_ptr(),
        len(node_offsets) - 1,
        heads,
        width,
        kernel_threads(),
        qkv.data_ptr(),
        pointer(bias),
        pointer(keep),
        out.data_ptr(),
        weights.data_ptr(),
    )
    check_status(status)
    return out, weights


def _fake(
    qkv: Tensor,
    bias: Tensor | None,
    keep: Tensor | None,
    node_offsets: Tensor,
    pair_offsets: Tensor,
    heads: int,
    pairs: int,
) -> tuple[Tensor, Tensor]:
    return qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3), qkv.new_empty(pairs, heads)


def _gradient(
    grad: Tensor,
    qkv: Tensor,
    keep: Tensor | None,
    weights: Tensor,
    node_offsets: Tensor,
    pair_offsets: Tensor,
) -> tuple[Tensor, Tensor]:
    grad, heads = plain(grad), weights.shape[1]
    grad_qkv, grad_bias = torch.empty_like(qkv), torch.empty_like(weights)
    status = kernel("ragged_attention_backward", "pp iiii pppp pp", qkv.dtype)(
        node_offsets.data_ptr(),
        pair_offsets.data_ptr(),
        len(node_offsets) - 1,
        heads,
        qkv.shape[1] // (3 * heads),
        kernel_threads(),
        qkv.data_ptr(),
        pointer(keep),
        weights.data_ptr(),
        grad.data_ptr(),
        grad_qkv.data_ptr(),
        grad_bias.data_ptr(),
    )
    check_status(status)
    return grad_qkv, grad_bias


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, bias, keep, node_offsets, pair_offsets, *_ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    keep = None if keep is None else plain(keep)
    ctx.biased, ctx.kept = bias is not None, keep is not None
    kept = () if keep is None else (keep,)
    ctx.save_for_backward(plain(qkv), output[1], node_offsets, pair_offsets, *kept)


def _by(gradient: Any) -> Any:
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Any, ...]:
        qkv, weights, node_offsets, pair_offsets, *kept = ctx.saved_tensors
        if grad is None:
            return (None,) * 7
        keep = kept[0] if ctx.kept else None
        found = gradient(grad, qkv, keep, weights, node_offsets, pair_offsets)
        return (found[0], found[1] if ctx.biased else None, *[None] * 5)

    return backward


define(
    "ragged_attention_backward(Tensor grad, Tensor qkv, Tensor? keep, Tensor weights, "
    "Tensor node_offsets, Tensor pair_offsets) -> (Tensor, Tensor)",
    _gradient,
    lambda grad, qkv, keep, weights, *_: (torch.empty_like(qkv), torch.empty_like(weights)),
)
native_attention = differentiable(
    define(
        "ragged_attention(Tensor qkv, Tensor? bias, Tensor? keep, Tensor node_offsets, "
        "Tensor pair_offsets, int heads, int pairs) -> (Tensor, Tensor)",
        _forward,
        _fake,
    ),
    _forward,
    _setup,
    _by(_gradient),
    _by(torch.ops.diffrender.ragged_attention_backward),
)
