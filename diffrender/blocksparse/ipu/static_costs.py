"""What the static planner predicts of its candidates: cycles by term, memory, and whether it fits.

The stored blocks are taken as independent draws: how many rows of a tile are not empty, and from
how many bands a row gets partials, are means of binomials plus one standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from diffrender.blocksparse.ipu.costs import (
    ceil_div,
    exchange_cycles,
    reduction_cycles,
    static_cycles,
    zeroing_cycles,
)
from diffrender.blocksparse.ipu.counts import BlockCounts
from diffrender.blocksparse.ipu.machine import IpuMachine

__all__ = ["TERMS", "Candidates", "Priced", "price"]

TERMS = (
    "dense exchange",
    "value exchange",
    "compute",
    "zeroing",
    "partial exchange",
    "reduction",
    "final move",
)
OFFSET_LIMIT = 65535  # offsets and list lengths of the kernels are unsigned 16-bit numbers


@dataclass(frozen=True, eq=False)
class Candidates:
    """One row for each way to cut, and each size of part that it has; all (C,) int64.

    Attributes:
        splits, bands: s_n and s_k.
        width: columns of X in the part.
        blocks, tiles, columns: of the band with most stored blocks a tile: its blocks, its tiles,
            its block columns.
        widest: most non-empty block columns of any band.
    """

    splits: np.ndarray
    bands: np.ndarray
    width: np.ndarray
    blocks: np.ndarray
    tiles: np.ndarray
    columns: np.ndarray
    widest: np.ndarray


@dataclass(frozen=True, eq=False)
class Priced:
    """(C,) figures of the candidates: cycles of each term, bytes of the tile, and validity."""

    terms: dict[str, np.ndarray]
    memory: np.ndarray
    valid: np.ndarray

    @property
    def cycles(self) -> np.ndarray:
        """(C,) all terms together."""
        return sum(self.terms.values(), np.zeros(len(self.memory), dtype=np.int64))


def price(
    found: Candidates,
    counts: BlockCounts,
    planned: tuple[int, int],  # block rows and columns that count
    padded: int,  # columns of X, whole vectors
    machine: IpuMachine,
    dtype: torch.dtype,
) -> Priced:
    """Predict every candidate. Source: popsparse.md, section 1.4.3."""
    side, size = counts.side, dtype.itemsize
    rows, columns = planned
    density = min(counts.nnz / (rows * columns), 1.0)

    tile_blocks = ceil_div(found.blocks, found.tiles)
    tile_rows = ceil_div(rows, found.tiles)
    # Where a row fills several tiles, each of them sees a part of the band's columns only.
    whole = np.minimum(np.ceil(found.blocks / density), columns)
    tile_columns = np.where(tile_rows > 1, found.columns, whole).astype(np.int64)
    row_chance = 1 - (1 - density) ** tile_columns
    used_rows = np.minimum(tile_rows, _mean_and_spread(row_chance, tile_rows))
    used_columns = np.minimum(
        tile_columns, _mean_and_spread(1 - (1 - density) ** tile_rows, tile_columns)
    )
    spread = row_chance * found.bands + _spread(row_chance, found.bands)
    depth = np.maximum(np.ceil(spread * found.columns / tile_columns).astype(np.int64), 1)

    dense_bytes = found.width * used_columns * side * size
    value_bytes = tile_blocks * side * side * size
    output_bytes = used_rows * found.width * side * size
    partial_bytes = ceil_div(output_bytes * (depth - 1), depth)

    # Sources that few tiles share make poor multicasts: the planner penalises them.
    bias = tile_columns / used_columns
    shared = exchange_cycles(machine, dense_bytes, shared=True)
    # The kernel's estimate is of full rows: blocks per row, rounded up.
    per_row = ceil_div(tile_blocks, used_rows)
    workers = ceil_div(used_rows, machine.workers) * machine.workers if side == 1 else used_rows
    outputs = ceil_div(output_bytes // size, depth)
    terms = {
        "dense exchange": np.floor(shared * bias).astype(np.int64),
        "value exchange": np.where(found.splits > 1, exchange_cycles(machine, value_bytes), 0),
        "compute": static_cycles(machine, side, size, workers, workers * per_row, found.width),
        "zeroing": _zeroing(machine, output_bytes, side, size),
        "partial exchange": exchange_cycles(machine, partial_bytes),
        "reduction": reduction_cycles(
            machine, outputs, depth, partial_bytes=size, output_bytes=size
        ),
        "final move": np.full(len(depth), ceil_div(counts.shape[0] * padded * size, machine.tiles)),
    }
    offsets = found.widest * side * found.width * size
    lists = used_rows * 2 + 2 * machine.workers * (3 if side == 1 else 1)
    valid = (offsets <= OFFSET_LIMIT * (1 if side == 1 else 8 * side)) & (lists <= OFFSET_LIMIT)
    memory = np.maximum(dense_bytes + value_bytes + output_bytes, partial_bytes + output_bytes)
    return Priced(terms, memory, valid)


def _spread(chance: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.ceil(np.sqrt(chance * (1 - chance) * count))


def _mean_and_spread(chance: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.ceil(chance * count + _spread(chance, count)).astype(np.int64)


def _zeroing(machine: IpuMachine, size: np.ndarray, side: int, itemsize: int) -> np.ndarray:
    """Only float partials of blocks of 8 and 16 are zeroed beforehand."""
    if itemsize == 2 or side in (1, 4):
        return np.zeros_like(size)
    return zeroing_cycles(machine, size)
