"""Dynamic plans and the dealing of masks into buckets: every block once, nothing too full."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.blocksparse import BlockPattern, DynamicPattern
from diffrender.blocksparse.ipu import (
    DoesNotFitError,
    DynamicPlan,
    Encoding,
    IpuMachine,
    SimulationSettings,
    encode,
    plan_dynamic,
)
from diffrender.blocksparse.ipu.buckets import read_lists, write_bucket
from diffrender.blocksparse.ipu.dynamic_costs import header_words
from diffrender.errors import InputError

TILES = IpuMachine("test", tiles=24)


def hand_plan(
    grid: tuple[int, int, int], capacity: int, *, blocks: int = 64, words: int = 4000
) -> DynamicPlan:
    """A plan for 32 × 32 blocks of side 4 with a grid and a capacity of our choice."""
    plan = plan_dynamic((128, 128), 4, blocks, 8 * grid[2], TILES)
    return dataclasses.replace(
        plan,
        grid=grid,
        blocks=(-(-32 // grid[0]), -(-32 // grid[1])),
        width=8,
        capacity_blocks=capacity,
        capacity_words=words,
    )


def pattern_of(*places: tuple[slice, slice]) -> BlockPattern:
    mask = torch.zeros(32, 32, dtype=torch.bool)
    for rows, columns in places:
        mask[rows, columns] = True
    return BlockPattern.from_mask(mask, 4)


def check(encoding: Encoding, pattern: BlockPattern) -> None:
    """Every block lies in one bucket, in its own row's run and cell, and no bucket is too full."""
    plan = encoding.plan
    rows, columns = pattern.row_indices.numpy(), pattern.column_indices.numpy()
    seen = []
    for runs in encoding.buckets:
        assert sum(run.blocks for run in runs) <= plan.capacity_blocks
        words = len({run.cell for run in runs}) * header_words(plan.machine, plan.side)
        words += sum(2 + run.blocks for run in runs)
        assert words <= plan.capacity_words - 1
        for run in runs:
            mine = encoding.order[run.start : run.stop]
            x, y = divmod(run.cell, plan.grid[1])
            assert (rows[mine] == run.row).all()
            assert (rows[mine] // plan.blocks[0] == x).all()
            assert (columns[mine] // plan.blocks[1] == y).all()
            seen += mine.tolist()
    assert sorted(seen) == list(range(pattern.nnz))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    density=st.floats(0.0, 0.6),
    skew=st.integers(1, 32),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)),
    spare=st.floats(1.0, 2.0),
    tight=st.booleans(),
)
def test_every_block_is_in_one_bucket_or_the_mask_is_refused(
    seed: int,
    density: float,
    skew: int,
    grid: tuple[int, int, int],
    spare: float,
    tight: bool,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(32, 32, generator=generator) < density
    mask[skew:] = False
    pattern = BlockPattern.from_mask(mask, 4)
    capacity = math.ceil(spare * max(pattern.nnz, 1) / math.prod(grid))
    words = 5 * capacity + 30 if tight else 4000
    plan = hand_plan(grid, capacity, blocks=1024, words=words)
    try:
        encoding = encode(plan, pattern)
    except DoesNotFitError:
        assert tight, "blocks alone always find room: the capacities add up to enough"
        return
    check(encoding, pattern)
    again = encode(plan, pattern)
    assert again.buckets == encoding.buckets


def test_blocks_that_stay_at_home_need_no_propagation() -> None:
    generator = torch.Generator().manual_seed(0)
    pattern = BlockPattern.random((1024, 1024), 4, 1 / 8, generator=generator)
    plan = plan_dynamic((1024, 1024), 4, pattern.nnz, 64)
    encoding = encode(plan, pattern)
    check(encoding, pattern)
    assert (encoding.ends == (0, 0, 0)) == (encoding.spilled[1:] == (0, 0))
    even = hand_plan((4, 4, 1), 64, blocks=1024)
    all_of_it = encode(even, pattern_of((slice(None), slice(None))))
    assert all_of_it.spilled == (0, 0, 0)
    assert all_of_it.ends == (0, 0, 0)
    assert not any(all_of_it.needed)


def test_overflow_stays_in_the_cell_where_it_can() -> None:
    """One bucket's rows are short and its lists fill up; the other's row is long."""
    # Cell (0, 0) has two buckets: 8 rows of one block, then one row of 8 blocks.
    pattern = pattern_of((slice(0, 8), slice(0, 1)), (slice(8, 9), slice(0, 8)))
    words = 7 + 8 * 3  # one word short for the 8 short rows, since a zero ends the lists
    encoding = encode(hand_plan((2, 2, 2), 20, words=words), pattern)
    check(encoding, pattern)
    assert encoding.spilled[0] > 0 and encoding.spilled[1:] == (0, 0)
    assert encoding.ends == (0, 0, 0), "distribution brings all buckets of a cell together"


def test_overflow_goes_to_the_same_row_of_the_grid_before_anywhere() -> None:
    pattern = pattern_of((slice(0, 8), slice(0, 8)))  # 64 blocks in cell (0, 0)
    row = encode(hand_plan((2, 2, 1), 32), pattern)
    check(row, pattern)
    assert row.spilled == (0, 32, 0)
    assert row.ends == (1, 2, 1)
    assert row.needed == (True, False)
    anywhere = encode(hand_plan((2, 2, 1), 20), pattern)
    check(anywhere, pattern)
    assert anywhere.spilled == (0, 20, 24)
    assert anywhere.ends == (2, 2, 1)
    assert anywhere.descriptor_words == 4


def test_whole_rows_move_before_parts_of_rows() -> None:
    """24 of 64 blocks must go: three rows of 8, to a bucket with room for just them."""
    pattern = pattern_of((slice(0, 8), slice(0, 8)))
    encoding = encode(hand_plan((1, 2, 1), 40), pattern)
    runs = encoding.buckets[1]
    assert [run.blocks for run in runs] == [8, 8, 8]
    split = encode(hand_plan((1, 2, 1), 36), pattern)
    check(split, pattern)
    assert sorted(run.blocks for run in split.buckets[1]) == [4, 8, 8, 8]


def test_unneeded_steps_along_x_can_be_skipped() -> None:
    """Cell (3, 0) overflows into (0, 0), three steps forward: the two between have no work."""
    full = [(slice(8 * i, 8 * i + 8), slice(None)) for i in (1, 2)]
    pattern = pattern_of(*full, (slice(24, 32), slice(None)), (slice(0, 1), slice(None)))
    plan = hand_plan((4, 1, 1), 255, blocks=1024)
    encoding = encode(dataclasses.replace(plan, max_blocks=1024), pattern)
    check(encoding, pattern)
    assert encoding.spilled[2] == 3
    assert encoding.ends[0] == max(i for i, need in enumerate(encoding.needed) if need) + 1
    assert encoding.needed.count(True) == len(
        {
            encoding.distance(holder, run.cell)[0]
            for holder, runs in enumerate(encoding.buckets)
            for run in runs
            if run.cell != holder
        }
    )


def test_convention_a_bucket_travels_forward_to_the_cell_of_its_blocks() -> None:
    plan = hand_plan((4, 3, 2), 20)
    encoding = encode(plan, pattern_of((slice(0, 1), slice(0, 1))))
    # Bucket 1 of cell (3, 2) meets cell (1, 0) after two steps along x and one along y.
    assert encoding.distance((3 * 3 + 2) * 2 + 1, 1 * 3 + 0) == (2, 1)


def test_too_many_blocks_say_how_many_and_where() -> None:
    pattern = pattern_of((slice(0, 9), slice(0, 8)))
    with pytest.raises(DoesNotFitError, match="72 blocks, and the plan is made for 64: 8 too many"):
        encode(hand_plan((2, 2, 1), 64), pattern)
    with pytest.raises(DoesNotFitError, match=r"4 of 64 blocks found no room .* cell \(0, 0\)"):
        encode(hand_plan((2, 2, 1), 15), pattern_of((slice(0, 8), slice(0, 8))))


def test_lists_say_what_was_written() -> None:
    pattern = pattern_of((slice(0, 8), slice(0, 8)), (slice(20, 22), slice(5, 30)))
    encoding = encode(hand_plan((2, 2, 1), 30, blocks=200), pattern)
    values = torch.arange(pattern.nnz * 16.0).view(-1, 4, 4)
    order = torch.from_numpy(encoding.order)
    columns = pattern.column_indices[order].numpy()
    found = torch.zeros(32, 32, 4, 4)
    for bucket in range(encoding.plan.tiles):
        stored, lists = write_bucket(encoding, bucket, columns, values[order])
        assert stored.shape == (30, 4, 4) and lists.shape == (4000,)
        for group in read_lists(encoding.plan, lists):
            top, left = (16 * part for part in divmod(group.cell, 2))  # 16 × 16 blocks each
            held = stored[group.first : group.first + len(group.rows)]
            found[top + group.rows, left + group.columns] += held
    wanted = torch.zeros(32, 32, 4, 4)
    wanted[pattern.row_indices.long(), pattern.column_indices.long()] = values
    assert torch.equal(found, wanted)


def test_a_plan_knows_the_density_and_not_the_mask() -> None:
    plan = plan_dynamic((1024, 1024), 16, 512, 128)
    assert plan.capacity_blocks * plan.tiles >= 512
    assert math.prod(plan.grid) <= 1472
    assert plan.grid[2] * plan.width == 128
    rows = [plan.rows_of(x) for x in range(plan.grid[0])]
    assert rows[0][0] == 0 and rows[-1][1] == 64
    assert plan.cycles == sum(plan.terms.values())
    assert f"{plan.grid[0]} × {plan.grid[1]} × {plan.grid[2]}" in plan.explain()
    tiles = {
        plan.tile_of(x, y, z)
        for x in range(plan.grid[0])
        for y in range(plan.grid[1])
        for z in range(plan.grid[2])
    }
    assert tiles == set(range(plan.tiles))


def test_the_memory_bound_is_doubled_then_dropped_and_then_the_product_refused() -> None:
    half = plan_dynamic((4096, 4096), 16, 16384, 2048)
    assert half.memory_bytes > 0.6 * half.machine.tile_bytes
    assert half.memory_bytes <= half.machine.tile_bytes
    with pytest.raises(DoesNotFitError, match=r"does not fit Bow: a tile would need \d+ bytes"):
        plan_dynamic((8192, 8192), 16, 65536, 8192)
    strict = SimulationSettings(memory_share=0.3)
    kept = plan_dynamic((4096, 4096), 16, 4096, 256, settings=strict)
    assert kept.memory_bytes <= 0.6 * kept.machine.tile_bytes
    dropped = plan_dynamic(
        (1024, 1024), 16, 256, 1024, settings=SimulationSettings(memory_share=0.03)
    )
    assert 0.06 * dropped.machine.tile_bytes < dropped.memory_bytes <= dropped.machine.tile_bytes


def test_dynamic_is_predicted_slower_than_static() -> None:
    from diffrender.blocksparse.ipu import BlockCounts, plan_static

    counts = BlockCounts.uniform((4096, 4096), 16, 1 / 16, np.random.default_rng(0))
    dynamic = plan_dynamic((4096, 4096), 16, counts.nnz, 1024)
    assert dynamic.cycles > 1.2 * plan_static(counts, 1024).cycles


def test_a_plan_takes_patterns_of_its_own_shape_and_present_masks_alone() -> None:
    plan = hand_plan((2, 2, 1), 64)
    for shape, block in (((256, 128), 4), ((128, 128), 8)):
        pattern = BlockPattern.random(shape, block, 0.01, generator=torch.Generator())
        with pytest.raises(
            InputError, match=r"the plan is for \(128, 128\) and blocks of \(4, 4\)"
        ):
            encode(plan, pattern)
    dynamic = DynamicPattern.for_density((128, 128), (4, 4), 0.05)
    old = dynamic.current
    dynamic.update(torch.eye(32, dtype=torch.bool))
    with pytest.raises(InputError, match="DynamicPattern has changed since"):
        encode(plan, old)
