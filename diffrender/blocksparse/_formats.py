"""Compressed rows, coordinates and block rows of torch and scipy, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffrender.blocksparse._structure import Index
from diffrender.errors import InputError

if TYPE_CHECKING:
    from diffrender.blocksparse.pattern import BlockPattern

__all__ = [
    "Entries",
    "bsr_entries",
    "coo_entries",
    "csr_entries",
    "device_of",
    "expand_rows",
    "gather_values",
    "whole",
]


@dataclass(frozen=True)
class Entries:
    """Stored entries of a matrix: int64 rows and columns, in no order that is promised."""

    shape: tuple[int, int]
    rows: Index
    columns: Index
    device: torch.device


def whole(index: Any) -> Index:
    """A 1-D integer index as int64 numpy."""
    array = index.detach().cpu().numpy() if isinstance(index, Tensor) else np.asarray(index)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"an index has shape {array.shape} and dtype {array.dtype}, expected a "
            f"row of whole numbers"
        )
    return array.astype(np.int64)


def device_of(matrix: Any) -> torch.device:
    """Where a matrix lives; scipy's are on the CPU."""
    return matrix.device if isinstance(matrix, Tensor) else torch.device("cpu")


def _shape(matrix: Any) -> tuple[int, int]:
    shape = tuple(int(size) for size in matrix.shape)
    if len(shape) != 2:
        raise InputError(f"matrix has shape {shape}, expected two dimensions")
    return shape


def _layout(matrix: Any) -> str:
    """ "csr", "coo" or "bsr"; raises InputError for anything else."""
    if isinstance(matrix, Tensor):
        known = {torch.sparse_csr: "csr", torch.sparse_coo: "coo", torch.sparse_bsr: "bsr"}
        name = known.get(matrix.layout, "")
    else:
        name = getattr(matrix, "format", "")
    if name not in ("csr", "coo", "bsr"):
        kind = matrix.layout if isinstance(matrix, Tensor) else type(matrix).__name__
        raise InputError(f"matrix is {kind}, expected a torch or scipy CSR, COO or BSR matrix")
    return name


def _expect(matrix: Any, layout: str) -> None:
    found = _layout(matrix)
    if found != layout:
        raise InputError(f"matrix is in {found} layout, expected {layout}; use from_{found}")


def expand_rows(name: str, ends: Index, columns: Index, grid: tuple[int, int]) -> Index:
    """Row of each entry of compressed rows, after checking them.

    Raises:
        InputError: the offsets do not ascend from 0 to the number of entries, or a row's columns
            are out of range, unsorted or repeated.
    """
    if len(ends) != grid[0] + 1 or ends[0] != 0 or ends[-1] != len(columns):
        raise InputError(
            f"{name} has {len(ends)} entries from {ends[:1]} to {ends[-1:]}, expected "
            f"{grid[0] + 1} from 0 to {len(columns)}"
        )
    counts = np.diff(ends)
    if (counts < 0).any():
        row = int(np.flatnonzero(counts < 0)[0])
        raise InputError(f"{name} falls after row {row}, expected ascending offsets")
    if len(columns) and not (0 <= columns.min() and columns.max() < grid[1]):
        raise InputError(
            f"column indices run from {columns.min()} to {columns.max()}, expected 0 to "
            f"{grid[1] - 1}"
        )
    rows = np.repeat(np.arange(grid[0]), counts)
    same_row = rows[1:] == rows[:-1]
    wrong = np.flatnonzero(same_row & (columns[1:] <= columns[:-1]))
    if len(wrong):
        raise InputError(
            f"row {rows[wrong[0]]} has column {columns[wrong[0] + 1]} after "
            f"{columns[wrong[0]]}, expected ascending columns without repeats; sort and sum "
            f"duplicates first"
        )
    return rows


def _compressed(matrix: Any) -> tuple[Index, Index]:
    if isinstance(matrix, Tensor):
        return whole(matrix.crow_indices()), whole(matrix.col_indices())
    return whole(matrix.indptr), whole(matrix.indices)


def csr_entries(matrix: Any) -> Entries:
    """Entries of a CSR matrix, checked."""
    _expect(matrix, "csr")
    shape = _shape(matrix)
    ends, columns = _compressed(matrix)
    rows = expand_rows("crow_indices", ends, columns, shape)
    return Entries(shape, rows, columns, device_of(matrix))


def coo_entries(matrix: Any) -> Entries:
    """Entries of a COO matrix, checked; repeats stay, their values add up."""
    _expect(matrix, "coo")
    shape = _shape(matrix)
    if isinstance(matrix, Tensor):
        if matrix.sparse_dim() != 2 or matrix.dense_dim() != 0:
            raise InputError(
                f"matrix is hybrid: {matrix.sparse_dim()} sparse and {matrix.dense_dim()} dense "
                "dimensions, expected 2 and 0; use matrix.to_dense().to_sparse()"
            )
        rows, columns = (whole(index) for index in matrix._indices())
    else:
        rows, columns = whole(matrix.row), whole(matrix.col)
    for name, index, size in (("row", rows, shape[0]), ("column", columns, shape[1])):
        if len(index) and not (0 <= index.min() and index.max() < size):
            raise InputError(
                f"{name} indices run from {index.min()} to {index.max()}, expected 0 to {size - 1}"
            )
    return Entries(shape, rows, columns, device_of(matrix))


def bsr_entries(matrix: Any) -> tuple[tuple[int, int], tuple[int, int], Index, Index]:
    """Shape, block size, and checked block rows and columns of a BSR matrix."""
    _expect(matrix, "bsr")
    shape = _shape(matrix)
    blocks = matrix.values() if isinstance(matrix, Tensor) else matrix.data
    if len(blocks.shape) != 3:
        raise InputError(f"BSR values have shape {tuple(blocks.shape)}, expected (nnz, b_m, b_k)")
    size = (int(blocks.shape[1]), int(blocks.shape[2]))
    if 0 in size or shape[0] % size[0] or shape[1] % size[1]:
        raise InputError(f"blocks of {size} do not divide the shape {shape}")
    ends, columns = _compressed(matrix)
    grid = (shape[0] // size[0], shape[1] // size[1])
    return shape, size, expand_rows("crow_indices", ends, columns, grid), columns


def gather_values(pattern: BlockPattern, matrix: Any) -> Tensor:
    """(nnz, b_m, b_k): the values of a sparse matrix at a pattern that holds all its entries."""
    layout = _layout(matrix)
    if _shape(matrix) != pattern.shape:
        raise InputError(f"matrix has shape {_shape(matrix)}, expected {pattern.shape}")
    if layout == "bsr":
        _, size, rows, columns = bsr_entries(matrix)
        stored = matrix.values() if isinstance(matrix, Tensor) else torch.from_numpy(matrix.data)
        places = (rows * size[0], columns * size[1], *np.indices(size).reshape(2, -1))
        rows = (places[0][:, None] + places[2]).ravel()
        columns = (places[1][:, None] + places[3]).ravel()
        stored = stored.reshape(-1)
    else:
        entries = csr_entries(matrix) if layout == "csr" else coo_entries(matrix)
        rows, columns = entries.rows, entries.columns
        if isinstance(matrix, Tensor):
            stored = matrix._values() if layout == "coo" else matrix.values()
        else:
            stored = torch.from_numpy(matrix.data)
    high, wide = pattern.block_size
    keys = (rows // high) * pattern.grid[1] + columns // wide
    own = whole(pattern.row_indices) * pattern.grid[1] + whole(pattern.column_indices)
    found = np.searchsorted(own, keys)
    lost = (found == len(own)) | (
        own[np.minimum(found, max(len(own) - 1, 0))] != keys if len(own) else True
    )
    if len(keys) and lost.any():
        first = int(np.flatnonzero(lost)[0])
        raise InputError(
            f"{int(lost.sum())} entries lie outside the pattern, the first at "
            f"({rows[first]}, {columns[first]}); build the pattern from this matrix"
        )
    places = (found * high + rows % high) * wide + columns % wide
    values = stored.new_zeros(pattern.nnz * high * wide)
    at = torch.from_numpy(places).to(stored.device)
    return values.index_add(0, at, stored).view(pattern.values_shape)
