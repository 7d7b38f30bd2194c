"""How the products on the CPU are cut up: panels of columns, bands of x, ranges of rows.

A plan is made in microseconds once for a pattern, a size, a dtype and a number of threads, and
remembered with the pattern. Results depend on none of it: every output is one sum in a fixed order.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffrender.blocksparse._native_kernels import Product, check_status, kernel
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import instruction_set, kernel_threads, share_team

__all__ = ["NativePlan", "native_plan"]

_DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_REGISTER_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
_PLANS = 64  # that a pattern remembers
_LINE = 64  # bytes of a cache line
# By `features_last`: what columns cost more, relative, for every 48 that are packed before them and
# push them out of the second cache; and what a group costs, in columns: with features first x is
# read in longer pieces where more is packed at a time.
_PACKING = {True: (0.1, 5.0), False: (0.05, 8.0)}
# Reading the values again for the next group, in columns, where more bytes than stay in a cache.
_VALUES_AGAIN, _CACHED = 16.0, 8 << 20
_FULL = 0.4  # density from which a row of single numbers keeps a register's work in a short band
_MANY_COLUMNS = 64  # from which sorting single numbers' rows pays
_CROWDED = 0.1  # density from which single numbers share index and value among 4 vectors, not 2
_ROWS_APART = 1024  # rows of a piece: sums of its panels stay in the second cache
_FEW_OPERATIONS = 2_000_000  # below which waking a second thread costs more than it brings


@dataclass(frozen=True, eq=False)
class NativePlan:
    """How the kernels cut one product up.

    Attributes:
        kernel: "multiply", "vector" (a single column), "outer" or "rows" (gradient of the values).
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
        kernel, cut = "vector", _Cut(1, 1, 1, 1, _vector_parts(pattern, product, threads))
    elif product == "outer":
        kernel, cut = _cut_gradient(pattern, dtype, features_last, lanes * size, n, batch, threads)
    elif out == inside == 1 and n >= _MANY_COLUMNS:
        kernel, cut = "entries", _cut_entries(pattern, by_column, lanes, size, n, batch, threads)
    else:
        kernel = "multiply"
        cut = _cut_columns(pattern, by_column, features_last, lanes, size, n, batch, threads)
    offsets, indices = (
        (pattern.column_offsets, pattern.transpose_row_indices)
        if by_column
        else (pattern.row_offsets, pattern.column_indices)
    )
    bands = min(cut.bands, inner // inside)
    native = Product(
        _DTYPES[dtype], int(product == "transposed"), int(features_last), rows // out,
        inner // inside, out, inside, batch, n, threads, cut.vectors, cut.group, bands,
        cut.chunk, cut.parts, max(1, 160 // inside), cut.parts * cut.apart, offsets.data_ptr(),
        indices.data_ptr(), pattern.transpose_order.data_ptr() if by_column else None,
        *(None,) * 5,
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


@dataclass(frozen=True)
class _Cut:
    vectors: int  # of a panel
    group: int  # columns
    bands: int
    chunk: int  # block rows
    parts: int
    apart: int = 1  # pieces of a part that are arranged apart, of single numbers


def _cut_columns(
    pattern: BlockPattern,
    transpose: bool,
    features_last: bool,
    lanes: int,
    size: int,
    n: int,
    batch: int,
    threads: int,
) -> _Cut:
    """Cuts of a product whose columns are vectors of `lanes` numbers of `size` bytes.

    Args:
        features_last: the layout of x and y; where it is not, sums may go straight to y.
    """
    (rows, inner), (out, _) = pattern.shape, pattern.block_size
    if transpose:
        (inner, rows), (_, out) = pattern.shape, pattern.block_size
    density = pattern.density
    total = -(-n // lanes)  # vectors of columns
    parts = 1
    if batch * total < 3 * threads:
        parts = 2 * threads  # too few columns to deal out: rows are dealt out instead
    line = max(1, _LINE // (lanes * size))  # vectors of a cache line, which no two groups share
    if out == 1:
        # Full rows: narrow panels, so that their bands come from the first cache.
        widest, spilt, begun = 4 if density >= _FULL else 8, 0.0, float(lanes)
    else:
        widest, (spilt, begun) = 3, _PACKING[features_last]
        if pattern.nnz * math.prod(pattern.block_size) * size > _CACHED:
            begun += _VALUES_AGAIN
    costs = (spilt * lanes / 48, begun / lanes)
    group = lanes * _group(total, line, widest, costs, batch, 1 if parts > 1 else threads)
    if n < 64:
        return _Cut(widest, group, 1, 16, parts)
    if out == 1:
        return _Cut(widest, group, _bands_of_entries(inner, density), 256, parts)
    # A panel's band of about 1024 rows stays in the second cache with the values that meet it,
    # unless too few blocks of a row are left in a band.
    least = 96 if out == 4 else 256
    bands = max(1, min(-(-inner // 1024), int(inner * density / least)))
    # Rows of a chunk go through all bands, and into y's columns, while their sums are in cache.
    # Where sums go straight to y a panel is worked through from top to bottom, and stays in cache.
    chunk = rows // out if not features_last and bands == 1 else max(1, 1024 // out)
    return _Cut(widest, group, bands, chunk, parts)


def _cut_entries(
    pattern: BlockPattern,
    transpose: bool,
    lanes: int,
    size: int,
    n: int,
    batch: int,
    threads: int,
) -> _Cut:
    """Cuts of a product of single numbers, as `_cut_columns` has them."""
    rows, inner = pattern.shape[::-1] if transpose else pattern.shape
    # Where rows are full, a band that the first cache holds has many of their numbers. Two vectors
    # share index and value where that makes a band of a second cache's rows long enough.
    full = pattern.density >= _CROWDED
    vectors = 4 if full or lanes * size < 64 else 2
    band = 1 << 15 if full else 1 << 16  # bytes
    bands = -(-inner // (band // (vectors * lanes * size)))
    total = -(-n // lanes)
    parts = 2 * threads if batch * total < 3 * threads else 1
    group = min(4, -(-total // vectors) * vectors)  # what is packed stays in the second cache
    apart = max(1, -(-rows // (parts * _ROWS_APART)))
    return _Cut(vectors, lanes * group, bands, 1, parts, apart)


def _cut_gradient(
    pattern: BlockPattern,
    dtype: torch.dtype,
    features_last: bool,
    register: int,
    n: int,
    batch: int,
    threads: int,
) -> tuple[str, _Cut]:
    """Kernel and cuts of the values' gradient, on registers of so many bytes."""
    (m, k), sides = pattern.shape, pattern.block_size
    parts = max(8 * threads, m // 128)
    if columns := _columns_of_rows(pattern, dtype, features_last, register, n):
        return "rows", _Cut(1, columns, 1, 1, parts)
    if 1 in sides:
        # Dot products, out of bands of x that stay in the second cache.
        full = pattern.density >= _CROWDED
        vectors, band = (8 if full and k >= 4096 else 4), (1 << 20 if full else 1 << 19)  # bytes
        bands = -(-k * vectors * register // band) if n * batch >= 64 else 1
        return "outer", _Cut(vectors, 128, bands, 1, parts)
    columns = {4: 128 if features_last else 512, 8: 512}.get(sides[1], 256)
    return "outer", _Cut(8, columns, 1, 1, parts)


def _columns_of_rows(
    pattern: BlockPattern, dtype: torch.dtype, features_last: bool, register: int, n: int
) -> int:
    """Columns at a time where the gradient is fastest by dot products of rows, else 0.

    Packing dy and x for outer products takes as long as some thirty to a hundred multiply-adds a
    number, blocks of four fill its registers badly, and single numbers are dot products either way.
    """
    (m, k), least = pattern.shape, min(pattern.block_size)
    if n < 192:
        return 0
    uses = 2 * m * k * pattern.density / (m + k)  # of a number of dy or x
    exact = dtype in (torch.float32, torch.float64)
    if register < 64 or dtype == torch.float64:
        few = least > 1 and uses <= 32
        return 1024 if exact and not features_last and few else 0
    if least == 1:
        # Read as they lie, unless rows are so long that they push each other out of the caches.
        lie = dtype == torch.float32 and not features_last and n <= 512
        full = pattern.density >= _CROWDED
        return 512 if lie and (not full or (n == 512 and k >= 2048)) else 0
    if not features_last and dtype != torch.float16:  # read as they lie
        return 1024 if least == 4 or uses <= (128 if 512 <= n <= 1024 else 64) else 0
    # Turned around, or widened, once. Pairs of bfloat16 cannot be.
    narrow = least == 4 or (least == 8 and uses <= 64)
    return 512 if narrow and dtype != torch.bfloat16 else 0


def _group(
    total: int, line: int, widest: int, costs: tuple[float, float], batch: int, threads: int
) -> int:
    """Vectors of columns that are packed together: dealt out evenly, in few narrow panels.

    Args:
        total: vectors of all columns.
        line: vectors of a cache line.
        widest: vectors of the widest panel.
        costs: what a vector costs more for each that is packed before its panel, and what a group
            costs, in vectors.
    """
    spilt, begun = costs

    def cost(vectors: int) -> float:
        panels = -(-vectors // widest)
        slower = 1.0 + spilt * widest * min(panels - 1, 3)
        return slower * (vectors + 0.4 * panels) + begun  # each panel reads the values

    def slowest(group: int) -> float:
        tasks = ([group] * (total // group) + [total % group] * (total % group > 0)) * batch
        if len(tasks) > 8 * threads:
            return sum(map(cost, tasks)) / threads
        busy = [0.0] * threads
        for task in tasks:
            busy[busy.index(min(busy))] += cost(task)
        return max(busy)

    least = min(4, widest)
    groups = range(line * -(-least // line), min(24, -(-total // line) * line) + 1, line)
    return min(groups, key=slowest, default=total)


def _bands_of_entries(inner: int, density: float) -> int:
    """Single numbers: x has to come from the first caches where rows are full, else the second."""
    rows = 128 if density >= 0.25 else max(512.0, 16 / max(density, 1e-9))
    return max(1, round(inner / rows))


def _vector_parts(pattern: BlockPattern, product: str, threads: int) -> int:
    if product == "forward":
        return 4 * threads
    # Fixed by the size alone: the parts' sums are added up in order.
    return max(1, min(8, pattern.nnz * math.prod(pattern.block_size) // 65536))


def _arrangement(pattern: BlockPattern, native: Product, by_column: bool) -> tuple[Tensor, ...]:
    """Where single numbers go, as blocksparse_entries.cpp arranges them: four tensors."""
    key = ("native entries", by_column, native.vectors, native.bands, native.pieces)
    found = pattern.remembered.get(key)
    if found is None:
        in_step = 4 if native.vectors == 2 else 2
        groups = native.bands * (native.out_blocks // in_step + native.pieces)
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
