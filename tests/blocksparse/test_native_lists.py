"""Lists of a pattern by the C++ kernels against their numpy twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.blocksparse import BlockPattern, DynamicPattern, native_lists
from diffrender.blocksparse import _structure as structure
from diffrender.native import reason_missing

pytestmark = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)


def _mask(rows: int, columns: int, density: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, columns)) < density


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 150),
    st.integers(1, 90),
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    st.integers(0, 1000),
)
def test_positions_are_those_of_the_true_entries(
    rows: int, columns: int, density: float, seed: int
) -> None:
    mask = _mask(rows, columns, density, seed)
    found_rows, found_columns = native_lists.positions(mask)
    wanted_rows, wanted_columns = np.nonzero(mask)
    assert found_rows.dtype == found_columns.dtype == np.int32
    np.testing.assert_array_equal(found_rows, wanted_rows)
    np.testing.assert_array_equal(found_columns, wanted_columns)


def test_positions_of_a_mask_whose_bytes_are_not_all_one() -> None:
    mask = torch.tensor([[0, 2, 255], [7, 0, 0]], dtype=torch.uint8).view(torch.bool)
    found = native_lists.positions(mask.numpy())
    np.testing.assert_array_equal(found[0], [0, 0, 1])
    np.testing.assert_array_equal(found[1], [1, 2, 0])


@pytest.mark.parametrize("density", [0.0, 0.05, 0.6, 1.0])
def test_sorting_by_column_is_stable_and_equals_the_twin(density: float) -> None:
    rows, columns = (a.astype(np.int32) for a in np.nonzero(_mask(70, 33, density, 5)))
    found = native_lists.sorted_by_column(rows, columns, 33)
    for ours, twin in zip(found, structure._sorted_by_column(rows, columns, 33), strict=True):
        np.testing.assert_array_equal(ours, twin)
    order = found[2]
    np.testing.assert_array_equal(columns[order], np.sort(columns))


@pytest.mark.parametrize(("before", "now"), [(0.3, 0.3), (0.0, 0.4), (0.4, 0.0), (1.0, 0.1)])
def test_moves_say_where_each_block_was(before: float, now: float) -> None:
    def lists(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ends = np.concatenate([[0], np.cumsum(mask.sum(1))]).astype(np.int32)
        return ends, np.nonzero(mask)[1].astype(np.int32)

    old_mask, new_mask = _mask(130, 40, before, 1), _mask(130, 40, now, 2)
    old, new = lists(old_mask), lists(new_mask)
    found = native_lists.moves(old, new, 40)
    np.testing.assert_array_equal(found, structure._moves(old, new, 40))
    numbered = np.full(old_mask.shape, -1)
    numbered[old_mask] = np.arange(old_mask.sum())
    np.testing.assert_array_equal(found, numbered[new_mask])


@pytest.mark.parametrize("block", [1, 4])
def test_patterns_are_the_same_without_the_kernels(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = [torch.from_numpy(_mask(64, 48, 0.3, seed)) for seed in (1, 2)]
    shape, size = (64 * block, 48 * block), (block, block)

    def everything() -> list[torch.Tensor]:
        changing = DynamicPattern.for_density(shape, size, 0.5)
        found = [changing.update(mask) for mask in masks]
        found += [t.clone() for t in changing.current.index_tensors]
        return found + list(BlockPattern.from_mask(masks[0], size).index_tensors)

    with_kernels = everything()
    monkeypatch.setattr(native_lists, "available", lambda: False)
    for ours, twin in zip(with_kernels, everything(), strict=True):
        assert torch.equal(ours, twin)
