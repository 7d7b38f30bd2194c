"""`spmm` and `sddmm`: the products that users call, with their gradients."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

from diffrender.blocksparse import _operators, passes, torch_products
from diffrender.blocksparse._operators import padded
from diffrender.blocksparse.dynamic import DynamicPattern
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.errors import InputError, check_shape

Pattern: TypeAlias = BlockPattern | DynamicPattern

__all__ = ["sddmm", "spmm", "transforms_active"]

_AUTOCAST = (torch.float32, torch.float16, torch.bfloat16)
_PLAIN = (Tensor, torch.nn.Parameter)
transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)
_is_batched = getattr(torch._C._functorch, "is_legacy_batchedtensor", lambda tensor: False)


def spmm(
    pattern: Pattern,
    values: Tensor,  # (nnz, b_m, b_k)
    x: Tensor,  # (..., k, n), or (..., n, k) with features_last
    *,
    transpose: bool = False,
    features_last: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Product of a block-sparse weight and a dense matrix, y = W x or W^T x.

    Args:
        pattern: which blocks of the (m, k) weight are stored, on x's device.
        values: (nnz, b_m, b_k), the leaf that is trained; for a DynamicPattern (max_blocks, b_m,
            b_k), where those beyond the present mask are not read and get a gradient of zero.
        x: (..., k, n) as columns, or (..., n, k) where features come last as in nn.Linear; with
            `transpose` it has m features and the product k. It may be non-contiguous or empty.
        transpose: multiply by W^T.
        backend: "native", "torch", "triton", or None for the fastest, dense included.

    Returns:
        (..., m, n) or (..., n, m) in x's dtype. Half precision is summed in float32. Under
        autocast the product is in autocast's dtype, as nn.Linear's is.

    Differentiable in values and x, any number of times. A named back-end leaves out what is not
    stored even where x is NaN or infinite; with None the planner may run the product dense, where
    zero times infinity is NaN, and where torch orders the sums: those of a back-end have a fixed
    order, whatever the threads. Inside torch.func transforms (vmap, grad, jacrev, jvp), for
    gradients that come in batches and for tensors with a forward-mode tangent the plain-torch twin
    runs.

    Raises:
        InputError: shapes, dtypes or devices do not fit, or the back-end cannot be used.

    Source: PopSparse, arXiv 2303.16999.
    """
    values, x = _autocast(values, x)
    _check(pattern, values, x, transpose, features_last)
    if values.shape != pattern.values_shape:
        check_shape("values", values, *pattern.values_shape)
    return _multiply(pattern, values, x, transpose, features_last, backend)


def sddmm(
    pattern: Pattern,
    dy: Tensor,  # (..., m, n), or (..., n, m) with features_last
    x: Tensor,  # (..., k, n), or (..., n, k) with features_last
    *,
    features_last: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Sampled dense-dense product: the blocks of dy x^T that the pattern stores.

    The gradient of `spmm` with respect to its values. n and the leading dimensions are summed.

    Returns:
        (nnz, b_m, b_k) in x's dtype. Half precision is summed in float32.

    Differentiable in dy and x, any number of times.

    Raises:
        InputError: shapes, dtypes or devices do not fit, or the back-end cannot be used.

    Source: GradW of poplibs, popsparse/FullyConnected.hpp.
    """
    dy, x = _autocast(dy, x)
    _check(pattern, dy, x, False, features_last)
    axis = -1 if features_last else -2
    expected = list(x.shape)
    expected[axis] = pattern.shape[0]
    check_shape("dy", dy, *expected)
    return _outer(pattern, dy, x, features_last, backend)


def _autocast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both in autocast's dtype where it is on."""
    kind = second.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return first, second
    dtype = torch.get_autocast_dtype(kind)
    if first.dtype in _AUTOCAST and second.dtype in _AUTOCAST:
        return first.to(dtype), second.to(dtype)
    return first, second


def _check(
    pattern: Pattern, other: Tensor, x: Tensor, transpose: bool, features_last: bool
) -> None:
    """Raise InputError unless x and the other operand suit each other and the pattern."""
    features = pattern.shape[0 if transpose else 1]
    axis = -1 if features_last else -2
    if x.dim() < 2 - features_last or x.shape[axis] != features:
        wanted = f"(..., n, {features})" if features_last else f"(..., {features}, n)"
        raise InputError(
            f"x has shape {tuple(x.shape)}, expected {wanted} for a weight of {pattern.shape}"
            f"{', transposed' if transpose else ''}; features_last={not features_last} takes the "
            f"other layout"
        )
    pattern.current.refuse_stale()
    if x.dtype != other.dtype or not x.dtype.is_floating_point:
        raise InputError(
            f"the operands have dtypes {other.dtype} and {x.dtype}, expected one floating dtype; "
            f"convert one of them with to()"
        )
    if not x.device == other.device == pattern.device:
        raise InputError(
            f"the operands are on {other.device} and {x.device} and the pattern on "
            f"{pattern.device}, expected one device; move it with pattern.to()"
        )


def _special(first: Tensor, second: Tensor) -> bool:
    """Whether the twin or the registered operator is needed (torch.compile, subclasses)."""
    return (
        torch.compiler.is_compiling()
        or transforms_active()
        or type(first) not in _PLAIN
        or type(second) not in _PLAIN
        or forward_ad._current_level >= 0
        or _is_batched(first)
        or _is_batched(second)
    )


def _by_twin(first: Tensor, second: Tensor) -> bool:
    """Whether torch's own operations must run: only those go through all of its transforms."""
    if transforms_active():
        return True
    forward_mode = forward_ad._current_level >= 0
    if torch.compiler.is_compiling():
        return forward_mode  # a graph is traced anew for each level, and does not see tangents
    if forward_mode and (_has_tangent(first) or _has_tangent(second)):
        return True
    return _is_batched(first) or _is_batched(second)


def _has_tangent(tensor: Tensor) -> bool:
    return forward_ad.unpack_dual(tensor).tangent is not None


def _multiply(
    pattern: Pattern,
    values: Tensor,
    x: Tensor,
    transpose: bool,
    features_last: bool,
    backend: str | None,
) -> Tensor:
    if _special(values, x):
        if not _by_twin(values, x):
            return _operators.multiply(pattern, values, x, transpose, features_last, backend)
        stored = values[: pattern.current.nnz]
        with passes.own_dtypes(x):
            return torch_products.multiply(
                pattern.current, stored, x, transpose=transpose, features_last=features_last
            )
    if torch.is_grad_enabled() and (values.requires_grad or x.requires_grad):
        return _Multiply.apply(values, x, pattern, transpose, features_last, backend)
    return _run(pattern.current, values, x, transpose, features_last, backend)


def _outer(
    pattern: Pattern, dy: Tensor, x: Tensor, features_last: bool, backend: str | None
) -> Tensor:
    if _special(dy, x):
        if not _by_twin(dy, x):
            return _operators.outer(pattern, dy, x, features_last, backend)
        with passes.own_dtypes(x):
            found = torch_products.block_outer(pattern.current, dy, x, features_last=features_last)
        return padded(found, pattern.values_shape[0])
    if torch.is_grad_enabled() and (dy.requires_grad or x.requires_grad):
        return _Outer.apply(dy, x, pattern, features_last, backend)
    found = passes.grad_weight(pattern.current, dy, x, features_last=features_last, backend=backend)
    return padded(found, pattern.values_shape[0])


def _run(
    stored: BlockPattern,
    values: Tensor,
    x: Tensor,
    transpose: bool,
    features_last: bool,
    backend: str | None,
) -> Tensor:
    """The pass itself, on the values that the present mask uses."""
    if values.shape[0] != stored.nnz:
        values = values[: stored.nnz]
    run = passes.grad_input if transpose else passes.forward
    return run(stored, values, x, features_last=features_last, backend=backend)


def _refuse_changed(stored: BlockPattern) -> None:
    """Saved tensors tell too, but not where hooks have put copies in their place (on the CPU)."""
    if stored.is_stale:
        raise RuntimeError(
            "the mask has been changed since the forward pass, whose gradients it belongs to: "
            "change it after the backward pass"
        )


class _Multiply(torch.autograd.Function):
    """Eager `spmm`. Its gradients go through `_multiply` and `_outer`, so they have gradients."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        values: Tensor,
        x: Tensor,
        pattern: Pattern,
        transpose: bool,
        features_last: bool,
        backend: str | None,
    ) -> Tensor:
        # The offsets are saved so that a mask changed before the backward pass is noticed.
        ctx.save_for_backward(values, x, pattern.current.row_offsets)
        ctx.rest = (pattern, transpose, features_last, backend)
        ctx.stored = pattern.current
        return _run(pattern.current, values, x, transpose, features_last, backend)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        values, x, _ = ctx.saved_tensors
        pattern, transpose, features_last, backend = ctx.rest
        _refuse_changed(ctx.stored)
        (grad,), d_values, d_x = grads, None, None
        if ctx.needs_input_grad[0]:
            left, right = (x, grad) if transpose else (grad, x)
            d_values = _outer(pattern, left, right, features_last, backend)
        if ctx.needs_input_grad[1]:
            d_x = _multiply(pattern, values, grad, not transpose, features_last, backend)
        return d_values, d_x, None, None, None, None


class _Outer(torch.autograd.Function):
    """Eager `sddmm`."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        dy: Tensor,
        x: Tensor,
        pattern: Pattern,
        features_last: bool,
        backend: str | None,
    ) -> Tensor:
        ctx.save_for_backward(dy, x, pattern.current.row_offsets)
        ctx.rest = (pattern, features_last, backend)
        ctx.stored = pattern.current
        found = passes.grad_weight(
            pattern.current, dy, x, features_last=features_last, backend=backend
        )
        return padded(found, pattern.values_shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        dy, x, _ = ctx.saved_tensors
        pattern, features_last, backend = ctx.rest
        _refuse_changed(ctx.stored)
        (grad,), d_dy, d_x = grads, None, None
        if ctx.needs_input_grad[0]:
            d_dy = _multiply(pattern, grad, x, False, features_last, backend)
        if ctx.needs_input_grad[1]:
            d_x = _multiply(pattern, grad, dy, True, features_last, backend)
        return d_dy, d_x, None, None, None
