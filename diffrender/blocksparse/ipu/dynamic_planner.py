"""The dynamic planner: an equal grid and buckets of fixed capacity, for any mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from diffrender.blocksparse.ipu.bands import Interval
from diffrender.blocksparse.ipu.costs import ceil_div, exchange_cycles, shared_exchange
from diffrender.blocksparse.ipu.counts import native_side
from diffrender.blocksparse.ipu.dynamic_costs import (
    bucket_blocks,
    bucket_words,
    cast_cycles,
    depth_cycles,
    dynamic_cycles,
    expected_rows,
)
from diffrender.blocksparse.ipu.grids import equal_grids
from diffrender.blocksparse.ipu.machine import BOW, DoesNotFitError, IpuMachine
from diffrender.blocksparse.ipu.settings import SimulationSettings, check_problem
from diffrender.errors import InputError

__all__ = ["DynamicPlan", "plan_dynamic"]

OFFSET_LIMIT = 65535
METADATA_BYTES = 2


@dataclass(frozen=True)
class DynamicPlan:
    """An equal grid over W and the columns of X, one bucket for each tile of it.

    Attributes:
        shape, side: (m, k) elements, and b.
        machine, dtype, columns: what it was planned for; partials are float32.
        grid: (q_m, q_k, q_n).
        blocks: (rows, columns) of blocks in a cell of W, the last ones may have fewer.
        width: columns of X in a part.
        max_blocks: stored blocks that the buckets are made for.
        capacity_blocks, capacity_words: of a bucket: stored blocks, 16-bit words of lists.
        terms: predicted cycles by name, for a perfectly uniform mask: no propagation.
        memory_bytes: predicted peak of a tile.
    """

    shape: tuple[int, int]
    side: int
    machine: IpuMachine
    dtype: torch.dtype
    columns: int
    grid: tuple[int, int, int]
    blocks: tuple[int, int]
    width: int
    max_blocks: int
    capacity_blocks: int
    capacity_words: int
    terms: dict[str, int]
    memory_bytes: int

    @property
    def block_grid(self) -> tuple[int, int]:
        """(m_B, k_B)."""
        return self.shape[0] // self.side, self.shape[1] // self.side

    @property
    def tiles(self) -> int:
        """Tiles in use, each with one bucket."""
        return math.prod(self.grid)

    @property
    def max_density(self) -> float:
        """The most stored blocks over all blocks."""
        return self.max_blocks / math.prod(self.block_grid)

    @property
    def bucket_bytes(self) -> int:
        """Values and lists of a bucket; the same for every mask."""
        values = self.capacity_blocks * self.side**2 * self.dtype.itemsize
        return values + self.capacity_words * METADATA_BYTES

    @property
    def cycles(self) -> int:
        """Predicted cycles of a uniform mask."""
        return sum(self.terms.values())

    @property
    def tflops(self) -> float:
        """Useful operations a second, 10^12, at the largest density."""
        return self.machine.tflops(self.shape, self.columns, self.max_density, self.cycles)

    def tile_of(self, x: int, y: int, z: int) -> int:
        """Tile of part x of m, y of k and z of the columns.

        Neighbours differ in x: they want the same part of X, and share their bus for it.
        """
        return (y * self.grid[2] + z) * self.grid[0] + x

    def rows_of(self, x: int) -> Interval:
        """Block rows of part x."""
        last = self.block_grid[0]
        return min(x * self.blocks[0], last), min((x + 1) * self.blocks[0], last)

    def columns_of(self, y: int) -> Interval:
        """Block columns of part y."""
        last = self.block_grid[1]
        return min(y * self.blocks[1], last), min((y + 1) * self.blocks[1], last)

    def explain(self) -> str:
        """A few lines: the grid, the buckets, and the predicted cycles of each term."""
        from diffrender.blocksparse.ipu.report import explain

        head = (
            f"dynamic: grid {self.grid[0]} × {self.grid[1]} × {self.grid[2]}, buckets of "
            f"{self.capacity_blocks} blocks and {self.capacity_words} words"
        )
        return explain(head, self.terms, self.memory_bytes, self.tflops, self.machine)


def plan_dynamic(
    shape: tuple[int, int],
    side: int,
    max_blocks: int,
    columns: int,
    machine: IpuMachine = BOW,
    *,
    dtype: torch.dtype = torch.float16,
    settings: SimulationSettings | None = None,
) -> DynamicPlan:
    """The cheapest equal grid for a uniform mask of up to `max_blocks` stored blocks.

    Nothing about a mask but its largest number of blocks is used, so the plan serves all of them.
    If nothing fits the memory bound it is doubled, then dropped, as PopSparse does.

    Raises:
        DoesNotFitError: no grid fits a tile's memory or the kernels' 16-bit offsets.
        InputError: the shape, side, blocks, columns or dtype are not ones that the kernels have.

    Source: popsparse.md, sections 1.5.2 and 1.5.5 (poplibs `FullyConnectedPlan.cpp`).
    """
    check_problem(columns, dtype)
    if native_side((side, side), dtype, dynamic=True) != side or any(s % side for s in shape):
        raise InputError(
            f"shape {shape} in blocks of side {side} and {dtype} is not one of the kernels: "
            "expected sides of shape that are multiples of side 1, 4, 8 or (float16 only) 16"
        )
    rows, cols = shape[0] // side, shape[1] // side
    if not 0 <= max_blocks <= rows * cols or not rows * cols:
        raise InputError(f"max_blocks is {max_blocks}, expected 0 to {rows * cols}: all blocks")
    settings = settings or SimulationSettings()
    wide = machine.vector_width(dtype)
    grains = ceil_div(columns, wide)
    x, y, z = equal_grids(rows, cols, grains, machine.tiles, even=True)
    tall, broad, width = ceil_div(rows, x), ceil_div(cols, y), grains // z * wide
    density = max_blocks / (rows * cols)
    size = dtype.itemsize

    capacity = bucket_blocks(max_blocks, x * y * z, settings.oversize, side * side * size)
    # A cell's rows are dealt to its z buckets in turn.
    words = bucket_words(machine, side, density, settings.oversize, ceil_div(tall, z), broad)
    bucket = capacity * side * side * size + words * METADATA_BYTES
    dense = np.where(x > 1, broad * side * width * size, 0)
    buckets = np.where(z > 1, z * bucket, 0)
    partials = tall * side * width
    used = np.maximum(expected_rows(density, tall, broad), 1)
    stored = used * ceil_div(np.ceil(tall * broad * density).astype(np.int64), used)
    outputs = ceil_div(partials, y)
    add = depth_cycles(machine, outputs, y, size)
    cast = cast_cycles(machine, partials) if size == 2 else np.zeros_like(partials)
    terms = {
        "dense exchange": shared_exchange(machine, dense, x),
        "bucket exchange": exchange_cycles(machine, buckets),
        "zeroing": ceil_div(partials, machine.workers) * machine.workers,
        "compute": dynamic_cycles(machine, side, size, used, stored, width, z),
        "partial exchange": np.where(y > 1, exchange_cycles(machine, partials * 4), 0),
        "reduction": np.where(y > 1, add, cast),
    }
    total = sum(terms.values(), np.zeros_like(x))
    memory = np.maximum(
        dense + bucket * np.maximum(z, 2) + partials * 4,
        np.where(y > 1, 2 * partials * 4 + outputs * size, partials * 4 + partials * size),
    )
    factor = 1 if side == 1 else 8 * side
    valid = np.maximum((broad - 1) * side * width * size, tall - 1) <= OFFSET_LIMIT * factor
    best = _cheapest(total, memory, valid, machine, settings.memory_share)
    if isinstance(best, str):
        raise DoesNotFitError(
            f"the dynamic product {shape} × {columns} columns (up to {max_blocks} blocks of side "
            f"{side}, {dtype}) does not fit {machine.name}: {best}; use fewer columns or a lower "
            "SimulationSettings.max_density"
        )
    return DynamicPlan(
        shape=shape,
        side=side,
        machine=machine,
        dtype=dtype,
        columns=columns,
        grid=(int(x[best]), int(y[best]), int(z[best])),
        blocks=(int(tall[best]), int(broad[best])),
        width=int(width[best]),
        max_blocks=max_blocks,
        capacity_blocks=int(capacity[best]),
        capacity_words=int(words[best]),
        terms={name: int(np.broadcast_to(term, x.shape)[best]) for name, term in terms.items()},
        memory_bytes=int(memory[best]),
    )


def _cheapest(
    total: np.ndarray, memory: np.ndarray, valid: np.ndarray, machine: IpuMachine, share: float
) -> int | str:
    """Place of the cheapest grid, or why there is none."""
    if not valid.any():
        return "offsets within a tile would pass 16 bits"
    for bound in (share, min(2 * share, 1.0), 1.0):
        fits = np.flatnonzero(valid & (memory <= bound * machine.tile_bytes))
        if len(fits):
            return int(fits[np.argmin(total[fits])])
    return f"a tile would need {memory[valid].min()} bytes at least, and has {machine.tile_bytes}"
