"""The static planner: parts of n, bands of k with equal non-zeros, tiles for each, by search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from diffrender.blocksparse.ipu.bands import (
    Interval,
    band_tiles,
    cut_bands,
    rearrangement,
    split_columns,
    split_tiles,
)
from diffrender.blocksparse.ipu.costs import ceil_div
from diffrender.blocksparse.ipu.counts import BlockCounts
from diffrender.blocksparse.ipu.machine import BOW, DoesNotFitError, IpuMachine
from diffrender.blocksparse.ipu.settings import SimulationSettings, check_problem
from diffrender.blocksparse.ipu.static_costs import TERMS, Candidates, Priced, price

__all__ = ["StaticPlan", "plan_static"]

MOST_SPLITS = 32
MOST_BANDS = 128


@dataclass(frozen=True, eq=False)
class StaticPlan:
    """How a fixed pattern is dealt to tiles, and what that is predicted to cost.

    Attributes:
        counts: blocks by row and column.
        machine, dtype, columns: what it was planned for; partials are of the same dtype.
        splits, bands: s_n and s_k, the numbers of parts that were asked for.
        column_parts: intervals of the columns of X, padded to whole vectors.
        tile_parts: the tiles of each of them.
        row_order, column_order: (m_B,), (k_B,) block rows and columns in the order of planning,
            sparse ones last.
        band_ends: (s_k + 1,) bounds of the bands in `column_order`.
        band_blocks: (s_k,) stored blocks of each.
        terms: predicted cycles by name, of the slowest tile.
        memory_bytes: predicted peak of the fullest tile.
    """

    counts: BlockCounts
    machine: IpuMachine
    dtype: torch.dtype
    columns: int
    splits: int
    bands: int
    column_parts: tuple[Interval, ...]
    tile_parts: tuple[Interval, ...]
    row_order: np.ndarray
    column_order: np.ndarray
    band_ends: np.ndarray
    band_blocks: np.ndarray
    terms: dict[str, int]
    memory_bytes: int

    @property
    def cycles(self) -> int:
        """Predicted cycles, all terms."""
        return sum(self.terms.values())

    @property
    def tflops(self) -> float:
        """Useful operations a second, 10^12, by prediction."""
        counts = self.counts
        return self.machine.tflops(counts.shape, self.columns, counts.density, self.cycles)

    def tiles_of_bands(self, part: int) -> np.ndarray:
        """(s_k,) tiles that each band has in one part of the columns."""
        start, stop = self.tile_parts[part]
        tiles, _ = band_tiles(self.band_blocks, np.array([stop - start]), self.machine.tile_grain)
        return tiles[0]

    def explain(self) -> str:
        """A few lines: the parts, and the predicted cycles of each term."""
        from diffrender.blocksparse.ipu.report import explain

        head = f"static: {len(self.column_parts)} parts of n, {self.bands} bands of k"
        return explain(head, self.terms, self.memory_bytes, self.tflops, self.machine)


def plan_static(
    counts: BlockCounts,
    columns: int,
    machine: IpuMachine = BOW,
    *,
    dtype: torch.dtype = torch.float16,
    settings: SimulationSettings | None = None,
) -> StaticPlan:
    """The cheapest plan within the memory bound, over all numbers of parts.

    Args:
        counts: stored blocks by row and column.
        columns: n, the columns of X.
        machine: where it runs.
        dtype: torch.float16 or torch.float32.

    Raises:
        DoesNotFitError: no candidate fits; the message names the smallest need.
        InputError: the columns or dtype are not ones that the kernels have.

    Source: popsparse.md, sections 1.4.2 and 1.4.3 (poplibs `StaticMatMulPartitioner.cpp`).
    """
    check_problem(columns, dtype)
    settings = settings or SimulationSettings()
    width = machine.vector_width(dtype)
    padded = ceil_div(columns, width) * width
    row_order, kept_rows = rearrangement(counts.rows, settings.rearrange)
    column_order, kept_columns = rearrangement(counts.columns, settings.rearrange)
    ordered = counts.columns[column_order]
    bands = _range(
        settings.bands,
        min(MOST_BANDS, ceil_div(kept_columns, 1 if counts.side == 1 else width)),
    )
    splits = _range(settings.splits, min(MOST_SPLITS, padded // width))
    if counts.nnz:
        found = _candidates(ordered, padded, machine, (splits, bands), width)
        priced = price(found, counts, (kept_rows, kept_columns), padded, machine, dtype)
        best = _cheapest(found, priced, settings.memory_share * machine.tile_bytes)
        if isinstance(best, str):
            raise DoesNotFitError(
                f"the static product {counts.shape} × {columns} columns ({counts.nnz} blocks of "
                f"side {counts.side}, {dtype}) does not fit {machine.name}: {best}; use fewer "
                "columns, a lower density or a larger SimulationSettings.memory_share"
            )
        chosen, terms, memory = best
    else:  # W is zero: only Y is written
        move = ceil_div(counts.shape[0] * padded * dtype.itemsize, machine.tiles)
        chosen, memory = (1, 1), 0
        terms = {name: move if name == "final move" else 0 for name in TERMS}
    parts = split_columns(padded, chosen[0], width)
    ends, blocks, _ = cut_bands(ordered, chosen[1])
    return StaticPlan(
        counts=counts,
        machine=machine,
        dtype=dtype,
        columns=columns,
        splits=chosen[0],
        bands=chosen[1],
        column_parts=parts,
        tile_parts=split_tiles(parts, machine.tiles, machine.tile_grain),
        row_order=row_order,
        column_order=column_order,
        band_ends=ends,
        band_blocks=blocks,
        terms=terms,
        memory_bytes=memory,
    )


def _range(forced: int | None, most: int) -> range:
    return range(1, most + 1) if forced is None else range(forced, forced + 1)


def _candidates(
    ordered: np.ndarray,  # (k_B,) stored blocks of the columns, in the order of planning
    padded: int,
    machine: IpuMachine,
    wanted: tuple[range, range],
    width: int,
) -> Candidates:
    """All pairs of splits and bands that the tiles allow, each with its distinct parts of n."""
    sizes = []  # (s_n, columns of a part, tiles of that part)
    for splits in wanted[0]:
        parts = split_columns(padded, splits, width)
        tiles = split_tiles(parts, machine.tiles, machine.tile_grain)
        distinct = {(b - a, d - c) for (a, b), (c, d) in zip(parts, tiles, strict=True)}
        if all(have for _, have in distinct):
            sizes += [(splits, *one) for one in sorted(distinct)]
    part = np.array(sizes, dtype=np.int64).reshape(-1, 3)
    rows = []
    for bands in wanted[1]:
        allowed = part[part[:, 0] * bands <= machine.tiles // machine.tile_grain]
        if not len(allowed):
            continue
        ends, blocks, widest = cut_bands(ordered, bands)
        given, whole = band_tiles(blocks, allowed[:, 2], machine.tile_grain)
        fullest = np.argmax(blocks / np.maximum(given, 1), axis=1)
        chosen = given[np.arange(len(given)), fullest]
        row = np.empty((len(allowed), 8), dtype=np.int64)
        row[:, 0], row[:, 1], row[:, 2] = allowed[:, 0], bands, allowed[:, 1]
        row[:, 3], row[:, 4] = blocks[fullest], chosen
        row[:, 5], row[:, 6], row[:, 7] = np.diff(ends)[fullest], widest, whole
        rows.append(row)
    table = np.concatenate(rows) if rows else np.empty((0, 8), dtype=np.int64)
    # A pair of which one part has too few tiles is no candidate at all.
    spoilt = np.unique(table[table[:, 7] == 0][:, :2], axis=0)
    if len(spoilt):
        pairs = table[:, 0] * (MOST_BANDS + 1) + table[:, 1]
        table = table[~np.isin(pairs, spoilt[:, 0] * (MOST_BANDS + 1) + spoilt[:, 1])]
    return Candidates(*table[:, :7].T)


def _cheapest(
    found: Candidates, priced: Priced, bound: float
) -> tuple[tuple[int, int], dict[str, int], int] | str:
    """(s_n, s_k), terms and bytes of the cheapest pair within the bound, or why there is none.

    A pair costs what the slowest of its parts of n costs; the first of equals in the order of
    s_n, then s_k, is taken.
    """
    if not len(found.splits):
        return "no way to cut it leaves every part and band a tile"
    cycles = priced.cycles
    order = np.lexsort((cycles, found.bands, found.splits))
    pairs = np.stack([found.splits[order], found.bands[order]], axis=1)
    starts = np.flatnonzero(np.r_[True, (pairs[1:] != pairs[:-1]).any(axis=1)])
    slowest = order[np.r_[starts[1:], len(order)] - 1]
    memory = np.maximum.reduceat(priced.memory[order], starts)
    valid = np.logical_and.reduceat(priced.valid[order], starts)
    if not valid.any():
        return "offsets within a tile would pass 16 bits"
    fits = valid & (memory <= bound)
    if not fits.any():
        return f"a tile would need {memory[valid].min()} bytes at least, and may use {int(bound)}"
    best = np.flatnonzero(fits)[np.argmin(cycles[slowest][fits])]
    row = slowest[best]
    terms = {name: int(values[row]) for name, values in priced.terms.items()}
    return (int(found.splits[row]), int(found.bands[row])), terms, int(memory[best])
