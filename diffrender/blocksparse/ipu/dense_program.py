"""The dense program: parts of W and X to an equal grid of tiles, products, reduction."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from diffrender.blocksparse.ipu.chip import Chip, Transfer
from diffrender.blocksparse.ipu.costs import ceil_div, reduction_cycles, static_cycles
from diffrender.blocksparse.ipu.dense_planner import SIDE, DensePlan

__all__ = ["run_dense"]


def run_dense(plan: DensePlan, weight: Tensor, x: Tensor, chip: Chip) -> Tensor:
    """Run the plan on the chip's tiles; returns (m, n) in the plan's dtype.

    Args:
        weight: (m, k) in the plan's dtype.
        x: (k, n) in the plan's dtype.
    """
    (q_m, q_k, q_n), (tall, deep, width) = plan.grid, plan.part
    turn = q_n * width  # columns of a pass
    weight = _padded(weight, q_m * tall, q_k * deep)
    x = _padded(x, q_k * deep, plan.passes * turn)
    y = torch.empty(q_m * tall, plan.passes * turn, dtype=plan.dtype)
    tiles = [(i, j, z) for i in range(q_m) for j in range(q_k) for z in range(q_n)]

    def tile(i: int, j: int, z: int) -> int:
        return (j * q_n + z) * q_m + i  # neighbours want the same part of X

    for i in range(q_m):
        for j in range(q_k):
            part = weight[i * tall : (i + 1) * tall, j * deep : (j + 1) * deep].contiguous()
            chip[tile(i, j, 0)].put("w", part)
    chip.exchange(
        "weight exchange", (Transfer(tile(i, j, 0), "w", tile(i, j, z), "w") for i, j, z in tiles)
    )
    pieces = x.view(q_k * deep // SIDE, SIDE, plan.passes, q_n, width).permute(2, 3, 0, 1, 4)
    count = pieces.shape[2]  # block rows of X, laid out in order over all tiles

    def home(turns: int, z: int, row: int) -> int:
        return chip.home((turns * count + row) * q_n + z, plan.passes * count * q_n)

    for turns, z, row in itertools.product(range(plan.passes), range(q_n), range(count)):
        chip[home(turns, z, row)].put(("x", turns, z, row), pieces[turns, z, row].contiguous())
    for turns in range(plan.passes):
        chip.exchange(
            "dense exchange",
            (
                Transfer(home(turns, z, row), ("x", turns, z, row), tile(i, j, z), ("in", row))
                for i, j, z in tiles
                for row in range(j * deep // SIDE, (j + 1) * deep // SIDE)
            ),
        )
        for i, j, z in tiles:
            memory = chip[tile(i, j, z)]
            used = range(j * deep // SIDE, (j + 1) * deep // SIDE)
            received = torch.cat([memory.get(("in", row)) for row in used])
            for row in used:
                memory.drop(("in", row))
            product = memory.get("w").float() @ received.float()
            memory.put("partial", product.to(plan.dtype))
        rows, size = ceil_div(tall, SIDE), plan.dtype.itemsize
        blocks = rows * ceil_div(deep, SIDE)
        chip.compute("compute", [int(static_cycles(plan.machine, SIDE, size, rows, blocks, width))])
        shares = [(tall * j // q_k, tall * (j + 1) // q_k) for j in range(q_k)]
        chip.exchange(
            "partial exchange",
            (
                Transfer(tile(i, other, z), "partial", tile(i, j, z), ("part", other), shares[j])
                for i, j, z in tiles
                for other in range(q_k)
                if other != j
            ),
        )
        cycles = []
        for i, j, z in tiles:
            memory = chip[tile(i, j, z)]
            own = memory.get("partial")[slice(*shares[j])]
            parts = [own if other == j else memory.get(("part", other)) for other in range(q_k)]
            total = torch.stack(parts).float().sum(0).to(plan.dtype)
            for other in range(q_k):
                memory.drop(("part", other))
            a, b = (i * tall + edge for edge in shares[j])
            y[a:b, turns * turn + z * width : turns * turn + (z + 1) * width] = total
            cost = reduction_cycles(
                plan.machine, total.numel(), q_k, partial_bytes=size, output_bytes=size
            )
            cycles.append(int(cost))
        chip.compute("reduction", cycles)
    return y[: plan.shape[0], : plan.columns]


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    missing = (0, columns - matrix.shape[1], 0, rows - matrix.shape[0])
    return torch.nn.functional.pad(matrix, missing)
