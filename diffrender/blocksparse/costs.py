"""What a product is expected to cost, sparse and dense: stored constants, and the machine's rate.

Costs are in units of one dense multiply-add at full speed, so which way is cheaper does not hang
on a measurement and is the same in every process. Seconds, for `explain`, need the machine's rate:
one small dense product, timed once.
"""

from __future__ import annotations

import functools
import time

import torch

from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import instruction_set

__all__ = ["dense_cost", "seconds", "sparse_cost"]

# Share of the dense rate that the forward product reaches, by the smaller side of the blocks.
# "native" and "torch" on two cores in float32 with AVX2, single numbers with AVX-512; "triton" is
# a guess until someone measures it.
_EFFICIENCY = {
    "native": {1: 0.60, 4: 0.80, 8: 0.85, 16: 0.90, 32: 0.90, 64: 0.90},
    "torch": {1: 0.004, 4: 0.02, 8: 0.06, 16: 0.17, 32: 0.45, 64: 0.60},
    "triton": {1: 0.01, 4: 0.05, 8: 0.10, 16: 0.40, 32: 0.60, 64: 0.70},
}
_PRODUCT = {"forward": 1.0, "grad_input": 0.85, "grad_weight": 0.75}  # shares of that
# Multiply-adds at full speed while one byte comes from memory.
_BALANCE = {"cpu": 5.0, "cuda": 100.0}
_CALL = 2e5  # multiply-adds that a call costs whatever its size


def sparse_cost(
    pattern: BlockPattern, blocks: int, product: str, columns: int, itemsize: int, backend: str
) -> float:
    """Multiply-adds that a back-end's product with so many stored blocks is worth."""
    rows, wide = pattern.block_size
    share = _EFFICIENCY[backend][min(rows, wide)] * _PRODUCT[product]
    stored = blocks * rows * wide
    moved = itemsize * (stored + sum(pattern.shape) * columns) + 8 * blocks
    return max(stored * columns / share, moved * _balance(pattern)) + _CALL


def dense_cost(pattern: BlockPattern, columns: int, itemsize: int) -> float:
    """Multiply-adds that the dense product is worth, with making the dense weight."""
    m, k = pattern.shape
    moved = itemsize * (m * k + (m + k) * columns)
    # The weight is cleared, filled and read again: twice its bytes beyond the product's own.
    scatter = 2 * itemsize * m * k * _balance(pattern)
    return max(m * k * columns, moved * _balance(pattern)) + scatter + _CALL


def seconds(cost: float, device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """A cost in seconds on this machine."""
    return cost / _rate(device, dtype, threads)


def _balance(pattern: BlockPattern) -> float:
    kind = pattern.device.type
    if kind == "cpu" and instruction_set() == "avx512":
        return 2 * _BALANCE["cpu"]
    return _BALANCE.get(kind, _BALANCE["cpu"])


@functools.cache
def _rate(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Dense multiply-adds a second, from the best of three products of 512 x 512."""
    side, best = 512, float("inf")
    with torch.inference_mode():
        left = torch.ones(side, side, device=device, dtype=dtype)
        for _ in range(4):
            start = time.perf_counter()
            torch.mm(left, left)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
    return side**3 / best
