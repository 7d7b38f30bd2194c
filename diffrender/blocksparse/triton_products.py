"""The products on a CUDA device, in Triton; in its interpreter on the CPU, to be tested.

Twin: `torch_products`, same signature, same values but for rounding. Sums are in float32 (float64
for float64) and in one order; float32 is multiplied as float32, not rounded to TF32. Nothing is
planned: the lists of `triton_lists` follow from the pattern alone, and launches have the same size
for every pattern with as many places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrender._triton import blocks, device_of, interpreting, power_of_two, tl
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.blocksparse.triton_lists import Lists, block_lists
from diffrender.blocksparse.triton_multiply import multiply_rows, multiply_tiles
from diffrender.blocksparse.triton_outer import outer_rows, outer_tiles

__all__ = ["block_outer", "launch", "multiply"]

# By bytes of an element: columns of a tile, and elements of the sum that a step takes.
_WIDEST = {2: 128, 4: 64, 8: 32}
_STEP = {2: 64, 4: 32, 8: 16}
_LEAST = 16  # of each side of what tensor cores multiply


@dataclass(frozen=True)
class _Tile:
    """Sides of the tiles that a program multiplies, powers of two."""

    single: bool  # one row, multiplied element by element
    slabs: int  # blocks side by side along `depth`
    rows: int
    depth: int
    columns: int

    @property
    def warps(self) -> int:
        return 8 if self.rows * max(self.columns, self.depth) > 64 * 64 else 4


def multiply(
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b_m, b_k)
    x: Tensor,  # (..., k, n), or (..., n, k) with features last
    *,
    transpose: bool,
    features_last: bool,
    plan: object | None = None,  # of no use here
) -> Tensor:
    """W x, or W^T x, in x's dtype. Shape (..., m, n), or (..., n, m) with features last."""
    outer, inner = pattern.shape[::-1] if transpose else pattern.shape
    high, deep = pattern.block_size[::-1] if transpose else pattern.block_size
    x, batches, columns = _flat(x, features_last)
    shape = (*x.shape[:-1], outer) if features_last else (*x.shape[:-2], outer, x.shape[-1])
    if not pattern.nnz or not batches * columns:
        return x.new_zeros(shape)
    y = x.new_empty(shape)
    lists = block_lists(pattern, transpose, x.element_size())
    tile = _tile(lists.members * high, deep, columns, x)
    programs = lists.groups * batches * blocks(columns, tile.columns)
    tensors: tuple[Tensor, ...] = (values.contiguous().resolve_neg(), x, y, *_tables(lists))
    direct, dtype = lists.slots is None, _sum_dtype(x)
    arguments: tuple[Any, ...]
    if tile.single:
        kernel = multiply_rows
        arguments = (lists.groups, inner, columns, direct, features_last, dtype)
        arguments += (deep, tile.slabs, tile.depth, tile.columns)
    else:
        kernel = multiply_tiles
        arguments = (lists.groups, outer, inner, columns, lists.members, direct, transpose)
        arguments += (features_last, _widen(x), dtype, high, deep, tile.slabs)
        arguments += (tile.rows, tile.depth, tile.columns)
    with device_of(x):
        launch(kernel, programs, *tensors, *arguments, warps=tile.warps)
    return y


def block_outer(
    pattern: BlockPattern,
    dy: Tensor,  # (..., m, n), or (..., n, m) with features last
    x: Tensor,  # (..., k, n), or (..., n, k) with features last
    *,
    features_last: bool,
    plan: object | None = None,  # of no use here
) -> Tensor:
    """dY X^T at the pattern, summed over leading dimensions, in x's dtype. (nnz, b_m, b_k)."""
    out = x.new_zeros(pattern.values_shape)
    dy = _flat(dy, features_last)[0]
    x, batches, columns = _flat(x, features_last)
    if not pattern.nnz or not batches * columns:
        return out
    (outer, inner), (high, deep) = pattern.shape, pattern.block_size
    lists = block_lists(pattern, False, x.element_size())
    tile = _tile(lists.members * high, deep, columns, x)
    chunks = blocks(inner // deep, tile.slabs)
    tensors: tuple[Tensor, ...] = (dy, x, out, *_tables(lists))
    dtype = _sum_dtype(x)
    arguments: tuple[Any, ...] = (chunks, outer, inner, batches, columns)
    if tile.single:
        kernel, tensors = outer_rows, tensors[:-1]
        arguments += (features_last, dtype)
        arguments += (deep, tile.slabs, tile.depth, tile.columns)
    else:
        kernel = outer_tiles
        arguments += (lists.members, lists.slots is None, features_last, _widen(x), dtype)
        arguments += (high, deep, tile.slabs, tile.rows, tile.depth, tile.columns)
    with device_of(x):
        launch(kernel, lists.groups * chunks, *tensors, *arguments, warps=tile.warps)
    return out


def launch(kernel: Any, programs: int, *arguments: Any, warps: int = 4) -> None:
    """Run `programs` programs of `kernel`."""
    with np.errstate(all="ignore"):  # the interpreter's arithmetic is numpy's
        kernel[(programs,)](*arguments, num_warps=warps, num_stages=3)


def _flat(x: Tensor, features_last: bool) -> tuple[Tensor, int, int]:
    """x contiguous, its number of matrices and their columns; features last has one matrix."""
    x = x.contiguous().resolve_neg()
    if features_last:
        return x, 1, x.shape[:-1].numel()
    return x, x.shape[:-2].numel(), x.shape[-1]


def _tile(rows: int, block: int, columns: int, x: Tensor) -> _Tile:
    size = x.element_size()
    slabs = max(_STEP[size] // block, 1)
    return _Tile(
        rows == 1,
        slabs,
        max(rows, _LEAST),
        max(slabs * block, _LEAST),
        min(max(power_of_two(columns), _LEAST), _WIDEST[size]),
    )


def _tables(lists: Lists) -> tuple[Tensor, Tensor, Tensor]:
    """`slots` is not read where there is none; a kernel wants a pointer all the same."""
    return lists.starts, lists.inner, lists.inner if lists.slots is None else lists.slots


def _sum_dtype(x: Tensor) -> Any:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _widen(x: Tensor) -> bool:
    return interpreting() and x.dtype == torch.bfloat16
