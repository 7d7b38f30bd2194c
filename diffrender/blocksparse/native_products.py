"""The products on the CPU by the C++ kernels, without autograd.

How a product is cut up is a `NativePlan`. A NaN or infinity in x reaches only those outputs whose
stored blocks meet it.
"""

from __future__ import annotations

import ctypes
import math

from torch import Tensor

from diffrender.blocksparse._native_kernels import check_status, kernel
from diffrender.blocksparse.native_plans import NativePlan, native_plan
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native.operators import plain

__all__ = ["block_outer", "multiply"]


def multiply(
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b_m, b_k)
    x: Tensor,  # (..., k, n), or (..., n, k)
    *,
    transpose: bool,
    features_last: bool,
    plan: NativePlan | None = None,
) -> Tensor:
    """y = W x, or y = Wᵀ x when `transpose`; not differentiable by itself.

    Args:
        values, x: on the CPU, in one dtype of float32, float64, bfloat16 and float16.
        transpose: x then has m features and y has k.
        features_last: x (..., n, k) and y (..., n, m), as `nn.Linear` has them; else x (..., k, n)
            and y (..., m, n).
        plan: of `native_plan` for these sizes; None looks it up.

    Returns:
        y in x's dtype; rows without stored blocks are zero.
    """
    x = plain(x)
    outer = pattern.shape[1 if transpose else 0]
    if features_last:
        batch, n = 1, math.prod(x.shape[:-1])
        y = x.new_empty(*x.shape[:-1], outer)
    else:
        batch, n = math.prod(x.shape[:-2]), x.shape[-1]
        y = x.new_empty(*x.shape[:-2], outer, n)
    if y.numel() == 0:
        return y
    if plan is None:
        name = "transposed" if transpose else "forward"
        plan = native_plan(pattern, name, x.dtype, batch, n, features_last=features_last)
    _call(plan, plain(values), x, y)
    return y


def block_outer(
    pattern: BlockPattern,
    dy: Tensor,  # (..., m, n), or (..., n, m)
    x: Tensor,  # (..., k, n), or (..., n, k)
    *,
    features_last: bool,
    plan: NativePlan | None = None,
) -> Tensor:
    """dY Xᵀ at the stored blocks, summed over leading dimensions: (nnz, b_m, b_k) in x's dtype.

    Args: as `multiply` has them.
    """
    dy, x = plain(dy), plain(x)
    values = x.new_empty(pattern.nnz, *pattern.block_size)
    if features_last:
        batch, n = 1, math.prod(x.shape[:-1])
    else:
        batch, n = math.prod(x.shape[:-2]), x.shape[-1]
    if values.numel() == 0:
        return values
    if batch * n == 0:
        return values.zero_()
    if plan is None:
        plan = native_plan(pattern, "outer", x.dtype, batch, n, features_last=features_last)
    _call(plan, dy, x, values)
    return values


def _call(plan: NativePlan, first: Tensor, second: Tensor, output: Tensor) -> None:
    check_status(
        kernel(plan.kernel)(
            ctypes.addressof(plan.product),
            first.data_ptr(),
            second.data_ptr(),
            output.data_ptr(),
        )
    )
