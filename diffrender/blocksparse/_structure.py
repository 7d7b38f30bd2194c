"""The index tensors of a pattern, built once from a mask or from sorted rows and columns."""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from diffrender.blocksparse import native_choice, native_lists
from diffrender.errors import InputError, check_shape

__all__ = [
    "BLOCK_SIDES",
    "LARGEST",
    "Index",
    "block_energy",
    "block_moves",
    "block_positions",
    "check_mask",
    "check_sizes",
    "draw_mask",
    "largest",
    "matrix_shape",
    "offsets",
    "pair",
    "stored_blocks",
    "structure_arrays",
]

BLOCK_SIDES = (1, 4, 8, 16, 32, 64)
LARGEST = 2**31 - 1  # of what an int32 index can count
Index = np.ndarray


def check_sizes(shape: tuple[int, int], block_size: tuple[int, int]) -> tuple[int, int]:
    """Block rows and columns of a shape; raises InputError where the two do not fit."""
    for name, pair in (("shape", shape), ("block_size", block_size)):
        if len(pair) != 2 or not all(isinstance(size, int) for size in pair):
            raise InputError(f"{name} is {pair!r}, expected two whole numbers")
    (m, k), (rows, columns) = shape, block_size
    if rows not in BLOCK_SIDES or columns not in BLOCK_SIDES:
        sides = ", ".join(map(str, BLOCK_SIDES))
        raise InputError(f"block_size is {block_size}, expected sides out of {sides}")
    if m < 1 or k < 1:
        raise InputError(f"shape is {shape}, expected at least (1, 1)")
    if m % rows or k % columns:
        raise InputError(
            f"shape {shape} is not a multiple of block_size {block_size}; choose a smaller block, "
            f"or pad to {(-(-m // rows) * rows, -(-k // columns) * columns)}"
        )
    if max(m, k) > LARGEST:
        raise InputError(f"shape is {shape}, expected sides up to {LARGEST}")
    return m // rows, k // columns


def block_positions(mask: Tensor) -> tuple[Index, Index]:  # (m_B, k_B) bool
    """Block rows and columns of the True entries, row by row, int32."""
    columns = mask.shape[1]
    entries = mask.detach().cpu().contiguous().numpy()
    if mask.numel() <= LARGEST and native_lists.available():
        return native_lists.positions(entries)
    places = np.flatnonzero(entries)
    if mask.numel() <= LARGEST:
        places = places.astype(np.int32)  # divides several times faster
    rows = places // places.dtype.type(columns)
    return rows.astype(np.int32), (places - rows * columns).astype(np.int32)


def structure_arrays(rows: Index, columns: Index, grid: tuple[int, int]) -> tuple[Index, ...]:
    """Everything a pattern keeps, from blocks sorted by row and then column.

    Returns:
        row_offsets, column_indices, row_indices, column_offsets, transpose_row_indices,
        transpose_order, all int32.
    """
    by_column = native_lists.sorted_by_column if native_lists.available() else _sorted_by_column
    row_ends = np.searchsorted(rows, np.arange(grid[0] + 1, dtype=rows.dtype))  # they are sorted
    found = (row_ends, columns, rows, *by_column(rows, columns, grid[1]))
    return tuple(np.ascontiguousarray(array, dtype=np.int32) for array in found)


def _sorted_by_column(rows: Index, columns: Index, count: int) -> tuple[Index, Index, Index]:
    """Where each column begins (count + 1), its blocks' rows, and their places in row order."""
    # numpy sorts 16-bit integers by radix, several times faster than by comparing.
    small = columns.astype(np.uint16) if count <= 2**16 else columns
    order = np.argsort(small, kind="stable")
    return offsets(columns, count), rows[order], order


def block_moves(
    old: tuple[Index, Index],  # (m_B + 1,), (nnz,)
    new: tuple[Index, Index],
    columns: int,
) -> Index:
    """(nnz,) int64: the place of each new block among the old ones, -1 where it was not there.

    Args: offsets of the block rows and block columns of either mask, int32.
    """
    return (native_lists.moves if native_lists.available() else _moves)(old, new, columns)


def _moves(
    old: tuple[Index, Index],  # (m_B + 1,), (nnz,)
    new: tuple[Index, Index],
    columns: int,
) -> Index:
    """(nnz,) int64: the place of each new block among the old ones, -1 where it was not there."""

    def keys(ends: Index, found: Index) -> Index:
        return np.repeat(np.arange(len(ends) - 1), np.diff(ends)) * np.int64(columns) + found

    before, now = keys(*old), keys(*new)
    if len(before) == 0:
        return np.full(len(now), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(before, now), len(before) - 1)
    return np.where(before[at] == now, at, -1)


def offsets(keys: Index, count: int) -> Index:
    """(count + 1,) where each key's run begins once the keys are sorted."""
    ends = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(keys, minlength=count), out=ends[1:])
    return ends


def draw_mask(grid: tuple[int, int], count: int, generator: torch.Generator) -> Tensor:
    """A uniformly drawn (m_B, k_B) bool mask with exactly `count` True entries."""
    total = grid[0] * grid[1]
    wanted = min(count, total - count)  # the rarer kind is drawn
    mask = np.zeros(total, dtype=bool)  # numpy scatters and counts bools several times faster
    missing = wanted
    # Every place is as likely as any other in each round, so the set is uniform among its size.
    while missing:
        # On the CPU whatever torch's default device is, "meta" included.
        drawn = torch.randint(total, (missing,), generator=generator, device="cpu")
        mask[drawn.numpy()] = True
        missing = wanted - int(np.count_nonzero(mask))
    if wanted != count:
        np.logical_not(mask, out=mask)
    return torch.from_numpy(mask).view(grid)


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(b_m, b_k) of either way to give a block size, of any integers; raises InputError else."""
    given = (size, size) if isinstance(size, SupportsIndex) else size
    try:
        sides = [operator.index(side) for side in given]
    except TypeError:
        sides = []
    if len(sides) != 2:
        raise InputError(f"a size is {size!r}, expected two whole numbers, or one for both")
    return sides[0], sides[1]


def matrix_shape(matrix: Tensor) -> tuple[int, int]:
    """(m, k), after checking that there are two dimensions."""
    check_shape("matrix", matrix, None, None)
    return matrix.shape[0], matrix.shape[1]


def check_mask(name: str, mask: Tensor) -> None:
    """Raise InputError unless a mask is a bool matrix."""
    check_shape(name, mask, None, None)
    if mask.dtype != torch.bool:
        raise InputError(f"{name} has dtype {mask.dtype}, expected torch.bool; write {name} != 0")


def stored_blocks(grid: tuple[int, int], density: float) -> int:
    """ceil(density × blocks), forgiving a rounding error of the product."""
    if not 0.0 <= density <= 1.0:
        raise InputError(f"density is {density}, expected a number in [0, 1]")
    return math.ceil(density * grid[0] * grid[1] * (1 - 1e-12))


def largest(scores: Tensor, count: int) -> Tensor:  # (N,)
    """(N,) bool: the `count` largest scores, the first ones where equal."""
    if count == 0:
        return torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    if native_choice.can_choose(scores):
        return native_choice.strongest(scores.detach(), count)
    places = np.asarray(scores.detach().cpu())
    bound = np.partition(places, len(places) - count)[len(places) - count]
    above = places > bound
    equal = np.flatnonzero(places == bound)[: count - int(above.sum())]
    above[equal] = True
    return torch.from_numpy(above).to(scores.device)


def block_energy(weight: Tensor, block_size: tuple[int, int]) -> Tensor:  # (m, k)
    """(m_B, k_B) sums of squares for comparing, whatever the size of the numbers.

    The unit is that of the largest entry, whose square the dtype may not hold.
    """
    if block_size == (1, 1):  # widened first: an int8's -128 has no positive twin
        return weight.to(torch.promote_types(weight.dtype, torch.float32)).abs()
    if native_choice.can_weigh(weight):
        return native_choice.energy(weight.detach(), block_size)
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if weight.numel():
        low, high = weight.aminmax()
        unit = torch.maximum(high, -low)
        weight = weight / torch.where(unit.isfinite() & (unit > 0), unit, 1.0)
    found = _sums_of_squares(weight, block_size)
    if found.dtype == torch.float32 and bool((found < 1e-30).any()):
        found = _sums_of_squares(weight.double(), block_size)  # where squares are lost
    return found


def _sums_of_squares(weight: Tensor, block_size: tuple[int, int]) -> Tensor:
    rows, columns = block_size
    grid = (weight.shape[0] // rows, weight.shape[1] // columns)
    return weight.square().reshape(grid[0], rows, grid[1], columns).sum((1, 3))
