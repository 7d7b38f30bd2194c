"""The products in plain torch: gather blocks, multiply, add; the twin that the kernels must match.

Differentiable as they stand. Blocks are taken in runs so that what is gathered stays small, and
sums are in a fixed order: blocks by row, whatever the threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["block_outer", "multiply"]

_GATHERED = 2**23  # elements that are gathered at once


def multiply(
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b_m, b_k)
    x: Tensor,  # (..., k, n) or (..., n, k)
    *,
    transpose: bool,
    features_last: bool,
    plan: object | None = None,
) -> Tensor:
    """y = W x, or W^T x: y_i = sum over the blocks (i, j) of row i of W_ij x_j.

    Half precision is summed in float32. Returns x with its features replaced by the product's.
    """
    sources, targets = pattern.column_indices, pattern.row_indices
    features, side = pattern.shape[0], pattern.block_size[1]
    if transpose:
        sources, targets = targets, sources
        features, side = pattern.shape[1], pattern.block_size[0]
        values = values.mT
    blocks = _block_rows(x, side, features_last)  # (grid, side, N)
    dtype = _sum_dtype(x.dtype)
    height = values.shape[1]
    y = torch.zeros((features // height, height, blocks.shape[2]), dtype=dtype, device=x.device)
    for run in _runs(pattern, blocks.shape[2]):
        products = values[run].to(dtype) @ blocks[sources[run].long()].to(dtype)
        y = _add_rows(y, targets[run].long(), products)
    return _restore(y.view(features, -1), x, features_last).to(x.dtype)


def block_outer(
    pattern: BlockPattern,
    dy: Tensor,  # (..., m, n) or (..., n, m)
    x: Tensor,  # (..., k, n) or (..., n, k)
    *,
    features_last: bool,
    plan: object | None = None,
) -> Tensor:
    """dW_ij = dy_i x_j^T at the stored blocks, summed over n and the leading dimensions.

    Half precision is summed in float32. Returns (nnz, b_m, b_k) in x's dtype.
    """
    left = _block_rows(dy, pattern.block_size[0], features_last)
    right = _block_rows(x, pattern.block_size[1], features_last)
    dtype = _sum_dtype(x.dtype)
    found = [x.new_zeros((0, *pattern.block_size))]
    for run in _runs(pattern, left.shape[2]):
        rows = left[pattern.row_indices[run].long()].to(dtype)
        columns = right[pattern.column_indices[run].long()].to(dtype)
        found.append((rows @ columns.mT).to(x.dtype))
    return torch.cat(found)


def _sum_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _block_rows(x: Tensor, side: int, features_last: bool) -> Tensor:
    """(blocks, side, N) from either layout, leading dimensions folded into N."""
    if features_last:
        flat = x.reshape(-1, x.shape[-1]).mT
    else:
        # Not flatten: batched gradients have no rule for it.
        flat = x.movedim(-2, 0).reshape(x.shape[-2], math.prod(x.shape[:-2]) * x.shape[-1])
    return flat.reshape(flat.shape[0] // side, side, flat.shape[1])


def _restore(y: Tensor, x: Tensor, features_last: bool) -> Tensor:  # (m, N)
    """The product in the layout that x came in."""
    if features_last:
        return y.mT.contiguous().view(*x.shape[:-1], y.shape[0])
    return y.view(y.shape[0], *x.shape[:-2], x.shape[-1]).movedim(0, -2).contiguous()


def _runs(pattern: BlockPattern, columns: int) -> Iterator[slice]:
    """Runs of stored blocks whose gathered rows fit the limit."""
    step = max(1, _GATHERED // max(1, max(pattern.block_size) * columns))
    for start in range(0, pattern.nnz, step):
        yield slice(start, min(start + step, pattern.nnz))


def _add_rows(y: Tensor, rows: Tensor, products: Tensor) -> Tensor:
    # index_add adds in order on a CPU; on a CUDA device only index_put does.
    if y.is_cuda:
        return y.index_put((rows,), products, accumulate=True)
    return y.index_add(0, rows, products)
