"""The static program: gather the rows of X, multiply, reduce, move; tile by tile.

Source: popsparse.md, section 1.4.2, steps 7 to 10.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffrender.blocksparse.ipu.chip import Chip, Transfer, multiply_blocks
from diffrender.blocksparse.ipu.costs import (
    ceil_div,
    reduction_cycles,
    static_cycles,
    zeroing_cycles,
)
from diffrender.blocksparse.ipu.static_planner import StaticPlan
from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["run_static"]


@dataclass(frozen=True)
class _Share:
    """The blocks of one tile: a run of the planned order, for one part of the columns."""

    tile: int
    part: int
    start: int
    stop: int
    rows: np.ndarray  # block rows, distinct, in the order of planning
    columns: np.ndarray  # block columns, distinct
    row_places: Tensor  # of each block in `rows`
    column_places: Tensor  # of each block in `columns`


def run_static(
    plan: StaticPlan,
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b, b) in the plan's dtype
    x: Tensor,  # (k, n) in the plan's dtype
    chip: Chip,
) -> Tensor:
    """Run the plan on the chip's tiles; returns (m, n) in the plan's dtype, phases in the chip."""
    order, shares = _deal(plan, pattern)
    planned = values[torch.from_numpy(order)]
    _place_dense(plan, x, chip)
    _place_values(plan, planned, shares, chip)
    chip.exchange("dense exchange", _dense_transfers(plan, shares, chip))
    chip.exchange("value exchange", _value_transfers(plan, shares, chip))
    if plan.terms["zeroing"]:
        size = plan.counts.side * plan.dtype.itemsize
        wide = [b - a for a, b in plan.column_parts]
        zeroed = (len(s.rows) * wide[s.part] * size for s in shares)
        chip.compute("zeroing", [int(zeroing_cycles(plan.machine, n)) for n in zeroed])
    chip.compute("compute", [_multiply(plan, share, chip) for share in shares])
    holders: dict[tuple[int, int], list[int]] = defaultdict(list)
    for share in shares:
        for row in share.rows.tolist():
            holders[row, share.part].append(share.tile)
    return _collect(plan, _reduce(plan, holders, chip), chip)


def _deal(plan: StaticPlan, pattern: BlockPattern) -> tuple[np.ndarray, list[_Share]]:
    """Blocks in the order of planning, and the run of them that each tile gets."""
    rows, columns = pattern.row_indices.numpy(), pattern.column_indices.numpy()
    row_place, column_place = np.argsort(plan.row_order), np.argsort(plan.column_order)
    band = np.searchsorted(plan.band_ends, column_place[columns], side="right") - 1
    order = np.lexsort((column_place[columns], row_place[rows], band))
    first = np.concatenate([[0], np.cumsum(plan.band_blocks)])
    shares = []
    for part, (tile, _) in enumerate(plan.tile_parts):
        for b, tiles in enumerate(plan.tiles_of_bands(part) if pattern.nnz else ()):
            step = ceil_div(int(plan.band_blocks[b]), int(tiles))
            starts = range(int(first[b]), int(first[b + 1]), step)
            for offset, start in enumerate(starts):
                stop = min(start + step, int(first[b + 1]))
                run = order[start:stop]
                used_rows, at = np.unique(row_place[rows[run]], return_inverse=True)
                used_columns, where = np.unique(columns[run], return_inverse=True)
                shares.append(
                    _Share(
                        tile + offset,
                        part,
                        start,
                        stop,
                        plan.row_order[used_rows],
                        used_columns,
                        torch.from_numpy(at),
                        torch.from_numpy(where),
                    )
                )
            tile += int(tiles)
    return order, shares


def _home(chip: Chip, plan: StaticPlan, row: int, part: int) -> int:
    """Tile on which a piece of X rests: laid out in order over all tiles."""
    parts = len(plan.column_parts)
    return chip.home(row * parts + part, len(plan.counts.columns) * parts)


def _place_dense(plan: StaticPlan, x: Tensor, chip: Chip) -> None:
    side, (stop, n) = plan.counts.side, (plan.column_parts[-1][1], x.shape[1])
    padded = torch.nn.functional.pad(x, (0, stop - n)).view(-1, side, stop)
    for part, (a, b) in enumerate(plan.column_parts):
        for column, piece in enumerate(padded[:, :, a:b].contiguous()):
            chip[_home(chip, plan, column, part)].put(("x", column, part), piece)


def _dense_transfers(plan: StaticPlan, shares: list[_Share], chip: Chip) -> Iterator[Transfer]:
    """Each tile asks for the distinct rows of X that its blocks meet, and for no others."""
    for share in shares:
        for column in share.columns.tolist():
            home = _home(chip, plan, column, share.part)
            yield Transfer(home, ("x", column, share.part), share.tile, ("in", column))


def _place_values(plan: StaticPlan, planned: Tensor, shares: list[_Share], chip: Chip) -> None:
    """With one part of n the values rest where they are used, else in order over all tiles."""
    if len(plan.column_parts) == 1:
        for share in shares:
            chip[share.tile].put(("w", share.start), planned[share.start : share.stop])
        return
    step = _value_step(plan, chip)
    for tile, start in enumerate(range(0, len(planned), step)):
        chip[tile].put(("w home", tile), planned[start : start + step])


def _value_step(plan: StaticPlan, chip: Chip) -> int:
    return max(1, ceil_div(plan.counts.nnz, chip.machine.tiles))


def _value_transfers(plan: StaticPlan, shares: list[_Share], chip: Chip) -> list[Transfer]:
    if len(plan.column_parts) == 1:
        return []
    step, found = _value_step(plan, chip), []
    for share in shares:
        for home in range(share.start // step, (share.stop - 1) // step + 1):
            start, stop = max(share.start, home * step), min(share.stop, (home + 1) * step)
            rows = (start - home * step, stop - home * step)
            found.append(Transfer(home, ("w home", home), share.tile, ("w", start), rows))
    return found


def _multiply(plan: StaticPlan, share: _Share, chip: Chip) -> int:
    """One tile's compute phase; returns its cycles."""
    memory, counts = chip[share.tile], plan.counts
    pieces, start = [], share.start
    while start < share.stop:
        pieces.append(memory.get(("w", start)))
        start += len(pieces[-1])
    x = torch.stack([memory.get(("in", c)) for c in share.columns.tolist()])  # (K, b, w)
    width = x.shape[2]
    sums = torch.zeros(len(share.rows), counts.side, width)
    multiply_blocks(torch.cat(pieces), x, share.column_places, share.row_places, sums)
    partials = sums.to(plan.dtype)
    for row, partial in zip(share.rows.tolist(), partials, strict=True):
        memory.put(("partial", row), partial)
    for column in share.columns.tolist():
        memory.drop(("in", column))
    return int(
        static_cycles(
            plan.machine,
            counts.side,
            plan.dtype.itemsize,
            len(share.rows),
            share.stop - share.start,
            width,
        )
    )


def _owners(
    holders: dict[tuple[int, int], list[int]], widths: list[int]
) -> dict[tuple[int, int], int]:
    """The tile that adds up each row of each part: of those with a partial the least busy so far.

    Rows with few partials choose first: they have the least choice.
    """
    busy: dict[int, int] = defaultdict(int)
    found = {}
    for key in sorted(holders, key=lambda key: (len(holders[key]), key)):
        tile = min(holders[key], key=lambda t: (busy[t], t))
        busy[tile] += (len(holders[key]) - 1) * widths[key[1]]
        found[key] = tile
    return found


def _reduce(
    plan: StaticPlan, holders: dict[tuple[int, int], list[int]], chip: Chip
) -> dict[tuple[int, int], int]:
    """Bring all partials of a row to one tile, and add them in the order of the tiles.

    Returns:
        The tile on which each row of each part then is.
    """
    owners = _owners(holders, [b - a for a, b in plan.column_parts])
    chip.exchange(
        "partial exchange",
        (
            Transfer(t, ("partial", row), owners[row, part], ("sum", row, part, t))
            for (row, part), tiles in holders.items()
            for t in tiles
            if t != owners[row, part]
        ),
    )
    work: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for (row, part), tiles in holders.items():
        memory = chip[owners[row, part]]
        keys = [("partial", row) if t == memory.number else ("sum", row, part, t) for t in tiles]
        partials = [memory.get(key) for key in keys]
        total = torch.stack(partials).float().sum(0)
        for key in keys:
            memory.drop(key)
        memory.put(("out", row, part), total.to(plan.dtype))
        work[memory.number][len(tiles)] += total.numel()
    size = plan.dtype.itemsize
    cycles = [
        sum(
            int(reduction_cycles(plan.machine, n, d, partial_bytes=size, output_bytes=size))
            for d, n in depths.items()
        )
        for depths in work.values()
    ]
    chip.compute("reduction", cycles)
    return owners


def _collect(plan: StaticPlan, owners: dict[tuple[int, int], int], chip: Chip) -> Tensor:
    """Move Y to where it rests, rows without any block being zero, and read it from there."""
    rows, side = len(plan.counts.rows), plan.counts.side
    parts = len(plan.column_parts)
    chip.exchange(
        "final move",
        (
            Transfer(
                tile,
                ("out", row, part),
                chip.home(row * parts + part, rows * parts),
                ("y", row, part),
            )
            for (row, part), tile in owners.items()
        ),
    )
    y = torch.empty(rows, side, plan.column_parts[-1][1], dtype=plan.dtype)
    for part, (a, b) in enumerate(plan.column_parts):
        for row in range(rows):
            memory = chip[chip.home(row * parts + part, rows * parts)]
            if (row, part) not in owners:
                memory.put(("y", row, part), torch.zeros(side, b - a, dtype=plan.dtype))
            y[row, :, a:b] = memory.get(("y", row, part))
    return y.reshape(rows * side, -1)[:, : plan.columns]
