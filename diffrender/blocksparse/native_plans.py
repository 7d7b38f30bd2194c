"""How the products on the CPU are cut up: panels of columns, bands of x, ranges of rows.

A plan is made in microseconds once for a pattern, a size, a dtype and a number of threads, and
remembered with the pattern. Results do not hang on the threads: every output is one sum in a fixed
order. Single numbers are also arranged, once: 6 bytes for each, for W x and again for W^T x.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffrender.blocksparse._native_kernels import DTYPES, Product, check_status, kernel
from diffrender.blocksparse.native_cuts import (
    Cut,
    cut_columns,
    cut_entries,
    cut_gradient,
    vector_parts,
)
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import instruction_set, kernel_threads, share_team

__all__ = ["NativePlan", "native_plan"]

_REGISTER_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
_PLANS = 64  # that a pattern remembers
_FEW_OPERATIONS = 2_000_000  # below which waking a second thread costs more than it brings
_MANY_COLUMNS = 64  # from which sorting single numbers' rows pays


@dataclass(frozen=True, eq=False)
class NativePlan:
    """How the kernels cut one product up.

    Attributes:
        kernel: "multiply", "entries" (single numbers, many columns), "vector" (a single column),
            "outer" or "rows" (gradient of the values).
        threads: how many take part.
        group: columns of x that are packed together, in panels.
        panel: columns of a panel, as many as its sums fit the registers.
        bands: bands of x that are worked through one after another.
        chunk: block rows whose sums are kept while a band is in cache.
        parts: row ranges of about equal numbers of blocks.
        product: what the kernel reads.
        kept: index tensors that `product` points into.
    """

    kernel: str
    threads: int
    group: int
    panel: int
    bands: int
    chunk: int
    parts: int
    product: Any = field(repr=False)
    kept: tuple[Tensor, ...] = field(repr=False)


def native_plan(
    pattern: BlockPattern,
    product: str,
    dtype: torch.dtype,
    batch: int,
    n: int,
    *,
    features_last: bool,
) -> NativePlan:
    """The plan of one product, remembered with the pattern.

    Args:
        product: "forward" (W x), "transposed" (Wᵀ x) or "outer" (the gradient of the values).
        batch, n: leading dimensions together, and columns; with `features_last` batch is 1.
    """
    plans = pattern.remembered.setdefault("native plans", {})
    key = (product, dtype, batch, n, features_last, kernel_threads())
    found: NativePlan | None = plans.get(key)
    if found is None:
        if len(plans) >= _PLANS:
            # The oldest: sizes that change all the time do not pile up.
            plans.pop(next(iter(list(plans)), None), None)  # another thread may have done it
        found = plans[key] = _make_plan(pattern, product, dtype, batch, n, features_last)
    return found


def _make_plan(
    pattern: BlockPattern,
    product: str,
    dtype: torch.dtype,
    batch: int,
    n: int,
    features_last: bool,
) -> NativePlan:
    share_team()
    size = 8 if dtype == torch.float64 else 4  # bytes of a sum
    lanes = _REGISTER_BYTES[instruction_set() or "baseline"] // size
    threads = kernel_threads()
    (m, k), (b_m, b_k) = pattern.shape, pattern.block_size
    if 2 * pattern.nnz * b_m * b_k * n * batch < _FEW_OPERATIONS:
        threads = 1
    alone = product != "outer" and n == 1
    by_column = product == "transposed" and not alone
    out, inside = (b_k, b_m) if by_column else (b_m, b_k)
    rows, inner = (k, m) if by_column else (m, k)
    if alone:
        kernel, cut = "vector", Cut(1, 1, 1, 1, vector_parts(pattern, product, threads))
    elif product == "outer":
        kernel, cut = cut_gradient(pattern, dtype, features_last, lanes * size, n, batch, threads)
    elif out == inside == 1 and n >= _MANY_COLUMNS:
        kernel, cut = "entries", cut_entries(pattern, by_column, lanes, size, n, batch, threads)
    else:
        kernel = "multiply"
        cut = cut_columns(pattern, by_column, features_last, lanes, dtype, n, batch, threads)
    offsets, indices = (
        (pattern.column_offsets, pattern.transpose_row_indices)
        if by_column
        else (pattern.row_offsets, pattern.column_indices)
    )
    bands = min(cut.bands, inner // inside)
    native = Product(
        DTYPES[dtype], int(product == "transposed"), int(features_last), rows // out,
        inner // inside, out, inside, batch, n, threads, cut.vectors, cut.group, bands,
        cut.chunk, cut.parts, max(1, 160 // inside), cut.parts * cut.apart, cut.slices,
        offsets.data_ptr(), indices.data_ptr(),
        pattern.transpose_order.data_ptr() if by_column else None, *(None,) * 5,
    )  # fmt: skip
    kept: tuple[Tensor, ...] = (offsets, indices, pattern.transpose_order)
    if bands > 1:
        segments = _segments(pattern, native, by_column)
        native.segments = segments.data_ptr()
        kept = (*kept, segments)
    if kernel == "entries":
        arranged = _arrangement(pattern, native, by_column)
        native.starts, native.groups, native.places, native.steps = (t.data_ptr() for t in arranged)
        kept = (*kept, *arranged)
    return NativePlan(
        kernel, threads, cut.group, cut.vectors * lanes, bands, cut.chunk, cut.parts, native, kept
    )


def _arrangement(pattern: BlockPattern, native: Product, by_column: bool) -> tuple[Tensor, ...]:
    """Where single numbers go, as blocksparse_entries.cpp arranges them: four tensors."""
    key = ("native entries", by_column, native.vectors, native.bands, native.pieces)
    found = pattern.remembered.get(key)
    if found is None:
        groups = native.bands * (native.out_blocks // (8 // native.vectors) + native.pieces)
        sizes = (3 * native.pieces * native.bands, 8 * groups, pattern.nnz)
        found = (
            *(torch.empty(size, dtype=torch.int32, device="cpu") for size in sizes),
            torch.empty(pattern.nnz, dtype=torch.int16, device="cpu"),
        )
        pointers = (t.data_ptr() for t in found)
        check_status(kernel("arrange", "ppppp")(ctypes.addressof(native), *pointers))
        pattern.remembered[key] = found
    return found


def _segments(pattern: BlockPattern, native: Product, by_column: bool) -> Tensor:
    """(bands + 1, rows) int32 where each row's blocks in a band begin."""
    key = ("native segments", by_column, native.bands)
    found = pattern.remembered.get(key)
    if found is None:
        shape = (native.bands + 1, native.out_blocks)
        found = torch.empty(shape, dtype=torch.int32, device="cpu")
        check_status(kernel("segments", "pp")(ctypes.addressof(native), found.data_ptr()))
        pattern.remembered[key] = found
    return found
