"""A pattern's lists out of a mask by the C++ kernels; the numpy twins are in `_structure`."""

from __future__ import annotations

import numpy as np

from diffrender.blocksparse._native_kernels import check_status, kernel
from diffrender.native import kernel_threads, reason_missing, share_team

__all__ = ["available", "moves", "positions", "sorted_by_column"]

Index = np.ndarray


def available() -> bool:
    """Whether the kernels are built and loaded."""
    if reason_missing() is not None:
        return False
    share_team()
    return True


def positions(mask: np.ndarray) -> tuple[Index, Index]:  # (m_B, k_B) bool
    """Rows and columns of the True entries, row by row, int32; fewer than 2^31 of them."""
    mask = np.ascontiguousarray(mask)
    (rows, columns), threads = mask.shape, kernel_threads()
    ends = np.empty(rows + 1, dtype=np.int32)
    check_status(
        kernel("count", "piiip")(mask.ctypes.data, rows, columns, threads, ends.ctypes.data)
    )
    found = np.empty((2, int(ends[-1])), dtype=np.int32)
    check_status(
        kernel("positions", "piiippp")(
            mask.ctypes.data,
            rows,
            columns,
            threads,
            ends.ctypes.data,
            found[0].ctypes.data,
            found[1].ctypes.data,
        )
    )
    return found[0], found[1]


def sorted_by_column(rows: Index, columns: Index, count: int) -> tuple[Index, Index, Index]:
    """Where each column begins (count + 1), its blocks' rows, and their places in row order."""
    rows, columns = (np.ascontiguousarray(a, dtype=np.int32) for a in (rows, columns))
    ends = np.empty(count + 1, dtype=np.int32)
    order, sorted_rows = np.empty_like(columns), np.empty_like(columns)
    pointers = (a.ctypes.data for a in (ends, order, sorted_rows))
    check_status(
        kernel("sort", "ppiippp")(
            rows.ctypes.data, columns.ctypes.data, len(columns), count, *pointers
        )
    )
    return ends, sorted_rows, order


def moves(
    old: tuple[Index, Index],  # (m_B + 1,), (nnz,)
    new: tuple[Index, Index],
    columns: int,
) -> Index:
    """(nnz,) int64: the place of each new block among the old ones, -1 where there was none.

    Args: offsets of the block rows and block columns of either mask, int32.
    """
    found = np.empty(len(new[1]), dtype=np.int64)
    lists: list[Index] = [np.ascontiguousarray(a, dtype=np.int32) for a in (*old, *new)]
    pointers = [a.ctypes.data for a in [*lists, found]]
    rows = len(lists[0]) - 1
    check_status(kernel("moves", "iiippppp")(rows, columns, kernel_threads(), *pointers))
    return found
