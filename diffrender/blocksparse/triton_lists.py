"""What a GPU program walks along: the blocks of one block row, or of several taken together.

Blocks of 4 or 8 rows would leave most of a tensor core's 16 rows idle, and even blocks of 16 and
32 rows would read X again for every block row. So `members` neighbouring block rows form a group:
its list names each block column that any of them holds once, in ascending order, and `slots` says
where each member's block of that column lies in the values (-1 for none). One member needs no such
table: the list is the pattern's own row, or its column for the transposed product.

Everything is found by sorting on the pattern's device. No size depends on the mask (a pattern may
hold more places than blocks, then row_offsets[-1] says how many count), and nothing waits for the
device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender._triton import blocks
from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["Lists", "block_lists", "count_members"]

_TALLEST = 128  # rows of a tile
_LEAST = 16  # rows that a tensor core multiplies at once
# How many rows a tile needs before arithmetic takes longer than reading X from the L2 cache, by
# bytes of an element: multiply-adds a second over elements a second, as an H100's makers state.
_BALANCE = {2: 80, 4: 27, 8: 50}


@dataclass(frozen=True, eq=False)
class Lists:
    """Blocks by group of outer blocks: block rows for y = W x, block columns for y = W^T x.

    Attributes:
        starts: (groups + 1,) int32, list of group g is starts[g] to starts[g + 1].
        inner: (L,) int32, the block that each entry reads: a block column for y = W x.
        slots: (L, members) int32 into the values, -1 for no block; (L,) for one member; None
            where entry e is block e.
        members: outer blocks in a group.
    """

    starts: Tensor
    inner: Tensor
    slots: Tensor | None
    members: int

    @property
    def groups(self) -> int:
        """Number of groups, empty ones too."""
        return len(self.starts) - 1


def block_lists(pattern: BlockPattern, transpose: bool, itemsize: int) -> Lists:
    """The lists of a product with values of `itemsize` bytes, remembered by the pattern."""
    members = count_members(pattern, transpose, itemsize)
    key = ("triton lists", transpose, members)
    if key not in pattern.remembered:
        with torch.inference_mode(False):
            pattern.remembered[key] = _lists(pattern, transpose, members)
    return pattern.remembered[key]


def count_members(pattern: BlockPattern, transpose: bool, itemsize: int) -> int:
    """How many outer blocks one program should take, by an estimate for uniform patterns.

    With density d, G members together hold 1 - (1 - d)^G of the columns. That is the arithmetic,
    as a share of dense; X is read once for the rows of a tile. The table of slots stays smaller
    than the values. For a dynamic pattern the most blocks count, so every mask gets the same.
    """
    most = pattern.remembered.get("planned_blocks", pattern.nnz)
    side = 1 if transpose else 0
    outer, inner, high = pattern.grid[side], pattern.grid[1 - side], pattern.block_size[side]
    density = most / (outer * inner)
    values = most * pattern.block_size[0] * pattern.block_size[1] * itemsize
    best, least, members = 1, float("inf"), 1
    while members == 1 or (members <= outer and members * high <= _TALLEST):
        rows = members * high
        held = 1 - (1 - density) ** members
        cost = held * (max(rows, _LEAST) + _BALANCE[itemsize]) / rows
        table = 4 * members * min(most, blocks(outer, members) * inner + 1)
        if cost < least and (members == 1 or table <= values):
            best, least = members, cost
        members *= 2
    return best


def _lists(pattern: BlockPattern, transpose: bool, members: int) -> Lists:
    if members > 1:
        return _merged(pattern, transpose, members)
    if transpose:
        order = pattern.transpose_order
        return Lists(pattern.column_offsets, pattern.transpose_row_indices, order, 1)
    return Lists(pattern.row_offsets, pattern.column_indices, None, 1)


def _merged(pattern: BlockPattern, transpose: bool, members: int) -> Lists:
    outer, inner = pattern.row_indices.long(), pattern.column_indices.long()
    outer_count, inner_count = pattern.grid
    if transpose:
        outer, inner, outer_count, inner_count = inner, outer, inner_count, outer_count
    groups = blocks(outer_count, members)
    beyond = groups * inner_count  # key of places that hold no block
    place = torch.arange(pattern.nnz, device=pattern.device)
    key = outer // members * inner_count + inner
    key = torch.where(place < pattern.row_offsets[-1], key, beyond)
    key, order = key.sort(stable=True)
    entry = torch.zeros_like(key)  # of the list, for each block
    entry[1:] = (key[1:] != key[:-1]).cumsum(0)
    length = min(pattern.nnz, beyond + 1)
    keys = torch.full((length,), beyond, device=pattern.device)
    keys[entry] = key
    slots = torch.full((length, members), -1, dtype=torch.int32, device=pattern.device)
    slots[entry, outer[order] % members] = order.int()
    ends = torch.arange(groups + 1, device=pattern.device) * inner_count
    starts = torch.searchsorted(keys, ends)
    return Lists(starts.int(), (keys % inner_count).int(), slots, members)
