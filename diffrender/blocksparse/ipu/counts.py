"""What the planners see of a pattern: its blocks by row and by column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from diffrender.blocksparse.pattern import BlockPattern
from diffrender.errors import InputError

__all__ = ["BlockCounts", "native_side", "native_values", "reblock"]

_SIDES = (16, 8, 4, 1)  # blocks that the kernels have


@dataclass(frozen=True, eq=False)
class BlockCounts:
    """Stored blocks of each block row and block column; blocks are square here.

    Attributes:
        shape: (m, k) elements.
        side: b, one of 1, 4, 8, 16.
        rows: (m / b,) int64.
        columns: (k / b,) int64.
    """

    shape: tuple[int, int]
    side: int
    rows: np.ndarray  # (m_B,)
    columns: np.ndarray  # (k_B,)

    @property
    def nnz(self) -> int:
        """Stored blocks."""
        return int(self.rows.sum())

    @property
    def density(self) -> float:
        """Stored blocks over all blocks."""
        return self.nnz / (len(self.rows) * len(self.columns))

    @classmethod
    def of(cls, pattern: BlockPattern, dtype: torch.dtype, *, dynamic: bool = False) -> BlockCounts:
        """Counts of a pattern, its blocks cut to the largest that the kernels have."""
        side = native_side(pattern.block_size, dtype, dynamic=dynamic)
        down, across = (size // side for size in pattern.block_size)
        rows = pattern.row_offsets.cpu().numpy().astype(np.int64)
        columns = pattern.column_offsets.cpu().numpy().astype(np.int64)
        return cls(
            pattern.shape,
            side,
            np.repeat(np.diff(rows) * across, down),
            np.repeat(np.diff(columns) * down, across),
        )

    @classmethod
    def uniform(
        cls, shape: tuple[int, int], side: int, density: float, generator: np.random.Generator
    ) -> BlockCounts:
        """Counts of ceil(density × blocks) blocks drawn uniformly, without drawing the blocks.

        Rows and columns each have exactly the distribution that a drawn mask gives; that the two
        are drawn apart does not matter to planners, which never relate them. For sweeps over
        sizes whose masks would take long to draw.
        """
        if side not in _SIDES or shape[0] % side or shape[1] % side:
            raise InputError(
                f"blocks of side {side} in shape {shape}, expected a side of 1, 4, 8 or 16 that "
                "divides both"
            )
        m, k = shape[0] // side, shape[1] // side
        nnz = math.ceil(density * m * k * (1 - 1e-12))
        rows, columns = (
            generator.multivariate_hypergeometric([b] * a, nnz, method="marginals")
            for a, b in ((m, k), (k, m))
        )
        return cls(shape, side, rows.astype(np.int64), columns.astype(np.int64))


def native_side(block_size: tuple[int, int], dtype: torch.dtype, *, dynamic: bool) -> int:
    """The largest block that the kernels have and that cuts these blocks evenly."""
    # The dynamic kernels have no 16 × 16 float block (popsparse.md, section 1.5.4).
    most = 8 if dynamic and dtype == torch.float32 else 16
    return next(s for s in _SIDES if s <= most and not block_size[0] % s and not block_size[1] % s)


def reblock(pattern: BlockPattern, side: int) -> BlockPattern:
    """The same stored elements in blocks of `side`, on the CPU."""
    if pattern.block_size == (side, side):
        return pattern.to("cpu")
    down, across = (size // side for size in pattern.block_size)
    mask = pattern.mask().cpu().repeat_interleave(down, 0).repeat_interleave(across, 1)
    return BlockPattern.from_mask(mask, side)


def native_values(
    pattern: BlockPattern,
    blocks: BlockPattern,
    values: torch.Tensor,  # (nnz, b_m, b_k)
) -> torch.Tensor:
    """Values of `pattern` in the blocks of `reblock(pattern, ...)`."""
    if blocks.block_size == pattern.block_size:
        return values.cpu()
    return blocks.to_values(pattern.to("cpu").to_dense(values.cpu()))
