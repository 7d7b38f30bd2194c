"""Which blocks of a weight are kept: one frozen record, with its transpose beside it."""

from __future__ import annotations

import dataclasses
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffrender.blocksparse import _constructors, _formats
from diffrender.blocksparse._structure import check_sizes
from diffrender.errors import InputError, check_shape

__all__ = ["BlockPattern"]

INDEX_FIELDS = (
    "row_offsets",
    "column_indices",
    "row_indices",
    "column_offsets",
    "transpose_row_indices",
    "transpose_order",
)
# By the address of their row offsets: how an operator finds the pattern of the tensors it gets.
known_patterns: weakref.WeakValueDictionary[int, BlockPattern] = weakref.WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class BlockPattern:
    """The stored blocks of an (m, k) weight: compressed rows, and the same blocks by column.

    Values are kept apart, as (nnz, b_m, b_k) in row order, row-major within a block. The index
    tensors are never changed after construction: plans are remembered for each pattern object.
    Use the constructors (`random`, `from_mask`, `from_dense`, `from_csr`, ...), which check what
    they are given; the bare record checks shapes and dtypes alone.

    Attributes:
        shape: (m, k), output and input features.
        block_size: (b_m, b_k), each of 1, 4, 8, 16, 32, 64, dividing m and k.
        row_offsets: (m_B + 1,) int32; blocks of block row i are row_offsets[i] to
            row_offsets[i + 1].
        column_indices: (nnz,) int32 block columns, ascending within a row.
        row_indices: (nnz,) int32 block row of each block.
        column_offsets: (k_B + 1,) int32, the same blocks listed column by column.
        transpose_row_indices: (nnz,) int32 block rows in column order, ascending in a column.
        transpose_order: (nnz,) int32, place in row order of the e-th block in column order.
        remembered: plans and moved copies, by whoever made them.

    Source: compressed block rows as in PopSparse, arXiv 2303.16999.
    """

    shape: tuple[int, int]
    block_size: tuple[int, int]
    row_offsets: Tensor  # (m_B + 1,)
    column_indices: Tensor  # (nnz,)
    row_indices: Tensor  # (nnz,)
    column_offsets: Tensor  # (k_B + 1,)
    transpose_row_indices: Tensor  # (nnz,)
    transpose_order: Tensor  # (nnz,)
    remembered: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        block_rows, block_columns = check_sizes(self.shape, self.block_size)
        check_shape("BlockPattern.row_offsets", self.row_offsets, block_rows + 1)
        check_shape("BlockPattern.column_offsets", self.column_offsets, block_columns + 1)
        for name in INDEX_FIELDS:
            index = getattr(self, name)
            if name not in ("row_offsets", "column_offsets"):
                check_shape(f"BlockPattern.{name}", index, self.column_indices.shape[0])
            if index.dtype != torch.int32 or not index.is_contiguous():
                raise InputError(
                    f"BlockPattern.{name} has dtype {index.dtype}, expected contiguous torch.int32"
                )
            if index.device != self.row_offsets.device:
                raise InputError(
                    f"BlockPattern.{name} is on {index.device}, expected "
                    f"{self.row_offsets.device} like row_offsets; move patterns with to()"
                )
        if type(self.row_offsets) is Tensor and not torch.compiler.is_compiling():
            known_patterns[self.row_offsets.data_ptr()] = self

    def __repr__(self) -> str:
        return (
            f"BlockPattern(shape={self.shape}, block_size={self.block_size}, nnz={self.nnz}, "
            f"density={self.density:.4g}, device={str(self.device)!r})"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> BlockPattern:
        return self  # nothing in it ever changes

    def __getstate__(self) -> dict[str, Any]:
        self.refuse_stale()
        return {**self.__dict__, "remembered": {}}

    @property
    def grid(self) -> tuple[int, int]:
        """(m_B, k_B), block rows and block columns."""
        return self.shape[0] // self.block_size[0], self.shape[1] // self.block_size[1]

    @property
    def nnz(self) -> int:
        """Stored blocks."""
        return self.column_indices.shape[0]

    @property
    def density(self) -> float:
        """Stored blocks over all blocks."""
        return self.nnz / (self.grid[0] * self.grid[1])

    @property
    def device(self) -> torch.device:
        """Where the index tensors are."""
        return self.row_offsets.device

    @property
    def values_shape(self) -> tuple[int, int, int]:
        """(nnz, b_m, b_k)."""
        return (self.nnz, *self.block_size)

    @property
    def current(self) -> BlockPattern:
        """Itself: what DynamicPattern answers with its present mask."""
        return self

    @property
    def index_tensors(self) -> tuple[Tensor, ...]:
        """The six index tensors, in the order of the attributes."""
        return tuple(getattr(self, name) for name in INDEX_FIELDS)

    def retire(self) -> None:
        """Note that a DynamicPattern is about to overwrite these index tensors."""
        self.remembered["stale"] = True
        turned = self.remembered.get("transposed")
        if turned is not None:
            turned.remembered["stale"] = True

    @property
    def is_stale(self) -> bool:
        """Whether a DynamicPattern has overwritten these index tensors since."""
        return "stale" in self.remembered

    def refuse_stale(self) -> None:
        """Raise InputError where the index tensors are no longer those of this pattern's mask."""
        if self.is_stale:
            raise InputError(
                "the pattern is of a mask that its DynamicPattern has changed since; take "
                "`current` anew, or keep `current.mask()` to come back to a mask"
            )

    from_mask = classmethod(_constructors.from_mask)
    from_element_mask = classmethod(_constructors.from_element_mask)
    random = classmethod(_constructors.random)
    from_dense = classmethod(_constructors.from_dense)
    from_csr = classmethod(_constructors.from_csr)
    from_coo = classmethod(_constructors.from_coo)
    from_bsr = classmethod(_constructors.from_bsr)
    from_offsets = classmethod(_constructors.from_offsets)

    def to(self, device: torch.device | str) -> BlockPattern:
        """The pattern on another device; the copy is remembered, so plans are too."""
        wanted = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
        if wanted == self.device:
            return self
        self.refuse_stale()
        if ("to", wanted) not in self.remembered:
            with torch.inference_mode(False):
                moved = {name: getattr(self, name).to(wanted) for name in INDEX_FIELDS}
            self.remembered["to", wanted] = dataclasses.replace(self, **moved)
        return self.remembered["to", wanted]

    def transposed(self) -> BlockPattern:
        """The pattern of W^T, (k, m), from the same lists; remembered. Its own is this one again.

        Values follow by `values[pattern.transpose_order].mT`.
        """
        self.refuse_stale()
        first = self.remembered.get("transposed_of")
        origin = None if first is None else first()
        if origin is not None:
            return origin
        if "transposed" not in self.remembered:
            rows = self.transpose_row_indices
            with torch.inference_mode(False):
                columns = torch.empty_like(self.row_indices)
                columns[self.transpose_order.long()] = torch.arange(
                    self.nnz, dtype=torch.int32, device=self.device
                )
                owners = self.column_indices[self.transpose_order.long()]
            turned = BlockPattern(
                (self.shape[1], self.shape[0]),
                (self.block_size[1], self.block_size[0]),
                self.column_offsets,
                rows,
                owners,
                self.row_offsets,
                self.column_indices,
                columns,
            )
            turned.remembered["transposed_of"] = weakref.ref(self)  # no cycle: plans are large
            self.remembered["transposed"] = turned
        return self.remembered["transposed"]

    def mask(self) -> Tensor:
        """(m_B, k_B) bool, True where a block is stored.

        Raises:
            InputError: its DynamicPattern has taken another mask since.
        """
        self.refuse_stale()
        mask = torch.zeros(self.grid, dtype=torch.bool, device=self.device)
        mask[self.row_indices.long(), self.column_indices.long()] = True
        return mask

    def to_dense(self, values: Tensor) -> Tensor:  # (nnz, b_m, b_k)
        """The (m, k) weight with these values in its blocks; the oracle of every product.

        Differentiable in `values`.

        Raises:
            InputError: values are not (nnz, b_m, b_k), or the pattern is of an old mask.
        """
        self.refuse_stale()
        check_shape("values", values, *self.values_shape)
        (block_rows, block_columns), (rows, columns) = self.grid, self.block_size
        dense = values.new_zeros(block_rows * block_columns, rows, columns)
        places = self.row_indices.long() * block_columns + self.column_indices
        dense = dense.index_copy_(0, places, values)
        return (
            dense.view(block_rows, block_columns, rows, columns).transpose(1, 2).reshape(self.shape)
        )

    def to_values(self, matrix: Any) -> Tensor:  # (m, k)
        """The values of a weight at this pattern, (nnz, b_m, b_k); the rest is left out.

        Args:
            matrix: a dense (m, k) tensor (differentiable), or a torch or scipy CSR, COO or BSR
                matrix, which must have every entry inside the pattern.

        Raises:
            InputError: the shape differs, a sparse matrix has an entry outside the pattern, or the
                pattern is of an old mask.
        """
        self.refuse_stale()
        if not isinstance(matrix, Tensor) or matrix.layout != torch.strided:
            return _formats.gather_values(self, matrix)
        check_shape("matrix", matrix, *self.shape)
        (block_rows, block_columns), (rows, columns) = self.grid, self.block_size
        blocks = matrix.reshape(block_rows, rows, block_columns, columns).transpose(1, 2)
        return blocks[self.row_indices.long(), self.column_indices.long()].contiguous()
