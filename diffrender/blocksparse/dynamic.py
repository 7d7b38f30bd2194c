"""Dynamic mode: buffers for the most blocks that may come, and masks that change within them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrender.blocksparse._structure import block_moves, pair, structure_arrays
from diffrender.blocksparse.bucket_grid import BucketGrid
from diffrender.blocksparse.encoding import (
    Buckets,
    encode,
    positions,
    too_many_blocks,
)
from diffrender.blocksparse.pattern import INDEX_FIELDS, BlockPattern

__all__ = ["DynamicPattern"]


class DynamicPattern:
    """A pattern whose mask may change at every step; only the most blocks are fixed.

    Every index tensor is allocated once for `max_blocks` and filled in place, back-ends and plans
    are chosen once, and a mask is taken or refused by the same rule as on the simulated IPU: up to
    `max_blocks` blocks, wherever they lie. Values are (max_blocks, b_m, b_k); those of the present
    mask come first, in row order, and the rest are not read.

    Attributes:
        grid: the cells and the bucket capacity of the encoding.
        current: the present mask's pattern. It lives in these buffers, so it is good until the
            next `update` (keep its `mask()` to come back to it); a backward pass after an update
            raises torch's error about tensors that were modified in place.

    Source: PopSparse, arXiv 2303.16999 (dynamic mode).
    """

    grid: BucketGrid
    current: BlockPattern

    def __init__(
        self,
        grid: BucketGrid,
        mask: Tensor | BlockPattern | None = None,  # (m_B, k_B) bool
        device: torch.device | str = "cpu",
    ) -> None:
        """Allocate the buffers and encode a first mask, empty by default.

        Raises:
            InputError: as `update`.
        """
        self.grid = grid
        (m, k), (rows, columns) = grid.shape, grid.block_size
        ends = {"row_offsets": m // rows + 1, "column_offsets": k // columns + 1}
        with torch.inference_mode(False):
            self._buffers = {
                name: torch.zeros(ends.get(name, grid.max_blocks), dtype=torch.int32, device=device)
                for name in INDEX_FIELDS
            }
        self._decisions: dict[Any, Any] = {}
        self._view(0)
        if mask is not None:
            self.update(mask)

    @classmethod
    def for_density(
        cls,
        shape: tuple[int, int],
        block_size: tuple[int, int],
        max_density: float,
        device: torch.device | str = "cpu",
    ) -> DynamicPattern:
        """Room for ceil(max_density × blocks) blocks, in one cell: these back-ends need no more.

        For another grid, such as `BucketGrid.for_tiles` plans, call the constructor.
        """
        grid = BucketGrid.for_density(pair(shape), pair(block_size), max_density, (1, 1, 1))
        return cls(grid, None, device)

    def __repr__(self) -> str:
        return f"DynamicPattern(max_blocks={self.grid.max_blocks}, current={self.current})"

    def __deepcopy__(self, memo: dict[int, Any]) -> DynamicPattern:
        return self.to(self.device)  # with what was measured here

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.grid, self.current.mask())

    def to(self, device: torch.device | str) -> DynamicPattern:
        """A copy with buffers of its own."""
        copy = DynamicPattern(self.grid, self.current, device)
        if copy.device == self.device:  # what was measured holds for this device alone
            copy._decisions.update(self._decisions)
        return copy

    @property
    def shape(self) -> tuple[int, int]:
        """(m, k)."""
        return self.grid.shape

    @property
    def block_size(self) -> tuple[int, int]:
        """(b_m, b_k)."""
        return self.grid.block_size

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        return self._buffers["row_offsets"].device

    @property
    def values_shape(self) -> tuple[int, int, int]:
        """(max_blocks, b_m, b_k)."""
        return (self.grid.max_blocks, *self.block_size)

    @property
    def index_tensors(self) -> tuple[Tensor, ...]:
        """The buffers, named and ordered as BlockPattern's index tensors."""
        return tuple(self._buffers.values())

    def encode(self) -> Buckets:
        """The present mask dealt to the grid's buckets, as the IPU would hold it."""
        return encode(self.current, self.grid)

    def update(self, mask: Tensor | BlockPattern) -> Tensor:  # (m_B, k_B) bool
        """Take a new mask, in place.

        Returns:
            (max_blocks,) int64 on the CPU: for each of the new blocks its place among the old
            ones, -1 for blocks that are new and for places that are not used.

        Raises:
            InputError: the mask has another shape, or more than `max_blocks` blocks (how many,
                and where), or is the pattern of an old mask; the pattern is then as it was.
        """
        rows, columns = positions(mask, self.grid)
        count, wide = len(rows), self.current.grid[1]
        if count > self.grid.max_blocks:
            raise too_many_blocks(self.grid, rows, columns)
        old = (self.current.row_offsets.cpu().numpy(), self.current.column_indices.cpu().numpy())
        self.current.retire()
        arrays = structure_arrays(rows, columns, self.current.grid)
        moves = np.full(self.grid.max_blocks, -1, dtype=np.int64)
        moves[:count] = block_moves(old, (arrays[0], arrays[1]), wide)
        for buffer, array in zip(self._buffers.values(), arrays, strict=True):
            buffer[: len(array)].copy_(torch.from_numpy(array))
        self._view(count)
        return torch.from_numpy(moves)

    def _view(self, count: int) -> None:
        """The pattern of the first `count` blocks of the buffers."""
        with torch.inference_mode(False):
            views = [
                buffer if name.endswith("offsets") else buffer[:count]
                for name, buffer in self._buffers.items()
            ]
        self.current = BlockPattern(self.shape, self.block_size, *views)
        # Plans are made for the most blocks, and what was measured holds for every mask.
        self.current.remembered["decisions"] = self._decisions
        self.current.remembered["planned_blocks"] = self.grid.max_blocks
