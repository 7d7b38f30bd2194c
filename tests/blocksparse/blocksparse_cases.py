"""Small random patterns and operands that the tests of the block-sparse products share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from diffrender.blocksparse import BlockPattern

SIDES = (1, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Case:
    """A pattern with values, and the operands of its products."""

    pattern: BlockPattern
    values: Tensor  # (nnz, b_m, b_k)
    x: Tensor  # (..., k, n) or (..., n, k)
    dy: Tensor  # (..., m, n) or (..., n, m)
    features_last: bool

    def __repr__(self) -> str:
        return f"Case({self.pattern}, x={tuple(self.x.shape)}, features_last={self.features_last})"


def make_case(
    block_size: tuple[int, int] = (4, 4),
    grid: tuple[int, int] = (5, 4),
    density: float = 0.4,
    columns: int = 3,
    *,
    features_last: bool = False,
    leading: tuple[int, ...] = (),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Case:
    """Operands are in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (grid[0] * block_size[0], grid[1] * block_size[1])
    pattern = BlockPattern.random(shape, block_size, density, generator=generator)

    def draw(*sizes: int) -> Tensor:
        return torch.rand(sizes, generator=generator, dtype=torch.float64).mul(2).sub(1).to(dtype)

    def side(features: int) -> Tensor:
        tail = (columns, features) if features_last else (features, columns)
        return draw(*leading, *tail)

    return Case(pattern, draw(*pattern.values_shape), side(shape[1]), side(shape[0]), features_last)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any block sizes, rectangular too; empty patterns, full ones, no columns at all."""
    return make_case(
        (draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES))),
        (draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0])),
        draw(st.integers(0, 9)),
        features_last=draw(st.booleans()),
        leading=draw(st.sampled_from([(), (1,), (2,), (2, 3)])),
        seed=draw(st.integers(0, 2**16)),
    )


def dense_product(case: Case, *, transpose: bool) -> Tensor:
    """W x or W^T dy through the dense weight, in the case's dtype."""
    weight = case.pattern.to_dense(case.values)
    weight, x = (weight.mT, case.dy) if transpose else (weight, case.x)
    return x @ weight.mT if case.features_last else weight @ x


def dense_outer(case: Case) -> Tensor:
    """dy x^T in full, then its stored blocks."""
    dy, x = case.dy, case.x
    full = dy.mT @ x if case.features_last else dy @ x.mT
    return case.pattern.to_values(full.reshape(-1, *case.pattern.shape).sum(0))


def gappy_pattern(
    block_size: tuple[int, int], density: float = 0.3, shape: tuple[int, int] = (192, 128)
) -> BlockPattern:
    """Random blocks, with block row 0 and block column 1 empty where there are several."""
    grid = (shape[0] // block_size[0], shape[1] // block_size[1])
    mask = torch.rand(grid, generator=torch.Generator().manual_seed(sum(block_size))) < density
    if min(grid) > 2:
        mask[0], mask[:, 1] = False, False
    return BlockPattern.from_mask(mask, block_size)


def dense_of(pattern: BlockPattern, values: Tensor) -> Tensor:
    """(m, k) float64."""
    (rows, columns), grid = pattern.block_size, pattern.grid
    blocks = torch.zeros(*grid, rows, columns, dtype=torch.float64)
    blocks[pattern.row_indices.long(), pattern.column_indices.long()] = values.double()
    return blocks.transpose(1, 2).reshape(pattern.shape)


def at_pattern(pattern: BlockPattern, dense: Tensor) -> Tensor:
    """(nnz, b_m, b_k) out of (m, k)."""
    (rows, columns), grid = pattern.block_size, pattern.grid
    blocks = dense.reshape(grid[0], rows, grid[1], columns).transpose(1, 2)
    return blocks[pattern.row_indices.long(), pattern.column_indices.long()]
