"""The kernel of sums along links as a torch operator with its gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.graph._kernels import check_status, kernel
from diffrender.native import kernel_threads
from diffrender.native.operators import define, differentiable, plain, pointer

__all__ = ["native_edge_sum", "native_link_sum"]


def run_link_sum(
    values: Tensor, rows: Tensor, offsets: Tensor, start: Tensor | None = None
) -> Tensor:
    """start + P values, without a gradient."""
    values = plain(values)
    width = values.shape[1]
    out = values.new_empty(len(offsets) - 1, width)
    status = kernel("link_sum", "ppp ii p i p", values.dtype)(
        values.data_ptr(),
        rows.data_ptr(),
        offsets.data_ptr(),
        len(out),
        width,
        pointer(start),
        kernel_threads(),
        out.data_ptr(),
    )
    check_status(status)
    return out


def _forward(
    values: Tensor, rows: Tensor, offsets: Tensor, back_rows: Tensor, back_offsets: Tensor
) -> Tensor:
    return run_link_sum(values, rows, offsets)


def _fake(
    values: Tensor, rows: Tensor, offsets: Tensor, back_rows: Tensor, back_offsets: Tensor
) -> Tensor:
    return values.new_empty(offsets.shape[0] - 1, values.shape[1])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    _, _, back_rows, back_offsets = ctx.saved_tensors
    return run_link_sum(grad, back_rows, back_offsets), None, None, None, None


def _traced_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    rows, offsets, back_rows, back_offsets = ctx.saved_tensors
    back = torch.ops.diffrender.link_sum(grad.contiguous(), back_rows, back_offsets, rows, offsets)
    return back, None, None, None, None


native_link_sum = differentiable(
    define(
        "link_sum(Tensor values, Tensor rows, Tensor offsets, Tensor back_rows, "
        "Tensor back_offsets) -> Tensor",
        _forward,
        _fake,
    ),
    _forward,
    _setup,
    _backward,
    _traced_backward,
)


def _edge_forward(
    edges: Tensor,
    at_receiver: Tensor,
    at_sender: Tensor,
    receiver: Tensor,
    receiver_rows: Tensor,
    receiver_offsets: Tensor,
    sender: Tensor,
    sender_rows: Tensor,
    sender_offsets: Tensor,
) -> Tensor:
    each = torch.arange(len(edges) + 1, device=edges.device)
    out = run_link_sum(at_receiver, receiver, each, plain(edges))
    return run_link_sum(at_sender, sender, each, out)


def _edge_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[4], inputs[5], inputs[7], inputs[8])


def _edge_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    receiver_rows, receiver_offsets, sender_rows, sender_offsets = ctx.saved_tensors
    at_receiver = run_link_sum(grad, receiver_rows, receiver_offsets)
    at_sender = run_link_sum(grad, sender_rows, sender_offsets)
    return (grad, at_receiver, at_sender, *[None] * 6)


def _edge_traced(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    receiver_rows, receiver_offsets, sender_rows, sender_offsets = ctx.saved_tensors
    each = torch.arange(grad.shape[0] + 1, device=grad.device)
    total = torch.ops.diffrender.link_sum
    # The transposed links of a sum's gradient are not needed: it is not differentiated again.
    at_receiver = total(grad.contiguous(), receiver_rows, receiver_offsets, each, each)
    at_sender = total(grad.contiguous(), sender_rows, sender_offsets, each, each)
    return (grad, at_receiver, at_sender, *[None] * 6)


native_edge_sum = differentiable(
    define(
        "edge_sum(Tensor edges, Tensor at_receiver, Tensor at_sender, Tensor receiver, "
        "Tensor receiver_rows, Tensor receiver_offsets, Tensor sender, Tensor sender_rows, "
        "Tensor sender_offsets) -> Tensor",
        _edge_forward,
        lambda edges, *_: torch.empty_like(edges),
    ),
    _edge_forward,
    _edge_setup,
    _edge_backward,
    _edge_traced,
)
