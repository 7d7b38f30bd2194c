"""The host's part of dynamic mode: a mask dealt into buckets of fixed capacity.

Each cell of the grid gives its blocks to its own buckets. A bucket that is too full gives up
blocks from its end, and they are found room in widening circles: the cell's other buckets, the
cells of the same row of the grid, anywhere; at every step whole block rows first, then parts of
them, the largest overflow first, and near buckets before far ones. Nothing is planned anew.

Source: popsparse.md, section 1.5.3 (poplibs `SparsePartitionerImpl.cpp`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from diffrender.blocksparse.ipu.costs import ceil_div
from diffrender.blocksparse.ipu.dynamic_costs import header_words
from diffrender.blocksparse.ipu.dynamic_planner import DynamicPlan
from diffrender.blocksparse.ipu.machine import DoesNotFitError
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.errors import InputError

__all__ = ["Encoding", "Run", "encode"]

ROW_WORDS = 2  # of a row's own entry, before one word for each block


@dataclass(frozen=True)
class Run:
    """Blocks start to stop of the encoding's order: one block row of one cell."""

    cell: int
    row: int  # block row of W
    start: int
    stop: int

    @property
    def blocks(self) -> int:
        """Stored blocks."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class Encoding:
    """What every bucket holds, and how far buckets must travel.

    Attributes:
        plan: the grid and the capacities.
        order: (nnz,) blocks of the pattern by cell, then row, then column.
        buckets: for each tile, the runs in its bucket.
        spilled: blocks that were found room (in their cell, in their row of the grid, anywhere).
        ends: steps along x, y and z that propagation has to run; (0, 0, 0) if none.
        needed: for each step along x, whether any bucket has work there.
    """

    plan: DynamicPlan
    order: np.ndarray
    buckets: tuple[tuple[Run, ...], ...]
    spilled: tuple[int, int, int]
    ends: tuple[int, int, int]
    needed: tuple[bool, ...]

    @property
    def descriptor_words(self) -> int:
        """16-bit words of the overflow descriptor that leads every list."""
        return 3 + ceil_div(self.plan.grid[0], 16)

    def distance(self, holder: int, cell: int) -> tuple[int, int]:
        """Steps along x and y that a bucket travels until it meets a cell."""
        _, q_k, q_n = self.plan.grid
        return _distance(self.plan.grid, holder // q_n, cell // q_k, cell % q_k)


def encode(plan: DynamicPlan, pattern: BlockPattern) -> Encoding:
    """Deal the blocks of a mask into the plan's buckets.

    Args:
        plan: made for any mask of this shape with up to `plan.max_blocks` blocks.
        pattern: on the CPU, of the plan's shape and block side.

    Raises:
        DoesNotFitError: more blocks than the plan is made for, or no room left anywhere.
        InputError: a pattern of another shape or block side, or one of an old mask.
    """
    pattern.refuse_stale()
    if pattern.shape != plan.shape or pattern.block_size != (plan.side, plan.side):
        raise InputError(
            f"pattern has shape {pattern.shape} and blocks of {pattern.block_size}, the plan is "
            f"for {plan.shape} and blocks of {(plan.side, plan.side)}; plan for this pattern, or "
            "call simulate, which cuts blocks to what the kernels have"
        )
    if pattern.nnz > plan.max_blocks:
        raise DoesNotFitError(
            f"the mask has {pattern.nnz} blocks, and the plan is made for {plan.max_blocks}: "
            f"{pattern.nnz - plan.max_blocks} too many; raise SimulationSettings.max_density"
        )
    order, cells, bounds = _by_cell(plan, pattern)
    packing = _Packing(plan)
    rows = pattern.row_indices.numpy()[order]
    for cell, (start, stop) in enumerate(itertools.pairwise(bounds.tolist())):
        for z in range(plan.grid[2]):
            a = start + (stop - start) * z // plan.grid[2]
            b = start + (stop - start) * (z + 1) // plan.grid[2]
            for run in _runs(cell, rows, a, b):
                packing.append(cell * plan.grid[2] + z, run)
    over = packing.give_up()
    spilled = []
    for radius in range(3):
        before = _blocks(over)
        for whole in (True, False):
            over = packing.place(over, radius, whole)
        spilled.append(before - _blocks(over))
    if over:
        _refuse(plan, over, cells)
    return _finish(plan, order, packing, (spilled[0], spilled[1], spilled[2]))


def _by_cell(plan: DynamicPlan, pattern: BlockPattern) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order of the blocks by cell, blocks of each cell, and where each cell begins."""
    q_k = plan.grid[1]
    rows = pattern.row_indices.numpy() // plan.blocks[0]
    columns = pattern.column_indices.numpy() // plan.blocks[1]
    cell = rows.astype(np.int64) * q_k + columns
    order = np.argsort(cell, kind="stable")  # row by row within a cell, as the pattern is
    counts = np.bincount(cell, minlength=plan.grid[0] * q_k)
    return order, counts, np.concatenate([[0], np.cumsum(counts)])


def _runs(cell: int, rows: np.ndarray, start: int, stop: int) -> list[Run]:
    cuts = np.flatnonzero(np.diff(rows[start:stop])) + start + 1
    edges = [start, *cuts.tolist(), stop] if stop > start else []
    return [Run(cell, int(rows[a]), a, b) for a, b in itertools.pairwise(edges)]


def _blocks(over: list[list[Run]]) -> int:
    return sum(run.blocks for runs in over for run in runs)


def _distance(grid: tuple[int, int, int], holder: int, x: int, y: int) -> tuple[int, int]:
    """Cyclic steps from the cell `holder` forward to the cell (x, y)."""
    return (x - holder // grid[1]) % grid[0], (y - holder % grid[1]) % grid[1]


class _Packing:
    """Buckets while they are filled: their runs, blocks and words."""

    def __init__(self, plan: DynamicPlan) -> None:
        self.plan = plan
        self.runs: list[list[Run]] = [[] for _ in range(plan.tiles)]
        self.blocks = [0] * plan.tiles
        self.words = [0] * plan.tiles
        self._groups: list[dict[int, int]] = [{} for _ in range(plan.tiles)]
        self._header = header_words(plan.machine, plan.side)
        # The descriptor leads the lists and a zero ends them; the planner's capacity counts
        # neither of the two but the zero.
        self._most_words = plan.capacity_words - 1

    def append(self, bucket: int, run: Run) -> None:
        """Put a run at the end of a bucket, whether it fits or not."""
        groups = self._groups[bucket]
        self.words[bucket] += self._words(bucket, run)
        groups[run.cell] = groups.get(run.cell, 0) + 1
        self.blocks[bucket] += run.blocks
        self.runs[bucket].append(run)

    def _words(self, bucket: int, run: Run) -> int:
        new = run.cell not in self._groups[bucket]
        return ROW_WORDS + run.blocks + (self._header if new else 0)

    def _pop(self, bucket: int) -> Run:
        run = self.runs[bucket].pop()
        groups = self._groups[bucket]
        groups[run.cell] -= 1
        if not groups[run.cell]:
            del groups[run.cell]
        self.blocks[bucket] -= run.blocks
        self.words[bucket] -= self._words(bucket, run)
        return run

    def room(self, bucket: int, run: Run) -> int:
        """Blocks of the run that a bucket could still take."""
        words = self._most_words - self.words[bucket] - self._words(bucket, run) + run.blocks
        return max(0, min(self.plan.capacity_blocks - self.blocks[bucket], words, run.blocks))

    def give_up(self) -> list[list[Run]]:
        """Take from the end of every bucket what is too much for it."""
        over = []
        for bucket in range(self.plan.tiles):
            gone: list[Run] = []
            while (
                self.blocks[bucket] > self.plan.capacity_blocks
                or self.words[bucket] > self._most_words
            ):
                run = self._pop(bucket)
                keep = self.room(bucket, run)
                if keep:
                    self.append(bucket, Run(run.cell, run.row, run.start, run.start + keep))
                gone.append(Run(run.cell, run.row, run.start + keep, run.stop))
            if gone:
                over.append(gone)
        return over

    def place(self, over: list[list[Run]], radius: int, whole: bool) -> list[list[Run]]:
        """Find room for overflowing runs within a radius; returns what is left."""
        left = []
        for runs in sorted(over, key=lambda runs: -sum(run.blocks for run in runs)):
            rest: list[Run] = []
            targets = self._targets(runs[0].cell, radius)
            for run in runs:
                start = self._place_run(run, targets, whole)
                if start < run.stop:
                    rest.append(Run(run.cell, run.row, start, run.stop))
            if rest:
                left.append(rest)
        return left

    def _place_run(self, run: Run, targets: list[int], whole: bool) -> int:
        """Put a run, or as much as goes, into the buckets; returns where the rest starts."""
        start = run.start
        for bucket in targets:
            if start == run.stop:
                break
            rest = Run(run.cell, run.row, start, run.stop)
            room = self.room(bucket, rest)
            if room and (not whole or room == rest.blocks):
                self.append(bucket, Run(run.cell, run.row, start, start + room))
                start += room
        return start

    def _targets(self, cell: int, radius: int) -> list[int]:
        """Buckets within the radius that still have room, the shortest travel first."""
        q_m, q_k, q_n = self.plan.grid
        x, y = divmod(cell, q_k)
        far_x = q_m if radius == 2 else 1
        far_y = q_k if radius >= 1 else 1
        return [
            bucket
            for dx in range(far_x)
            for dy in range(far_y)
            for bucket in range(
                (((x - dx) % q_m) * q_k + (y - dy) % q_k) * q_n,
                (((x - dx) % q_m) * q_k + (y - dy) % q_k + 1) * q_n,
            )
            if self.blocks[bucket] < self.plan.capacity_blocks
        ]


def _refuse(plan: DynamicPlan, over: list[list[Run]], cells: np.ndarray) -> None:
    worst = max(over, key=lambda runs: sum(run.blocks for run in runs))[0].cell
    x, y = divmod(worst, plan.grid[1])
    rows, columns = plan.rows_of(x), plan.columns_of(y)
    raise DoesNotFitError(
        f"overflow in buckets: {_blocks(over)} of {cells.sum()} blocks found no room in "
        f"{plan.tiles} buckets of {plan.capacity_blocks} blocks and {plan.capacity_words} words; "
        f"fullest is cell ({x}, {y}), block rows {rows[0]} to {rows[1] - 1} and block columns "
        f"{columns[0]} to {columns[1] - 1}, with {cells[worst]} blocks; raise "
        "SimulationSettings.max_density or oversize"
    )


def _finish(
    plan: DynamicPlan, order: np.ndarray, packing: _Packing, spilled: tuple[int, int, int]
) -> Encoding:
    """Work out the overflow descriptor."""
    far: set[tuple[int, int]] = set()
    for bucket, runs in enumerate(packing.runs):
        home = bucket // plan.grid[2]
        for cell in {run.cell for run in runs if run.cell != home}:
            far.add(_distance(plan.grid, home, cell // plan.grid[1], cell % plan.grid[1]))
    needed = [False] * plan.grid[0]
    for dx, _ in far:
        needed[dx] = True
    ends = (0, 0, 0)
    if far:
        ends = (max(dx for dx, _ in far) + 1, max(dy for _, dy in far) + 1, plan.grid[2])
    return Encoding(
        plan,
        order,
        tuple(tuple(runs) for runs in packing.runs),
        spilled,
        ends,
        tuple(needed),
    )
