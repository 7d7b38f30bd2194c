"""Cycles of the static kernels and of the reductions: formulas over arrays of candidates.

Every formula is the estimate that PopSparse plans with (popsparse.md, section 1.4.3), written in
rows and stored blocks instead of rows and blocks per row: the estimates are linear in both, so the
same function prices a planner's guess and what a tile turned out to hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrender.blocksparse.ipu.machine import IpuMachine

__all__ = [
    "ceil_div",
    "exchange_cycles",
    "reduction_cycles",
    "shared_exchange",
    "static_cycles",
    "zeroing_cycles",
]

Array = Any  # int or int64 array: the formulas broadcast


def ceil_div(a: Array, b: Array) -> Array:
    """Whole-number division rounded up."""
    return -(-a // b)


def exchange_cycles(machine: IpuMachine, received: Array, *, shared: bool = False) -> Array:
    """Cycles until a tile has received its bytes; `shared` where its neighbour wants them too."""
    return ceil_div(received, machine.exchange_bytes * (machine.bus_tiles if shared else 1))


def shared_exchange(machine: IpuMachine, received: Array, tiles: Array) -> Array:
    """Cycles where runs of `tiles` neighbours want the same: runs must fill whole buses."""
    alike = exchange_cycles(machine, received, shared=True)
    return np.where(tiles % machine.bus_tiles == 0, alike, exchange_cycles(machine, received))


def static_cycles(
    machine: IpuMachine,
    side: int,
    itemsize: int,  # bytes of an element
    rows: Array,  # block rows on the tile
    blocks: Array,  # stored blocks on the tile
    columns: Array,  # columns of X on the tile
) -> Array:
    """Compute cycles of a tile's share of a product, in static mode.

    Elements: the workers share the rows. Blocks: every worker takes all blocks for its share of
    the columns, and the supervisor loads the weights of each block.
    """
    if side == 1:
        return machine.workers * _element_worker(
            itemsize, ceil_div(rows, machine.workers), ceil_div(blocks, machine.workers), columns
        )
    header, retained, each = _block_worker(
        side, itemsize, np.maximum(1, ceil_div(columns, machine.workers))
    )
    load = side * side * itemsize // machine.coefficient_bytes
    return (
        30
        + machine.workers * header
        + rows * (machine.workers * retained + 17)
        + blocks * (16 + load + machine.workers * each)
    )


def _element_worker(itemsize: int, rows: Array, blocks: Array, columns: Array) -> Array:
    """One worker's cycles, b = 1. The source writes `first + (k - 1) step` for k per row."""
    vectors, rest = columns // (16 // itemsize), columns % (16 // itemsize) != 0
    rows, blocks = np.asarray(rows), np.asarray(blocks)
    if itemsize == 2:
        general = 33 + rows * (11 + 11 * vectors + 7 * rest) + blocks * (3 * vectors + 2 * rest)
        half = np.where(columns == 8, 31 + 5 * rows + 3 * blocks, general)
        return np.where(columns == 4, 31 + 5 * rows + 2 * blocks, half)
    general = 31 + rows * (12 + 7 * vectors + 8 * rest) + blocks * (3 * vectors + 2 * rest)
    single = np.where(columns == 4, 30 + 3 * rows + 3 * blocks, general)
    return np.where(columns == 2, 29 + 3 * rows + 2 * blocks, single)


def _block_worker(side: int, itemsize: int, columns: Array) -> tuple[int, int, Array]:
    """(header, per row, per block) cycles of a worker with these columns."""
    if itemsize == 2:
        return {
            4: (17, 1, np.where(columns <= 2, 7 + columns, 13 + columns)),
            8: (13, 1, 14 + 2 * (columns - 1)),
            16: (13, 1, 19 + 4 * (columns - 1)),
        }[side]
    return {
        4: (13, 1, 12 + 4 * (columns - 1)),
        8: (13, 4, 19 + 8 * (columns - 1)),
        # The matmul unit takes 8 float columns of W: a block is two halves.
        16: (16, 4, np.where(columns == 1, 58, 2 * (37 + 8 * (columns - 1)))),
    }[side]


def zeroing_cycles(machine: IpuMachine, size: Array) -> Array:
    """Cycles to zero `size` bytes of partials."""
    return machine.workers * (12 + ceil_div(size // machine.path_bytes, machine.workers))


def reduction_cycles(
    machine: IpuMachine,
    outputs: Array,  # elements that the tile adds up
    depth: Array,  # partials of each
    *,
    partial_bytes: int,
    output_bytes: int,
) -> Array:
    """Cycles to add `depth` partials of each output; 0 where there is nothing to add."""
    width = 16 // partial_bytes  # 4 floats or 8 halves in the accumulators
    entry = 5 if partial_bytes == 4 else (8 if output_bytes == 2 else 7)
    loops = ceil_div(ceil_div(outputs, machine.workers), width)
    cycles = machine.workers * (16 + loops * (entry + 6 + (depth - 1)))
    return np.where(np.asarray(depth) <= 1, 0, cycles)
