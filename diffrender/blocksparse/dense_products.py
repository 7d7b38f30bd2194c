"""The products through a dense weight: what the planner answers where few blocks are missing."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["block_outer", "multiply"]


def multiply(
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b_m, b_k)
    x: Tensor,  # (..., k, n) or (..., n, k)
    *,
    transpose: bool,
    features_last: bool,
    plan: object | None = None,
) -> Tensor:
    """W x, or W^T x, by one dense product."""
    weight = pattern.to_dense(values)
    if transpose:
        weight = weight.mT
    return torch.matmul(x, weight.mT) if features_last else torch.matmul(weight, x)


def block_outer(
    pattern: BlockPattern,
    dy: Tensor,  # (..., m, n) or (..., n, m)
    x: Tensor,  # (..., k, n) or (..., n, k)
    *,
    features_last: bool,
    plan: object | None = None,
) -> Tensor:
    """dy x^T in full, of which the stored blocks are kept."""
    axis = -1 if features_last else -2
    left = dy.movedim(axis, 0).reshape(dy.shape[axis], -1)
    right = x.movedim(axis, 0).reshape(x.shape[axis], -1)
    return pattern.to_values(left @ right.mT)
