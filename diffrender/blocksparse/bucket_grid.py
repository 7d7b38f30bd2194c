"""Dynamic mode's buckets: equal cells of the weight, and how much each of their buckets holds.

Source: poplibs, lib/popsparse/SparsePartitionerImpl.cpp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffrender.blocksparse._structure import check_sizes, stored_blocks
from diffrender.errors import InputError

__all__ = ["BucketGrid"]

_MOVED = 8  # multiply-adds that a number costs on its way between tiles


@dataclass(frozen=True)
class BucketGrid:
    """The fixed part of a dynamic plan: equal cells, and how much a bucket holds.

    Attributes:
        shape, block_size: of the weight.
        parts: (q_m, q_k, q_n); bucket (x, y, z) is number (x × q_k + y) × q_n + z.
        max_blocks: stored blocks that a mask may have.
        capacity: blocks of a bucket.
    """

    shape: tuple[int, int]
    block_size: tuple[int, int]
    parts: tuple[int, int, int]
    max_blocks: int
    capacity: int

    def __post_init__(self) -> None:
        grid = check_sizes(self.shape, self.block_size)
        if len(self.parts) != 3 or min(self.parts) < 1:
            raise InputError(f"parts are {self.parts}, expected three positive whole numbers")
        if self.parts[0] > grid[0] or self.parts[1] > grid[1]:
            raise InputError(f"parts are {self.parts}, expected at most {grid} rows and columns")
        if self.capacity * self.tiles < self.max_blocks:
            raise InputError(
                f"{self.tiles} buckets of {self.capacity} blocks cannot hold {self.max_blocks}"
            )

    @classmethod
    def for_density(
        cls,
        shape: tuple[int, int],
        block_size: tuple[int, int],
        max_density: float,
        parts: tuple[int, int, int],
        oversize: float = 0.3,
    ) -> BucketGrid:
        """Buckets of round(ceil(most blocks / tiles) × (1 + oversize)) blocks, as in poplibs."""
        most = stored_blocks(check_sizes(shape, block_size), max_density)
        capacity = round(math.ceil(most / math.prod(parts)) * (1 + oversize))
        return cls(shape, block_size, parts, most, max(capacity, 1))

    @classmethod
    def for_tiles(
        cls,
        shape: tuple[int, int],
        block_size: tuple[int, int],
        max_density: float,
        columns: int,
        tiles: int,
    ) -> BucketGrid:
        """The equal grid of at most `tiles` cells and parts that a uniform mask finishes soonest.

        Counts a tile's multiply-adds, and what it receives and adds at `_MOVED` each. The planner
        of the simulated IPU counts cycles instead.
        """
        rows, wide = check_sizes(shape, block_size)
        most = stored_blocks((rows, wide), max_density) * math.prod(block_size)

        def cost(parts: tuple[int, int, int]) -> float:
            q_m, q_k, q_n = parts
            width = -(-columns // q_n)
            received = -(-shape[1] // q_k) * width + most / (q_m * q_k)
            added = -(-shape[0] // q_m) * width * (q_k > 1)
            return most / (q_m * q_k) * width + _MOVED * (received + added)

        parts = [
            (q_m, q_k, q_n)
            for q_m in range(1, min(rows, tiles) + 1)
            for q_k in range(1, min(wide, tiles // q_m) + 1)
            for q_n in {1, min(max(columns, 1), tiles // (q_m * q_k))}
        ]
        return cls.for_density(shape, block_size, max_density, min(parts, key=cost))

    @property
    def tiles(self) -> int:
        """Buckets, one a tile."""
        return math.prod(self.parts)

    @property
    def cell(self) -> tuple[int, int]:
        """Block rows and block columns of a cell; the last cells may be smaller."""
        (rows, columns), (high, wide) = self.shape, self.block_size
        return -(-rows // (high * self.parts[0])), -(-columns // (wide * self.parts[1]))
