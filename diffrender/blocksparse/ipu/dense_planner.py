"""The dense product that the sparse ones are measured against: an equal grid, the same kernels.

PopSparse does not plan dense products, and poplibs' own planner is not described in the sheet, so
this is an estimate: W counts as blocks of 16 that are all stored, each tile works on an even part
of m, k and n with the static kernel's cycles, and receives its parts of W and X over a shared bus.
What does not fit at once is worked through in passes over the columns. Two numbers are calibrated,
to six published FP16 rates (popsparse.md, section 1.8, "Dense IPU vs A100"): a share of everything
and a fixed number of cycles for what no term names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from diffrender.blocksparse.ipu.costs import (
    ceil_div,
    exchange_cycles,
    reduction_cycles,
    shared_exchange,
    static_cycles,
)
from diffrender.blocksparse.ipu.grids import equal_grids
from diffrender.blocksparse.ipu.machine import BOW, DoesNotFitError, IpuMachine, require_whole
from diffrender.blocksparse.ipu.settings import SimulationSettings, check_problem

__all__ = ["DensePlan", "plan_dense"]

SIDE = 16
EXTRA_SHARE = 0.06  # calibrated, see above
EXTRA_CYCLES = 2500
PASSES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class DensePlan:
    """An equal grid over m, k and n.

    Attributes:
        shape: (m, k) elements.
        machine, dtype, columns: what it was planned for; partials are of the same dtype.
        grid: (q_m, q_k, q_n).
        part: (rows, inner, columns) elements of a tile's part in a pass, the last may have fewer.
        passes: turns in which the columns are worked through.
        terms: predicted cycles by name.
        memory_bytes: predicted peak of a tile.
    """

    shape: tuple[int, int]
    machine: IpuMachine
    dtype: torch.dtype
    columns: int
    grid: tuple[int, int, int]
    part: tuple[int, int, int]
    passes: int
    terms: dict[str, int]
    memory_bytes: int

    @property
    def cycles(self) -> int:
        """Predicted cycles, all terms."""
        return sum(self.terms.values())

    @property
    def tflops(self) -> float:
        """Operations a second, 10^12; of all elements of W."""
        return self.machine.tflops(self.shape, self.columns, 1.0, self.cycles)

    def explain(self) -> str:
        """A few lines: the grid, and the predicted cycles of each term."""
        from diffrender.blocksparse.ipu.report import explain

        head = f"dense: grid {self.grid[0]} × {self.grid[1]} × {self.grid[2]}"
        return explain(head, self.terms, self.memory_bytes, self.tflops, self.machine)


def plan_dense(
    shape: tuple[int, int],
    columns: int,
    machine: IpuMachine = BOW,
    *,
    dtype: torch.dtype = torch.float16,
    settings: SimulationSettings | None = None,
) -> DensePlan:
    """The cheapest grid within the memory bound.

    Raises:
        DoesNotFitError: no grid fits a tile's memory.
        InputError: the shape, columns or dtype are not ones that the kernels have.
    """
    check_problem(columns, dtype)
    for side in shape:
        require_whole("a side of shape", side)
    settings = settings or SimulationSettings()
    rows, cols = ceil_div(shape[0], SIDE), ceil_div(shape[1], SIDE)
    size, wide = dtype.itemsize, machine.vector_width(dtype)
    grains = ceil_div(columns, wide)
    grids = equal_grids(rows, cols, grains, machine.tiles, even=False)
    count = len(grids[0])
    x, y, z = (np.tile(part, len(PASSES)) for part in grids)
    passes = np.repeat(np.array(PASSES), count)
    tall, deep = ceil_div(rows, x), ceil_div(cols, y)
    width = ceil_div(grains, z * passes) * wide
    dense = deep * SIDE * width * size
    weights = tall * deep * SIDE * SIDE * size
    outputs = tall * SIDE * width
    received = ceil_div(outputs * size * (y - 1), y)
    adding = reduction_cycles(
        machine, ceil_div(outputs, y), y, partial_bytes=size, output_bytes=size
    )
    terms = {
        "dense exchange": passes * shared_exchange(machine, np.where(x > 1, dense, 0), x),
        "weight exchange": exchange_cycles(machine, np.where(z > 1, weights, 0)),
        "compute": passes * static_cycles(machine, SIDE, size, tall, tall * deep, width),
        "partial exchange": passes * exchange_cycles(machine, received),
        "reduction": passes * adding,
    }
    named = sum(terms.values(), np.zeros_like(x))
    terms["not modelled"] = EXTRA_CYCLES + np.round(EXTRA_SHARE * named).astype(np.int64)
    total = named + terms["not modelled"]
    # X and Y lie spread over all tiles when only a pass of them is in work.
    resting = ceil_div((shape[0] + shape[1]) * columns * size, machine.tiles)
    memory = np.maximum(dense + weights + outputs * size, outputs * size + received)
    memory = memory + np.where(passes > 1, resting, 0)
    fits = np.flatnonzero(memory <= settings.memory_share * machine.tile_bytes)
    if not len(fits):
        raise DoesNotFitError(
            f"the dense product {shape} × {columns} columns ({dtype}) does not fit "
            f"{machine.name}: a tile would need {memory.min()} bytes at least, and may use "
            f"{int(settings.memory_share * machine.tile_bytes)}; use fewer columns"
        )
    best = int(fits[np.argmin(total[fits])])
    return DensePlan(
        shape=shape,
        machine=machine,
        dtype=dtype,
        columns=columns,
        grid=(int(x[best]), int(y[best]), int(z[best])),
        part=(int(tall[best]) * SIDE, int(deep[best]) * SIDE, int(width[best])),
        passes=int(passes[best]),
        terms={name: int(term[best]) for name, term in terms.items()},
        memory_bytes=int(memory[best]),
    )
