"""How the products on the CPU are cut up, kernel by kernel: rules that were settled by measuring.

All of them are for speed alone: no cut changes a product's sums, but for the slices of a gradient,
which hang on sizes alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["Cut", "cut_columns", "cut_entries", "cut_gradient", "vector_parts"]

_LINE = 64  # bytes of a cache line
# By `features_last`: what columns cost more, relative, for every 48 that are packed before them and
# push them out of the second cache; and what a group costs, in columns: with features first x is
# read in longer pieces where more is packed at a time.
_PACKING = {True: (0.1, 5.0), False: (0.05, 8.0)}
# Reading the values again for the next group, in columns, where more bytes than stay in a cache.
_VALUES_AGAIN, _CACHED = 16.0, 8 << 20
_FULL = 0.4  # density from which rows of 1 x b keep a register's work in a short band
_CROWDED = 0.1  # density from which single numbers share index and value among 4 vectors, not 2
_PACKED_NUMBER = 3.0  # of x, for a product of single numbers, in multiply-adds
_ROWS_APART = 1024  # rows of a piece: sums of its panels stay in the second cache


@dataclass(frozen=True)
class Cut:
    """The numbers of a plan that say how a product is cut up; blocksparse.h says what they mean."""

    vectors: int  # of a panel
    group: int  # columns
    bands: int
    chunk: int  # block rows
    parts: int
    apart: int = 1  # pieces of a part that are arranged apart, of single numbers
    slices: int = 1  # of columns, in a gradient of the values


def cut_columns(
    pattern: BlockPattern,
    transpose: bool,
    features_last: bool,
    lanes: int,
    dtype: torch.dtype,
    n: int,
    batch: int,
    threads: int,
) -> Cut:
    """Cuts of a product whose columns are vectors of `lanes` numbers.

    Args:
        features_last: the layout of x and y; where it is not, sums may go straight to y.
    """
    size = 8 if dtype == torch.float64 else 4  # bytes of a sum
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
        return Cut(widest, group, 1, 16, parts)
    if out == 1:
        return Cut(widest, group, _bands_of_entries(inner, density), 256, parts)
    # A panel's band of about 1024 rows stays in the second cache with the values that meet it,
    # unless too few blocks of a row are left in a band.
    least = 96 if out == 4 else 256
    bands = max(1, min(-(-inner // 1024), int(inner * density / least)))
    # Rows of a chunk go through all bands, and into y's columns, while their sums are in cache.
    # Where sums go straight to y a panel is worked through from top to bottom, and stays in cache.
    if features_last or bands > 1:
        chunk = max(1, 1024 // out)
    elif dtype in (torch.float32, torch.float64):
        chunk = rows // out
    else:  # sums are rounded on their way to y
        chunk = max(1, 512 // out)
    return Cut(widest, group, bands, chunk, parts)


def cut_entries(
    pattern: BlockPattern,
    transpose: bool,
    lanes: int,
    size: int,
    n: int,
    batch: int,
    threads: int,
) -> Cut:
    """Cuts of a product of single numbers, as `cut_columns` has them."""
    rows, inner = pattern.shape[::-1] if transpose else pattern.shape
    # Where rows are full, a band that the first cache holds has many of their numbers. Two vectors
    # share index and value where that makes a band of a second cache's rows long enough.
    full = pattern.density >= _CROWDED
    vectors = 4 if full or lanes * size < 64 else 2
    band = 1 << 15 if full else 1 << 16  # bytes
    bands = -(-inner // (band // (vectors * lanes * size)))
    panels = -(-n // (lanes * vectors))
    # Packing a number of x, in multiply-adds of a number of the matrix with it; every part of the
    # rows packs for itself.
    packing = _PACKED_NUMBER / max(rows * pattern.density, 1.0)

    def slowest(cut: tuple[int, int]) -> float:
        parts, together = cut
        tasks = batch * -(-panels // together) * parts
        return -(-tasks // threads) * together * (1 / parts + packing)

    # What is packed together stays in the second cache; of equals the first, more panels before.
    tried = [
        (1 << p, together)
        for p in range((2 * threads).bit_length())
        for together in range(max(1, 4 // vectors), 0, -1)
    ]
    parts, together = min(tried, key=slowest)
    group = vectors * together
    apart = max(1, -(-rows // (parts * _ROWS_APART)))
    return Cut(vectors, lanes * group, bands, 1, parts, apart)


def cut_gradient(
    pattern: BlockPattern,
    dtype: torch.dtype,
    features_last: bool,
    register: int,
    n: int,
    batch: int,
    threads: int,
) -> tuple[str, Cut]:
    """Kernel and cuts of the values' gradient, on registers of so many bytes."""
    (m, k), sides = pattern.shape, pattern.block_size
    parts = max(8 * threads, m // 128)

    def cut(vectors: int, columns: int, bands: int = 1) -> Cut:
        columns, slices = _slices(pattern, columns, n, batch)
        return Cut(vectors, columns, bands, 1, parts, slices=slices)

    if columns := _columns_of_rows(pattern, dtype, features_last, register, n):
        # Read as they lie there is nothing to pack, once or twice.
        return "rows", cut(1, columns) if features_last else Cut(1, columns, 1, 1, parts)
    if 1 in sides:
        # Dot products, out of bands of x that stay in the second cache.
        full = pattern.density >= _CROWDED
        vectors, band = (8 if full and k >= 4096 else 4), (1 << 20 if full else 1 << 19)  # bytes
        bands = -(-k * vectors * register // band) if n * batch >= 64 else 1
        return "outer", cut(vectors, 128, bands)
    return "outer", cut(8, {4: 128 if features_last else 512, 8: 512}.get(sides[1], 256))


def _slices(pattern: BlockPattern, columns: int, n: int, batch: int) -> tuple[int, int]:
    """Columns that are packed together, and slices of all columns, of sums of their own.

    As many slices as cost next to nothing to add up, beside packing dy and x.
    """
    values = pattern.nnz * math.prod(pattern.block_size)
    spare = sum(pattern.shape) * n * batch // (8 * max(values, 1))
    slices = 1 << min(2, max(spare, 1).bit_length() - 1)
    if batch < slices and n >= 64 * slices:
        columns = min(columns, -(-n // (64 * slices)) * 64)
    return columns, min(slices, batch * -(-n // columns))


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
        few = uses <= (128 if 512 <= n <= 1024 else 64)
        near = exact and n <= 512 and uses <= 512 and pattern.density < 1.5 * _CROWDED
        return 1024 if least == 4 or few or near else 0
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
    """Rows of 1 x b: x has to come from the first caches where they are full, else the second."""
    rows = 128 if density >= 0.25 else max(512.0, 16 / max(density, 1e-9))
    return max(1, round(inner / rows))


def vector_parts(pattern: BlockPattern, product: str, threads: int) -> int:
    """Row ranges of a product with a single column."""
    if product == "forward":
        return 4 * threads
    # Fixed by the size alone: the parts' sums are added up in order.
    return max(1, min(8, pattern.nnz * math.prod(pattern.block_size) // 65536))
