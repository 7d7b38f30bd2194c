"""Patterns: what their index tensors say, how they are built, what is refused."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from blocksparse_cases import SIDES, Case, cases, make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.blocksparse import BlockPattern
from diffrender.errors import InputError

MASK = torch.tensor([[True, False, True], [False, False, False], [True, True, False]])


def test_convention_blocks_are_listed_row_by_row_and_column_by_column() -> None:
    pattern = BlockPattern.from_mask(MASK, (4, 8))
    assert pattern.shape == (12, 24) and pattern.block_size == (4, 8) and pattern.nnz == 4
    assert pattern.row_offsets.tolist() == [0, 2, 2, 4]
    assert pattern.column_indices.tolist() == [0, 2, 0, 1]
    assert pattern.row_indices.tolist() == [0, 0, 2, 2]
    # Column 0 holds the blocks of rows 0 and 2, which are first and third in row order.
    assert pattern.column_offsets.tolist() == [0, 2, 3, 4]
    assert pattern.transpose_row_indices.tolist() == [0, 2, 2, 0]
    assert pattern.transpose_order.tolist() == [0, 2, 3, 1]
    assert pattern.density == pytest.approx(4 / 9)


def test_convention_values_are_row_major_in_a_block() -> None:
    pattern = BlockPattern.from_mask(torch.tensor([[False, True]]), (4, 8))
    values = torch.arange(32.0).view(1, 4, 8)
    dense = pattern.to_dense(values)
    assert torch.equal(dense[:, 8:], values[0])
    assert torch.equal(dense[:, :8], torch.zeros(4, 8))


@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_dense_and_back(case: Case) -> None:
    pattern, values = case.pattern, case.values
    dense = pattern.to_dense(values)
    assert torch.equal(pattern.to_values(dense), values)
    mask = pattern.mask()
    assert int(mask.sum()) == pattern.nnz
    elements = mask.repeat_interleave(pattern.block_size[0], 0)
    elements = elements.repeat_interleave(pattern.block_size[1], 1)
    assert torch.equal(dense, torch.where(elements, dense, 0.0))
    again = BlockPattern.from_element_mask(elements, pattern.block_size)
    assert torch.equal(again.mask(), mask)


@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_the_transpose_is_the_pattern_of_the_transposed_mask(case: Case) -> None:
    pattern = case.pattern
    flipped = pattern.transposed()
    fresh = BlockPattern.from_mask(pattern.mask().T, pattern.block_size[::-1])
    for mine, theirs in zip(flipped.index_tensors, fresh.index_tensors, strict=True):
        assert torch.equal(mine, theirs)
    values = case.values[pattern.transpose_order.long()].mT
    assert torch.equal(flipped.to_dense(values), pattern.to_dense(case.values).T)
    assert flipped is pattern.transposed()


@pytest.mark.parametrize("density", [0.0, 0.01, 0.3, 0.5, 0.51, 0.99, 1.0])
def test_random_patterns_have_exactly_the_density_asked_for(density: float) -> None:
    generator = torch.Generator().manual_seed(3)
    pattern = BlockPattern.random((40, 80), 4, density, generator=generator)
    expected = {0.0: 0, 0.01: 2, 0.3: 60, 0.5: 100, 0.51: 102, 0.99: 198, 1.0: 200}
    assert pattern.nnz == expected[density]


def test_random_patterns_are_uniform_and_come_from_the_generator() -> None:
    generator = torch.Generator().manual_seed(5)
    drawn = [BlockPattern.random((8, 8), 1, 0.25, generator=generator) for _ in range(400)]
    counts = torch.stack([pattern.mask() for pattern in drawn]).float().mean(0)
    # Each of 64 places: binomial(400, 1/4) / 400 has a standard deviation of 0.022.
    assert float((counts - 0.25).abs().max()) < 0.09
    generator.manual_seed(5)
    again = BlockPattern.random((8, 8), 1, 0.25, generator=generator)
    assert torch.equal(again.mask(), drawn[0].mask())


def test_from_dense_keeps_the_blocks_of_largest_norm() -> None:
    weight = torch.zeros(8, 8)
    weight[:4, 4:] = 2.0  # norm 8
    weight[4:, :4] = torch.eye(4) * 10  # norm 20
    weight[4:, 4:] = 1.0  # norm 4
    pattern = BlockPattern.from_dense(weight, 4, 0.5)
    assert pattern.mask().tolist() == [[False, True], [True, False]]
    # Among equals the first ones in row order.
    assert BlockPattern.from_dense(torch.ones(2, 3), 1, 0.5).mask().flatten().tolist() == (
        [True] * 3 + [False] * 3
    )
    with pytest.raises(InputError, match="weight holds NaN"):
        BlockPattern.from_dense(weight / 0 * 0, 4, 0.5)


@given(
    side=st.sampled_from(SIDES),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_offsets_bring_the_pattern_back(side: int, rows: int, columns: int, seed: int) -> None:
    pattern = make_case((side, 4), (rows, columns), 0.5, seed=seed).pattern
    again = BlockPattern.from_offsets(
        pattern.shape, pattern.block_size, pattern.row_offsets, pattern.column_indices
    )
    for mine, theirs in zip(again.index_tensors, pattern.index_tensors, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("offsets", "columns", "message"),
    [
        ([0, 1], [0], "expected 3 from 0 to 1"),
        ([0, 2, 1], [0], "row_offsets falls after row 1"),
        ([1, 1, 1], [0], "expected 3 from 0 to 1"),
        ([0, 1, 2], [0, 2], "column indices run from 0 to 2, expected 0 to 1"),
        ([0, 1, 2], [-1, 0], "column indices run from -1"),
        ([0, 2, 2], [1, 0], "row 0 has column 0 after 1"),
        ([0, 2, 2], [1, 1], "ascending columns without repeats"),
        ([0.0, 1.0, 1.0], [0], "row of whole numbers"),
    ],
)
def test_broken_offsets_are_refused(offsets: list[float], columns: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BlockPattern.from_offsets((8, 8), 4, torch.tensor(offsets), torch.tensor(columns))


@pytest.mark.parametrize(
    ("shape", "block_size", "message"),
    [
        ((8, 8), 3, "expected sides out of 1, 4, 8, 16, 32, 64"),
        ((8, 10), 4, r"pad to \(8, 12\)"),
        ((0, 8), 4, r"expected at least \(1, 1\)"),
        ((8.0, 8), 4, "two whole numbers"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shape: tuple, block_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BlockPattern.random(shape, block_size, 0.5, generator=torch.Generator())


def test_broken_masks_and_densities_are_refused() -> None:
    with pytest.raises(InputError, match="write mask != 0"):
        BlockPattern.from_mask(MASK.float(), 4)
    with pytest.raises(InputError, match=r"mask has shape \(9,\)"):
        BlockPattern.from_mask(MASK.flatten(), 4)
    with pytest.raises(InputError, match=r"density is 1.5, expected a number in \[0, 1\]"):
        BlockPattern.random((8, 8), 4, 1.5, generator=torch.Generator())
    pattern = BlockPattern.from_mask(MASK, 4)
    with pytest.raises(InputError, match="expected contiguous torch.int32"):
        dataclasses.replace(pattern, row_offsets=pattern.row_offsets.long())
    with pytest.raises(InputError, match="row_indices has shape"):
        dataclasses.replace(pattern, row_indices=pattern.row_indices[:2])
    with pytest.raises(InputError, match="values has shape"):
        pattern.to_dense(torch.zeros(3, 4, 4))


def test_patterns_are_their_own_copies_and_forget_plans_when_pickled() -> None:
    pattern = BlockPattern.from_mask(MASK, 4)
    assert copy.deepcopy(pattern) is pattern
    assert pattern.to("cpu") is pattern
    pattern.transposed()
    loaded = pickle.loads(pickle.dumps(pattern))
    assert torch.equal(loaded.mask(), MASK) and loaded.remembered == {}


def test_index_memory_is_what_the_lists_need() -> None:
    pattern = make_case((1, 1), (64, 64), 0.25).pattern
    held = sum(index.untyped_storage().nbytes() for index in pattern.index_tensors)
    assert held == 4 * (2 * 65 + 4 * pattern.nnz)


@pytest.mark.parametrize("block", [1, 4])
def test_the_smallest_whole_number_counts_as_large(block: int) -> None:
    weight = torch.ones(8, 8, dtype=torch.int8)
    weight[-1, -1] = -128
    kept = BlockPattern.from_dense(weight, block, (block / 8) ** 2).mask()
    assert kept.nonzero().tolist() == [[8 // block - 1] * 2]
    for wrong in (weight > 1, weight * 1j):
        with pytest.raises(InputError, match="expected real numbers; give its abs"):
            BlockPattern.from_dense(wrong, block, 0.5)
