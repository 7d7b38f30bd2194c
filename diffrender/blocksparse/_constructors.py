"""The ways to make a `BlockPattern`, as its class methods: each checks what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from diffrender.blocksparse import _formats
from diffrender.blocksparse._structure import (
    LARGEST,
    Index,
    block_energy,
    block_positions,
    check_mask,
    check_sizes,
    draw_mask,
    largest,
    matrix_shape,
    pair,
    stored_blocks,
    structure_arrays,
)
from diffrender.errors import InputError

if TYPE_CHECKING:
    from diffrender.blocksparse.pattern import BlockPattern

__all__ = [
    "from_bsr",
    "from_coo",
    "from_csr",
    "from_dense",
    "from_element_mask",
    "from_mask",
    "from_offsets",
    "random",
]


def from_mask(
    cls: type[BlockPattern], mask: Tensor, block_size: int | tuple[int, int]
) -> BlockPattern:
    """Keep the blocks whose entry of a block mask is True.

    Args:
        mask: (m_B, k_B) bool, one entry a block.
        block_size: b, or (b_m, b_k).

    Raises:
        InputError: the mask is not a bool matrix, or the block size is not offered.
    """
    check_mask("mask", mask)
    rows, columns = pair(block_size)
    shape = (mask.shape[0] * rows, mask.shape[1] * columns)
    return _of_blocks(cls, shape, (rows, columns), *block_positions(mask), mask.device)


def from_element_mask(
    cls: type[BlockPattern], mask: Tensor, block_size: int | tuple[int, int]
) -> BlockPattern:
    """Keep the blocks with at least one True entry of an (m, k) element mask.

    Raises:
        InputError: the mask is not a bool matrix, or blocks do not divide it.
    """
    check_mask("mask", mask)
    size = pair(block_size)
    grid = check_sizes(matrix_shape(mask), size)
    blocks = mask.reshape(grid[0], size[0], grid[1], size[1])
    return from_mask(cls, blocks.any(3).any(1), size)


def random(
    cls: type[BlockPattern],
    shape: tuple[int, int],
    block_size: int | tuple[int, int],
    density: float,
    *,
    generator: torch.Generator,
) -> BlockPattern:
    """ceil(density × blocks) blocks drawn uniformly (the benchmarks' pattern).

    Args:
        shape: (m, k).
        block_size: b, or (b_m, b_k).
        density: in [0, 1].
        generator: on the CPU.

    Raises:
        InputError: the sizes do not fit, or the density is not in [0, 1].
    """
    size = pair(block_size)
    grid = check_sizes(pair(shape), size)
    mask = draw_mask(grid, stored_blocks(grid, density), generator)
    return from_mask(cls, mask, size)


def from_dense(
    cls: type[BlockPattern], weight: Tensor, block_size: int | tuple[int, int], density: float
) -> BlockPattern:
    """Keep the ceil(density × blocks) blocks of largest L2 norm of an (m, k) weight.

    Among equal norms the first blocks in row order are kept. Not differentiable.

    Raises:
        InputError: the sizes do not fit, or the weight is complex or bool or holds NaN.
    """
    size = pair(block_size)
    grid = check_sizes(matrix_shape(weight), size)
    if weight.is_complex() or weight.dtype == torch.bool:
        raise InputError(
            f"weight has dtype {weight.dtype}, expected real numbers; give its abs(), or a mask to "
            "from_element_mask"
        )
    energy = block_energy(weight.detach(), size)
    if bool(energy.isnan().any()):
        raise InputError("weight holds NaN; magnitude pruning needs finite weights")
    mask = largest(energy.flatten(), stored_blocks(grid, density)).view(grid)
    return from_mask(cls, mask, size)


def from_csr(
    cls: type[BlockPattern], matrix: Any, block_size: int | tuple[int, int] = 1
) -> BlockPattern:
    """Keep the blocks that hold a stored entry of a torch or scipy CSR matrix.

    Explicit zeros count as stored. `to_values` takes the same matrix for the values.

    Raises:
        InputError: another layout, or indices that are out of range, unsorted or repeated.
    """
    return _of_entries(cls, _formats.csr_entries(matrix), block_size)


def from_coo(
    cls: type[BlockPattern], matrix: Any, block_size: int | tuple[int, int] = 1
) -> BlockPattern:
    """Keep the blocks that hold a stored entry of a torch or scipy COO matrix.

    Raises:
        InputError: another layout, or indices that are out of range.
    """
    return _of_entries(cls, _formats.coo_entries(matrix), block_size)


def from_bsr(cls: type[BlockPattern], matrix: Any) -> BlockPattern:
    """The pattern of a torch or scipy BSR matrix, with its own block size.

    Raises:
        InputError: another layout, a block size that is not offered, or broken indices.
    """
    shape, size, rows, columns = _formats.bsr_entries(matrix)
    check_sizes(shape, size)
    return _of_blocks(cls, shape, size, rows, columns, _formats.device_of(matrix))


def from_offsets(
    cls: type[BlockPattern],
    shape: tuple[int, int],
    block_size: int | tuple[int, int],
    row_offsets: Tensor,  # (m_B + 1,)
    column_indices: Tensor,  # (nnz,)
) -> BlockPattern:
    """The pattern of compressed block rows, as a state dict keeps them.

    Raises:
        InputError: the offsets do not ascend from 0 to nnz, or a row's columns are out of
            range, unsorted or repeated.
    """
    size = pair(block_size)
    grid = check_sizes(pair(shape), size)
    ends, columns = _formats.whole(row_offsets), _formats.whole(column_indices)
    rows = _formats.expand_rows("row_offsets", ends, columns, grid)
    return _of_blocks(cls, pair(shape), size, rows, columns, row_offsets.device)


def _of_entries(
    cls: type[BlockPattern], entries: _formats.Entries, block_size: Any
) -> BlockPattern:
    size = pair(block_size)
    grid = check_sizes(entries.shape, size)
    keys = (entries.rows // size[0]) * grid[1] + entries.columns // size[1]
    rows, columns = np.divmod(np.unique(keys), grid[1])
    return _of_blocks(cls, entries.shape, size, rows, columns, entries.device)


def _of_blocks(
    cls: type[BlockPattern],
    shape: tuple[int, int],
    block_size: tuple[int, int],
    rows: Index,
    columns: Index,
    device: torch.device,
) -> BlockPattern:
    """From checked block rows and columns, sorted."""
    grid = check_sizes(shape, block_size)
    if len(columns) > LARGEST:
        raise InputError(f"the pattern has {len(columns)} blocks, expected up to {LARGEST}")
    arrays = structure_arrays(rows, columns, grid)
    with torch.inference_mode(False):  # patterns are kept, and may meet autograd later
        tensors = [torch.from_numpy(array).to(device) for array in arrays]
    return cls(shape, block_size, *tensors)
