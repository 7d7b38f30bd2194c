"""The cells of the block-sparse grid: one product each, beside the dense one that it replaces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["Cell", "calls_of", "pattern_of"]

Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Cell:
    """One product at one size.

    Attributes:
        side: m = k.
        n: columns of x.
        block: side of a block.
        density: stored blocks over all blocks, drawn uniformly.
        product: "forward", "grad_input" or "grad_weight".
        features_last: x (n, k) as `nn.Linear` has it, else x (k, n).
        threads: that torch and the kernels use.
    """

    side: int
    n: int
    block: int
    density: float
    product: str = "forward"
    features_last: bool = False
    threads: int = 1

    def __str__(self) -> str:
        layout = "(n, k)" if self.features_last else "(k, n)"
        return (
            f"m=k={self.side}, n={self.n}, d={self.density:g}, b={self.block}, "
            f"x {layout}, threads: {self.threads}"
        )


@functools.lru_cache(maxsize=6)
def pattern_of(side: int, block: int, density: float) -> BlockPattern:
    """The pattern of a cell; products, layouts and numbers of threads share it."""
    generator = torch.Generator().manual_seed(123)
    return BlockPattern.random((side, side), block, density, generator=generator)


def calls_of(cell: Cell, weight: Tensor, x: Tensor, dy: Tensor) -> tuple[Call, Call]:
    """(sparse, dense), which give outputs of the same kind.

    Args:
        weight: (side, side) for the dense product.
        x, dy: (side, n), or (n, side) with features_last.
    """
    from diffrender.blocksparse import native_products

    pattern, last = pattern_of(cell.side, cell.block, cell.density), cell.features_last
    values = torch.randn(pattern.nnz, cell.block, cell.block).to(x.dtype)
    if cell.product == "grad_weight":
        return (
            lambda: native_products.block_outer(pattern, dy, x, features_last=last),
            lambda: dy.mT @ x if last else dy @ x.mT,
        )
    back = cell.product == "grad_input"
    given, matrix = (dy, weight.mT) if back else (x, weight)
    return (
        lambda: native_products.multiply(
            pattern, values, given, transpose=back, features_last=last
        ),
        lambda: given @ matrix.mT if last else matrix @ given,
    )
