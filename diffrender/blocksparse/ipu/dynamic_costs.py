"""Cycles of the dynamic kernels, and the sizes of their buckets.

Source: popsparse.md, sections 1.5.2 and 1.5.5 (poplibs `PerformanceEstimation.hpp` and
`FullyConnectedPlan.cpp`), with float partials, which the dynamic layers use by default.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffrender.blocksparse.ipu.costs import ceil_div
from diffrender.blocksparse.ipu.machine import IpuMachine

__all__ = [
    "SKIP_CYCLES",
    "bucket_blocks",
    "bucket_words",
    "cast_cycles",
    "depth_cycles",
    "dynamic_cycles",
    "expected_rows",
    "header_words",
]

Array = Any
SKIP_CYCLES = 33  # of the supervisor for a sub-group that is another tile's
SUBGROUPS = 2  # that a bucket's list has room for


def dynamic_cycles(
    machine: IpuMachine,
    side: int,
    itemsize: int,
    rows: Array,  # block rows with a stored block, of all buckets that the tile works through
    blocks: Array,  # stored blocks of the tile's own cell in them
    columns: Array,  # columns of X on the tile
    buckets: Array,  # buckets that hold such blocks
) -> Array:
    """Compute cycles of one pass over the buckets that lie on a tile."""
    if side == 1:
        return 30 + 90 * buckets + _elements(machine, itemsize, rows, blocks, columns)
    share = np.maximum(1, ceil_div(columns, machine.workers))
    each, inner, entry = {
        (4, 2): (2, 16 + np.minimum(share, 3), 26),
        (4, 4): (4, 14, 26),
        (8, 2): (4, np.where(share == 1, 22, 23), 20),
        (8, 4): (8, np.where(share <= 2, 22, 23), 23),
        (16, 2): (4, np.where(share == 2, 25, 24), 23),
    }[side, itemsize]
    # Float partials leave 8 of the matmul unit's 16 rows: a 16 × 16 block is loaded twice.
    loads = 2 if side == 16 else 1
    load = side * side * itemsize // machine.coefficient_bytes + 3 + 12 * loads
    worker = entry + blocks * loads * (inner + share * each - 3)
    return 40 + 102 * buckets + machine.workers * worker + blocks * load + rows + 2


def _elements(
    machine: IpuMachine, itemsize: int, rows: Array, blocks: Array, columns: Array
) -> Array:
    """All workers' cycles, b = 1: the best of the ways to share rows and columns among them."""
    best: Array = None
    wide = 16 // itemsize  # 8 halves or 4 floats a step
    for across in (1, 2, 3, 6):
        down = machine.workers // across or 1
        m = ceil_div(rows, down)
        nz = ceil_div(blocks, down)
        grain = wide // 2
        z = ceil_div(ceil_div(columns, grain), across) * grain
        vectors, rest = z // wide, z % wide != 0
        if itemsize == 2:
            general = 30 + m * (11 + 16 * (vectors > 0) + 13 * rest)
            exact = 25 + 15 * m
        else:
            general = 27 + m * (13 + 12 * (vectors > 0) + 10 * rest)
            exact = 22 + 13 * m
        cycles = np.where(z == wide, exact, general) + nz * (3 * vectors + 2 * rest)
        best = cycles if best is None else np.minimum(best, cycles)
    return machine.workers * best


def cast_cycles(machine: IpuMachine, outputs: Array) -> Array:
    """Cycles to turn float partials into halves where there is nothing to add."""
    return machine.workers * (26 + ceil_div(ceil_div(outputs, machine.workers), 2))


def depth_cycles(machine: IpuMachine, outputs: Array, depth: Array, itemsize: int) -> Array:
    """Cycles to add `depth` float partials of each output, and to cast them."""
    loops = ceil_div(ceil_div(outputs, 4), machine.workers)
    each = 3 * depth + (6 if itemsize == 2 else 7)
    return machine.workers * (32 + each * loops)


def bucket_blocks(blocks: Array, tiles: Array, oversize: float, value_bytes: int) -> Array:
    """Stored blocks that a bucket has room for: an even share, enlarged, in whole words."""
    grown = np.floor(ceil_div(blocks, tiles) * (1.0 + oversize) + 0.5).astype(np.int64)
    return ceil_div(grown, 2) * 2 if value_bytes == 2 else grown


def header_words(machine: IpuMachine, side: int) -> int:
    """16-bit words before the rows of a sub-group."""
    return 9 + 5 * machine.workers if side == 1 else 7


def expected_rows(density: float, rows: Array, columns: Array) -> Array:
    """Block rows of a piece of W that have a stored block, at this density."""
    return np.ceil(rows * (1 - (1 - density) ** columns)).astype(np.int64)


def bucket_words(
    machine: IpuMachine, side: int, density: float, oversize: float, rows: Array, columns: Array
) -> Array:
    """16-bit words of a bucket's lists, planned for `rows` × `columns` blocks of W."""
    used = np.maximum(expected_rows(density, rows, columns), 1)
    each = ceil_div(np.ceil(rows * columns * density).astype(np.int64), used)
    words = np.ceil((1.0 + oversize) * used * (2 + each)).astype(np.int64)
    return ceil_div(SUBGROUPS * header_words(machine, side) + words, 2) * 2
