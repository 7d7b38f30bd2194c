"""Sparse matrices of torch and scipy become patterns and values, and broken ones are refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from blocksparse_cases import make_case

from diffrender.blocksparse import BlockPattern
from diffrender.errors import InputError

CASE = make_case((4, 8), (3, 4), 0.4)
DENSE = CASE.pattern.to_dense(CASE.values)


@pytest.fixture(autouse=True)
def _sparse_csr_is_beta() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|BSR) tensor support", UserWarning)
        yield


def _matrices() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "torch csr": DENSE.to_sparse_csr(),
            "torch coo": DENSE.to_sparse_coo(),
            "torch bsr": DENSE.to_sparse_bsr((4, 8)),
            "scipy csr": scipy.sparse.csr_array(DENSE.numpy()),
            "scipy coo": scipy.sparse.coo_array(DENSE.numpy()),
            "scipy bsr": scipy.sparse.csr_array(DENSE.numpy()).tobsr((4, 8)),
        }


@pytest.mark.parametrize("name", list(_matrices()))
def test_every_format_gives_the_pattern_and_its_values(name: str) -> None:
    matrix = _matrices()[name]
    if name.endswith("bsr"):
        pattern = BlockPattern.from_bsr(matrix)
    elif name.endswith("csr"):
        pattern = BlockPattern.from_csr(matrix, (4, 8))
    else:
        pattern = BlockPattern.from_coo(matrix, (4, 8))
    assert torch.equal(pattern.mask(), CASE.pattern.mask())
    assert torch.equal(pattern.to_dense(pattern.to_values(matrix)), DENSE)


def test_repeated_coordinates_add_up() -> None:
    places = torch.tensor([[0, 0, 3], [1, 1, 2]])
    matrix = torch.sparse_coo_tensor(
        places, torch.tensor([1.0, 2.0, 4.0]), (4, 4), check_invariants=False
    )
    pattern = BlockPattern.from_coo(matrix)
    assert pattern.nnz == 2
    assert torch.equal(pattern.to_dense(pattern.to_values(matrix)), matrix.to_dense())


def test_entries_outside_a_pattern_are_counted() -> None:
    pattern = BlockPattern.from_mask(torch.tensor([[True, False], [False, False]]), 4)
    matrix = scipy.sparse.csr_array(np.eye(8))
    with pytest.raises(InputError, match=r"4 entries lie outside .* the first at \(4, 4\)"):
        pattern.to_values(matrix)
    with pytest.raises(InputError, match=r"matrix has shape \(8, 8\), expected \(4, 8\)"):
        BlockPattern.from_mask(torch.tensor([[True, False]]), 4).to_values(matrix)
    empty = BlockPattern.from_mask(torch.zeros(2, 2, dtype=torch.bool), 4)
    with pytest.raises(InputError, match="8 entries lie outside"):
        empty.to_values(matrix)
    assert empty.to_values(scipy.sparse.csr_array((8, 8))).shape == (0, 4, 4)


def test_another_layout_is_refused() -> None:
    with pytest.raises(InputError, match="expected csr; use from_coo"):
        BlockPattern.from_csr(DENSE.to_sparse_coo(), 4)
    with pytest.raises(InputError, match="expected a torch or scipy CSR"):
        BlockPattern.from_csr(DENSE, 4)
    with pytest.raises(InputError, match="expected sides out of"):
        BlockPattern.from_bsr(scipy.sparse.csr_array(np.eye(6)).tobsr((3, 3)))


def test_broken_indices_are_refused() -> None:
    matrix = scipy.sparse.csr_array(np.eye(4))
    matrix.indices[2] = 7
    with pytest.raises(InputError, match="column indices run from 0 to 7, expected 0 to 3"):
        BlockPattern.from_csr(matrix)
    matrix.indices[2] = 2
    matrix.indptr[1] = 3
    with pytest.raises(InputError, match="crow_indices falls after row 1"):
        BlockPattern.from_csr(matrix)
    broken = torch.sparse_coo_tensor(
        torch.tensor([[0, 9], [0, 1]]), torch.ones(2), (4, 4), check_invariants=False
    )
    with pytest.raises(InputError, match="row indices run from 0 to 9, expected 0 to 3"):
        BlockPattern.from_coo(broken)


def test_hybrid_coordinates_are_refused() -> None:
    flat = torch.ones(4, 4).to_sparse(1)
    with pytest.raises(InputError, match="1 sparse and 1 dense dimensions, expected 2 and 0"):
        BlockPattern.from_coo(flat)
