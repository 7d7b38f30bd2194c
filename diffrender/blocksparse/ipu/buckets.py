"""What lies in a bucket: values, and lists of 16-bit words that say where they belong.

    sub-group of a cell   id = cell + 1, words to the next sub-group, blocks, rows, zeros up to
                          the header's length (fields that the device's workers would read)
    then for each row     block row within the cell, blocks, and their block columns in the cell
    end                   0

Both have a fixed length, whatever the mask. Source: popsparse.md, section 1.5.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffrender.blocksparse.ipu.dynamic_costs import header_words
from diffrender.blocksparse.ipu.dynamic_planner import DynamicPlan
from diffrender.blocksparse.ipu.encoding import Encoding

__all__ = ["SubGroup", "read_lists", "write_bucket"]


@dataclass(frozen=True, eq=False)
class SubGroup:
    """The blocks of one cell in a bucket.

    Attributes:
        cell: its number, x × q_k + y.
        entries: rows that the lists name; a row that was split may be named twice.
        rows, columns: (E,) block row and block column of each block within the cell.
        first: where its values begin.
    """

    cell: int
    entries: int
    rows: np.ndarray
    columns: np.ndarray
    first: int


def write_bucket(
    encoding: Encoding,
    bucket: int,
    columns: np.ndarray,  # (nnz,) block columns in the encoding's order
    values: Tensor,  # (nnz, b, b) in the encoding's order
) -> tuple[Tensor, Tensor]:
    """(capacity_blocks, b, b) values and (capacity_words,) int16 lists of one bucket."""
    plan = encoding.plan
    words = np.zeros(plan.capacity_words, dtype=np.uint16)
    stored = values.new_zeros(plan.capacity_blocks, plan.side, plan.side)
    runs = encoding.buckets[bucket]
    at = filled = 0
    for cell in dict.fromkeys(run.cell for run in runs):
        x, y = divmod(cell, plan.grid[1])
        top, left = plan.rows_of(x)[0], plan.columns_of(y)[0]
        mine = [run for run in runs if run.cell == cell]
        head, at = at, at + header_words(plan.machine, plan.side)
        for run in mine:
            words[at], words[at + 1] = run.row - top, run.blocks
            words[at + 2 : at + 2 + run.blocks] = columns[run.start : run.stop] - left
            stored[filled : filled + run.blocks] = values[run.start : run.stop]
            at, filled = at + 2 + run.blocks, filled + run.blocks
        words[head : head + 4] = (cell + 1, at - head, sum(r.blocks for r in mine), len(mine))
    return stored, torch.from_numpy(words.view(np.int16))


def read_lists(plan: DynamicPlan, lists: Tensor) -> Iterator[SubGroup]:  # (capacity_words,) int16
    """The sub-groups of a bucket, in its order."""
    words = lists.numpy().view(np.uint16).astype(np.int64)
    at = filled = 0
    while words[at]:
        cell, length, blocks, rows = words[at : at + 4].tolist()
        place = at + header_words(plan.machine, plan.side)
        row_of, column_of = [], []
        for _ in range(rows):
            count = int(words[place + 1])
            row_of.append(np.full(count, words[place]))
            column_of.append(words[place + 2 : place + 2 + count])
            place += 2 + count
        yield SubGroup(cell - 1, rows, np.concatenate(row_of), np.concatenate(column_of), filled)
        at, filled = at + length, filled + blocks
