"""Dynamic mode's host encoding: a mask's blocks into buckets of fixed capacity, one a tile.

The weight is cut into equal cells, q_m by q_k; each cell has q_n buckets. Where a cell holds more
than its buckets, the surplus goes to buckets with room: of the same cell, then of the same row of
cells, then anywhere. Spilt blocks have to travel, so the device runs propagation steps: at each,
every bucket moves on by one cell, cyclically, and a tile works on the blocks of its own cell.

Source: poplibs, lib/popsparse/SparsePartitionerImpl.cpp. Not modelled: the
capacity of the 16-bit index words, which the bucket's share of blocks bounds here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diffrender.blocksparse._structure import (
    Index,
    block_positions,
    check_mask,
    check_sizes,
    offsets,
)
from diffrender.blocksparse.bucket_grid import BucketGrid
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.errors import InputError, check_shape

__all__ = ["Buckets", "encode", "positions", "too_many_blocks"]


@dataclass(frozen=True, eq=False)
class Buckets:
    """An encoded mask. Blocks lie bucket by bucket; bucket t has offsets[t] to offsets[t + 1].

    Attributes:
        grid: what it was encoded for.
        offsets: (tiles + 1,) int64.
        rows, columns: (nnz,) int32, block position of each block.
        cells: (nnz,) int32, the cell x × q_k + y that each block belongs to.
        places: (nnz,) int32, place of each block's values in row order.
        steps: propagation steps along (m, k, n); zeros where every block is at home.
        distances: the distances along m, above zero, that some block has to travel.
    """

    grid: BucketGrid
    offsets: Index
    rows: Index
    columns: Index
    cells: Index
    places: Index
    steps: tuple[int, int, int]
    distances: tuple[int, ...]

    @property
    def spilled(self) -> int:
        """Blocks outside their own cell's buckets."""
        owners = np.repeat(np.arange(self.grid.tiles), np.diff(self.offsets))
        return int((owners // self.grid.parts[2] != self.cells).sum())


def too_many_blocks(grid: BucketGrid, rows: Index, columns: Index) -> InputError:
    """The error for a mask of more than `max_blocks`: how many, and which cells are the fullest."""
    high, wide = grid.cell
    cells = (rows // high) * grid.parts[1] + columns // wide
    counts = np.bincount(cells, minlength=grid.parts[0] * grid.parts[1])
    room = grid.capacity * grid.parts[2]
    fullest = np.argsort(-counts, kind="stable")[:3]
    where = ", ".join(
        f"rows {c // grid.parts[1] * high * grid.block_size[0]} and columns "
        f"{c % grid.parts[1] * wide * grid.block_size[1]} onwards: {counts[c]} (room for {room})"
        for c in fullest.tolist()
    )
    return InputError(
        f"the mask keeps {len(rows)} blocks, {len(rows) - grid.max_blocks} more than the "
        f"{grid.max_blocks} that the plan holds; the fullest cells are at {where}; drop blocks or "
        f"plan for a higher max_density"
    )


def encode(mask: Tensor | BlockPattern, grid: BucketGrid) -> Buckets:  # (m_B, k_B) bool
    """Deal a mask's blocks to buckets.

    Args:
        mask: block mask, or a pattern.
        grid: cells and capacity, fixed beforehand.

    Raises:
        InputError: the mask has another shape, or more blocks than the grid's `max_blocks`.
    """
    rows, columns = positions(mask, grid)
    if len(rows) > grid.max_blocks:
        raise too_many_blocks(grid, rows, columns)
    high, wide = grid.cell
    depth = grid.parts[2]
    cells = (rows // high) * grid.parts[1] + columns // wide
    places = np.argsort(cells, kind="stable").astype(np.int32)
    cells = cells[places]
    # A cell's blocks, in row order, are cut evenly over its buckets.
    begin = offsets(cells, grid.parts[0] * grid.parts[1])
    within, count = np.arange(len(cells)) - begin[cells], np.diff(begin)[cells]
    tiles = cells * depth + within * depth // np.maximum(count, 1)
    tiles = _spill(tiles, rows[places], grid)
    order = np.argsort(tiles, kind="stable")
    places, cells, tiles = places[order], cells[order], tiles[order]
    steps, distances = _travel(tiles, cells, grid)
    return Buckets(
        grid,
        offsets(tiles, grid.tiles),
        rows[places],
        columns[places],
        cells.astype(np.int32),
        places,
        steps,
        distances,
    )


def positions(mask: Tensor | BlockPattern, grid: BucketGrid) -> tuple[Index, Index]:
    """Block rows and columns that a mask keeps, checked against the grid."""
    if isinstance(mask, BlockPattern):
        if mask.shape != grid.shape or mask.block_size != grid.block_size:
            raise InputError(
                f"the pattern is {mask.shape} in blocks of {mask.block_size}, expected "
                f"{grid.shape} in blocks of {grid.block_size}"
            )
        mask.refuse_stale()
        return mask.row_indices.cpu().numpy(), mask.column_indices.cpu().numpy()
    check_mask("mask", mask)
    check_shape("mask", mask, *check_sizes(grid.shape, grid.block_size))
    return block_positions(mask)


def _spill(tiles: Index, rows: Index, grid: BucketGrid) -> Index:
    """Move what is beyond a bucket's capacity, from its end, to buckets with room."""
    counts = np.bincount(tiles, minlength=grid.tiles)
    full = np.flatnonzero(counts > grid.capacity)
    if len(full) == 0:
        return tiles
    tiles = tiles.copy()
    ends = np.cumsum(counts)
    surplus = {t: list(range(ends[t] - counts[t] + grid.capacity, ends[t])) for t in full.tolist()}
    room = np.maximum(grid.capacity - counts, 0).tolist()  # lists: most surpluses are a few blocks
    rows_of = {block: int(rows[block]) for left in surplus.values() for block in left}
    for radius in ("cell", "row", "anywhere")[grid.parts[2] == 1 :]:
        for tile in sorted(surplus, key=lambda t: (-len(surplus[t]), t)):  # largest first
            targets = functools.partial(_targets, tile, radius, grid)
            surplus[tile] = _deal(surplus[tile], rows_of, targets, room, grid.capacity, tiles)
        surplus = {tile: left for tile, left in surplus.items() if left}
        if not surplus:
            return tiles
    raise AssertionError("max_blocks fit all the buckets together")


def _targets(tile: int, radius: str, grid: BucketGrid) -> Iterator[int]:
    """Buckets within a radius, those that a block travels back from in fewest steps first."""
    (q_m, q_k, q_n), cell = grid.parts, tile // grid.parts[2]
    x, y = divmod(cell, q_k)
    # A bucket moves up by one cell a step, so the nearest is the one just below.
    for down in range(q_m if radius == "anywhere" else 1):
        start = (x - down) % q_m * q_k
        for across in range(1 if radius == "cell" else q_k):
            first = (start + (y - across) % q_k) * q_n
            yield from range(first, first + q_n)


def _deal(
    blocks: list[int],
    rows: dict[int, int],
    targets: Callable[[], Iterator[int]],
    room: list[int],
    capacity: int,
    tiles: Index,
) -> list[int]:
    """Whole rows first, then rows that are split; returns the blocks that found no room."""
    left: list[int] = []
    for _, group in itertools.groupby(blocks, rows.__getitem__):
        run = list(group)
        target = -1
        if 1 < len(run) <= capacity:
            target = next((t for t in targets() if room[t] >= len(run)), -1)
        if target < 0:
            left += run
        else:
            tiles[run] = target
            room[target] -= len(run)
    start = 0
    for target in targets():
        if start == len(left):
            break
        if room[target]:
            part = left[start : start + room[target]]
            tiles[part] = target
            room[target] -= len(part)
            start += len(part)
    return left[start:]


def _travel(
    tiles: Index, cells: Index, grid: BucketGrid
) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Steps that bring every block to its cell, and the distances along m that occur."""
    q_m, q_k, q_n = grid.parts
    held = tiles // q_n
    away = held != cells
    if not away.any():
        return (0, 0, 0), ()
    down = (cells[away] // q_k - held[away] // q_k) % q_m
    across = (cells[away] % q_k - held[away] % q_k) % q_k
    distances = tuple(int(d) for d in np.unique(down) if d)
    return (int(down.max()), int(across.max()), q_n), distances
