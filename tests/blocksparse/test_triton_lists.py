"""The lists that GPU programs walk along, against loops over the mask. No Triton is needed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.blocksparse import BlockPattern, DynamicPattern, triton_lists
from diffrender.blocksparse.triton_lists import block_lists, count_members


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    members=st.sampled_from([1, 2, 4, 8]),
    transpose=st.booleans(),
)
def test_lists_name_every_block_once(
    seed: int, grid: tuple[int, int], density: float, members: int, transpose: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (4 * grid[0], 4 * grid[1])
    pattern = BlockPattern.random(shape, 4, density, generator=generator)
    lists = triton_lists._lists(pattern, transpose, members)
    mask = pattern.mask().T if transpose else pattern.mask()
    assert lists.groups == -(-len(mask) // members)
    seen = 0
    for group in range(lists.groups):
        begin, end = lists.starts[group : group + 2].tolist()
        rows = mask[group * members : (group + 1) * members]
        assert lists.inner[begin:end].tolist() == rows.any(0).nonzero()[:, 0].tolist()
        for entry in range(begin, end):
            for member in range(len(rows)):
                slot = entry
                if lists.slots is not None:
                    slot = int(lists.slots.view(-1, members)[entry, member])
                outer, inner = group * members + member, int(lists.inner[entry])
                if not mask[outer, inner]:
                    assert slot == -1
                    continue
                place = (inner, outer) if transpose else (outer, inner)
                assert int(pattern.row_indices[slot]) == place[0]
                assert int(pattern.column_indices[slot]) == place[1]
                seen += 1
    assert seen == pattern.nnz


def test_lists_are_remembered() -> None:
    pattern = BlockPattern.from_mask(torch.ones(4, 4, dtype=torch.bool), 4)
    assert block_lists(pattern, False, 4) is block_lists(pattern, False, 4)
    assert block_lists(pattern, False, 4) is not block_lists(pattern, True, 4)


@pytest.mark.parametrize(
    ("side", "density", "itemsize", "expected"),
    [
        (4, 1 / 16, 2, 4),  # tensor cores multiply 16 rows at once
        (16, 1 / 16, 2, 1),  # rows share too few columns for a taller tile
        (32, 1 / 2, 2, 4),  # ... and here most of them
        (64, 1 / 2, 2, 1),
        (1, 1 / 16, 2, 1),  # the table would be larger than the values
    ],
)
def test_members(side: int, density: float, itemsize: int, expected: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pattern = BlockPattern.random((1024, 1024), side, density, generator=generator)
    assert count_members(pattern, False, itemsize) == expected
    assert count_members(pattern, True, itemsize) == expected


def test_every_mask_of_a_dynamic_pattern_gets_the_same_members() -> None:
    pattern = DynamicPattern.for_density((256, 256), (8, 8), 0.5)
    generator = torch.Generator().manual_seed(0)
    found = set()
    for density in (0.01, 0.1, 0.5):
        pattern.update(BlockPattern.random((256, 256), 8, density, generator=generator))
        found.add(count_members(pattern.current, False, 2))
    assert found == {16}
    sparse = BlockPattern.random((256, 256), 8, 0.01, generator=generator)
    assert count_members(sparse, False, 2) < 16


def test_the_table_is_no_larger_than_the_values() -> None:
    generator = torch.Generator().manual_seed(0)
    for side in (1, 4, 8, 16, 32):
        for density in (1 / 64, 1 / 8, 1 / 2, 1):
            for itemsize in (2, 4, 8):
                pattern = BlockPattern.random((256, 256), side, density, generator=generator)
                slots = block_lists(pattern, False, itemsize).slots
                if slots is not None:
                    assert slots.numel() * 4 <= pattern.nnz * side * side * itemsize
