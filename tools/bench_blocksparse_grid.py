"""The grid of block-sparse products: a dense product and sparse ones take turns in one run."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from diffrender.tools.bench_blocksparse_cells import Cell, calls_of
from diffrender.tools.bench_format import Report, Row, spread, threads_set, time_calls

__all__ = ["QUICK", "Grid", "Measured", "grid", "groups_of", "row_of", "timed", "with_limit"]

PRODUCTS = ("forward", "grad_input", "grad_weight")
# A pattern of single numbers takes seconds to draw from here on.
_MOST_ENTRIES = 4_500_000


@dataclass(frozen=True)
class Grid:
    """What is measured, in this order, until `limit` seconds are over.

    Attributes:
        sizes: (m = k, n), the important ones first.
        wide: how many of the first sizes get every product and layout; the others get the forward
            product of both layouts.
        single: how many of the first sizes are measured on one thread too.
        densities, blocks: of the patterns.
        budget: seconds for a dense product with its sparse ones.
        limit: seconds for the whole grid.
    """

    sizes: tuple[tuple[int, int], ...] = (
        (1024, 256), (4096, 512), (1024, 4096), (4096, 256), (2048, 1024), (4096, 2048),
        (8192, 256), (256, 256), (1024, 16), (4096, 16), (4096, 4), (512, 64), (256, 1024),
        (2048, 64), (8192, 1024), (4096, 4096), (8192, 4096),
    )  # fmt: skip
    wide: int = 6
    single: int = 1
    densities: tuple[float, ...] = (0.75, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)
    blocks: tuple[int, ...] = (1, 4, 8, 16, 32, 64)
    budget: float = 0.6
    limit: float = 380.0


QUICK = Grid(
    sizes=((1024, 256), (4096, 512)),
    wide=1,
    single=0,
    densities=(0.75, 1 / 2, 1 / 8, 1 / 32),
    blocks=(1, 4, 16),
    budget=0.3,
    limit=24.0,
)


@dataclass(frozen=True)
class Measured:
    """Seconds of one cell, sparse and dense, from calls that took turns."""

    cell: Cell
    sparse: list[float]
    dense: list[float]

    @property
    def gain(self) -> float:
        """Times faster than dense, by medians."""
        return statistics.median(self.dense) / statistics.median(self.sparse)

    @property
    def share(self) -> float:
        """Of the ideal gain, one over the density."""
        return self.gain * self.cell.density


def groups_of(axes: Grid, threads: int) -> Iterator[list[Cell]]:
    """Cells that share a dense product and a density, important ones first."""
    for place, (side, n) in enumerate(axes.sizes):
        products = PRODUCTS if place < axes.wide else PRODUCTS[:1]
        for count in dict.fromkeys((threads, 1) if place < axes.single else (threads,)):
            for product in products:
                for layout in (False, True):
                    for density in axes.densities:
                        cells = [
                            Cell(side, n, block, density, product, layout, count)
                            for block in axes.blocks
                            if block > 1 or side * side * density <= _MOST_ENTRIES or side == 4096
                        ]
                        yield [cell for cell in cells if cell.block**2 * 4 <= side * side]


def grid(report: Report, axes: Grid) -> list[Measured]:
    """Rows of every cell, and what was measured; groups for which there was no time get a row."""
    start, found, late = time.perf_counter(), [], 0
    for cells in groups_of(axes, torch.get_num_threads()):
        if time.perf_counter() - start > axes.limit:
            late += len(cells)
            continue
        found += measure(report, cells, axes.budget)
    if late:
        words = f"left out: the grid's {axes.limit:g} s were over"
        report.rows.append(Row(f"{late} cells", words, late, "timings"))
    return found


def measure(report: Report, cells: list[Cell], budget: float) -> list[Measured]:
    """One dense product and the sparse ones of its blocks, taking turns."""
    first = cells[0]
    shape = (first.n, first.side) if first.features_last else (first.side, first.n)
    weight, x, dy = torch.randn(first.side, first.side), torch.randn(shape), torch.randn(shape)
    calls: dict[str, Callable[[], object]] = {}
    for cell in cells:
        calls[str(cell.block)], calls["dense"] = calls_of(cell, weight, x, dy)
    with threads_set(first.threads):
        seconds = timed(calls, budget)
    found = [Measured(cell, seconds[str(cell.block)], seconds["dense"]) for cell in cells]
    for one in found:
        report.rows.append(row_of(one))
    return found


def row_of(one: Measured) -> Row:
    """Milliseconds, and the ratio to dense."""
    return Row(
        str(one.cell),
        one.cell.product,
        1e3 * statistics.median(one.sparse),
        "ms",
        1e3 * spread(one.sparse),
        f"torch dense: {1e3 * statistics.median(one.dense):.4g} ms",
        1 / one.gain,
    )


def timed(calls: dict[str, Callable[[], object]], budget: float) -> dict[str, list[float]]:
    """Calls taking turns for about `budget` seconds, at least 3 and at most 30 rounds.

    Their order is drawn anew in each round: a call after a dense product finds the caches full of
    its operands, and in one order that would always be the same one.
    """
    first = time_calls(calls, repeats=1, warm_up=1)
    total = sum(values[0] for values in first.values())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, draw = list(calls), random.Random(0)
    for _ in range(max(3, min(30, int(budget / total)))):
        draw.shuffle(order)
        for name, one in time_calls({n: calls[n] for n in order}, repeats=1, warm_up=0).items():
            seconds[name] += one
    return seconds


def with_limit(axes: Grid, seconds: float) -> Grid:
    """The grid with at most so many seconds."""
    return dataclasses.replace(axes, limit=round(max(0.0, min(axes.limit, seconds)), 1))
