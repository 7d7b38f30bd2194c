"""The dynamic program: distribution, propagation until every bucket met its slice, reduction.

Source: popsparse.md, section 1.5.4. A tile keeps its bucket of the current step along x while a
copy travels along y and z, which the device does with its second buffer: one copy more than there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diffrender.blocksparse.ipu.buckets import read_lists, write_bucket
from diffrender.blocksparse.ipu.chip import Chip, Transfer, multiply_blocks
from diffrender.blocksparse.ipu.costs import zeroing_cycles
from diffrender.blocksparse.ipu.dynamic_costs import (
    SKIP_CYCLES,
    cast_cycles,
    depth_cycles,
    dynamic_cycles,
)
from diffrender.blocksparse.ipu.dynamic_planner import DynamicPlan
from diffrender.blocksparse.ipu.encoding import Encoding
from diffrender.blocksparse.ipu.propagation import propagation_steps
from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["run_dynamic"]

Place = tuple[int, int, int]
PARTS = ("values", "lists")


def places(plan: DynamicPlan) -> Iterator[Place]:
    """(x, y, z) of every tile in use, in the order of the buckets."""
    q_m, q_k, q_n = plan.grid
    return ((x, y, z) for x in range(q_m) for y in range(q_k) for z in range(q_n))


def run_dynamic(
    encoding: Encoding,
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b, b) in the plan's dtype
    x: Tensor,  # (k, n) in the plan's dtype
    chip: Chip,
) -> Tensor:
    """Run the program on the chip's tiles; returns (m, n) in the plan's dtype."""
    plan = encoding.plan
    order = torch.from_numpy(encoding.order)
    columns, ordered = pattern.column_indices[order].numpy(), values[order]
    for bucket, at in enumerate(places(plan)):
        for part, held in zip(PARTS, write_bucket(encoding, bucket, columns, ordered), strict=True):
            chip[plan.tile_of(*at)].put(("base", part), held)
    _pre_distribute(plan, x, chip)
    _distribute(plan, chip)
    for axis, compute in propagation_steps(encoding):
        if axis == "home":
            for tile in range(plan.tiles):
                for part in PARTS:
                    chip[tile].put(("travel", part), chip[tile].get(("base", part)))
        elif axis != "stay":
            _shift(plan, chip, axis)
        if compute:
            chip.compute(
                "propagation compute",
                [_work(plan, at, ["travel"], chip) for at in places(plan)],
            )
    return _reduce(plan, chip)


def _pre_distribute(plan: DynamicPlan, x: Tensor, chip: Chip) -> None:
    """X rests in order over all tiles; each of its rows goes to the tiles that own it."""
    q_m, _, q_n = plan.grid
    rows = plan.block_grid[1]
    padded = torch.nn.functional.pad(x, (0, q_n * plan.width - x.shape[1]))
    pieces = padded.view(rows, plan.side, q_n, plan.width).transpose(1, 2).contiguous()

    def home(row: int, z: int) -> int:
        if q_m == 1:  # one tile wants it, and there it rests
            return plan.tile_of(0, row // plan.blocks[1], z)
        return chip.home(row * q_n + z, rows * q_n)

    for row in range(rows):
        for z in range(q_n):
            chip[home(row, z)].put(("x", row, z), pieces[row, z])
    chip.exchange(
        "dense exchange",
        (
            Transfer(home(row, z), ("x", row, z), plan.tile_of(i, j, z), ("in", row))
            for i, j, z in places(plan)
            for row in range(*plan.columns_of(j))
        ),
    )


def _distribute(plan: DynamicPlan, chip: Chip) -> None:
    """All buckets of a cell go to all tiles of the cell, and are worked through."""
    q_n = plan.grid[2]
    chip.exchange(
        "bucket exchange",
        (
            Transfer(plan.tile_of(i, j, home), ("base", part), plan.tile_of(i, j, z), (home, part))
            for i, j, z in places(plan)
            for home in range(q_n)
            if home != z
            for part in PARTS
        ),
    )
    zeroed = []
    for i, j, z in places(plan):
        rows = plan.rows_of(i)[1] - plan.rows_of(i)[0]
        sums = torch.zeros(rows, plan.side, plan.width)
        chip[plan.tile_of(i, j, z)].put("sum", sums)
        zeroed.append(int(zeroing_cycles(plan.machine, 4 * sums.numel())))
    chip.compute("zeroing", zeroed)
    work = []
    for at in places(plan):
        names = ["base" if home == at[2] else home for home in range(q_n)]
        work.append(_work(plan, at, names, chip))
        for name in names:
            for part in PARTS:
                if name != "base":
                    chip[plan.tile_of(*at)].drop((name, part))
    chip.compute("compute", work)


def _work(plan: DynamicPlan, at: Place, names: Sequence[object], chip: Chip) -> int:
    """Multiply the sub-groups of the tile's own cell in these buckets; returns the cycles."""
    memory = chip[plan.tile_of(*at)]
    own = at[0] * plan.grid[1] + at[1]
    x: Tensor | None = None  # gathered once there is work
    blocks = rows = buckets = skipped = 0
    for name in names:
        values, lists = (memory.get((name, part)) for part in PARTS)
        for group in read_lists(plan, lists):
            if group.cell != own:
                skipped += 1
                continue
            stored = values[group.first : group.first + len(group.rows)]
            if x is None:
                owned = range(*plan.columns_of(at[1]))
                x = torch.stack([memory.get(("in", row)) for row in owned])
            multiply_blocks(
                stored,
                x,
                torch.from_numpy(group.columns),
                torch.from_numpy(group.rows),
                memory.get("sum"),
            )
            buckets += 1
            blocks += len(group.rows)
            rows += group.entries
    kernel = dynamic_cycles(
        plan.machine, plan.side, plan.dtype.itemsize, rows, blocks, plan.width, buckets
    )
    return int(kernel) + SKIP_CYCLES * skipped


def _shift(plan: DynamicPlan, chip: Chip, axis: str) -> None:
    """Every bucket moves one cell, or one part of the columns, forward."""
    step = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}[axis]
    name = "base" if axis == "x" else "travel"
    transfers = []
    for at in places(plan):
        i, j, z = ((a + s) % q for a, s, q in zip(at, step, plan.grid, strict=True))
        transfers += [
            Transfer(plan.tile_of(*at), (name, part), plan.tile_of(i, j, z), ("incoming", part))
            for part in PARTS
        ]
    chip.exchange("propagation exchange", transfers)
    for tile in range(plan.tiles):
        for part in PARTS:
            chip[tile].rename(("incoming", part), (name, part))


def _reduce(plan: DynamicPlan, chip: Chip) -> Tensor:
    """Add the partials of all parts of k, each tile a share of the rows; read Y from there."""
    q_k, tile = plan.grid[1], plan.tile_of

    def share(i: int, j: int) -> tuple[int, int]:
        rows = plan.rows_of(i)[1] - plan.rows_of(i)[0]
        return rows * j // q_k, rows * (j + 1) // q_k

    chip.exchange(
        "partial exchange",
        (
            Transfer(
                plan.tile_of(i, other, z),
                "sum",
                plan.tile_of(i, j, z),
                ("part", other),
                share(i, j),
            )
            for i, j, z in places(plan)
            for other in range(q_k)
            if other != j
        ),
    )
    m, width = plan.block_grid[0], plan.grid[2] * plan.width
    y = torch.empty(m, plan.side, width, dtype=plan.dtype)
    cycles = []
    for i, j, z in places(plan):
        memory = chip[tile(i, j, z)]
        own = memory.get("sum")[slice(*share(i, j))]
        parts = [own if other == j else memory.get(("part", other)) for other in range(q_k)]
        total = torch.stack(parts).sum(0)
        for other in range(q_k):
            memory.drop(("part", other))
        memory.put("out", total.to(plan.dtype))
        size = plan.dtype.itemsize
        if q_k > 1:
            cycles.append(int(depth_cycles(plan.machine, total.numel(), q_k, size)))
        else:
            cycles.append(int(cast_cycles(plan.machine, total.numel())) if size == 2 else 0)
        a, b = (plan.rows_of(i)[0] + edge for edge in share(i, j))
        y[a:b, :, z * plan.width : (z + 1) * plan.width] = memory.get("out")
    chip.compute("reduction", cycles)
    return y.reshape(m * plan.side, width)[:, : plan.columns]
