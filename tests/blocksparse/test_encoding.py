"""Dynamic mode's encoding: what buckets hold, in which order they spill, what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.blocksparse import BlockPattern
from diffrender.blocksparse.bucket_grid import BucketGrid
from diffrender.blocksparse.encoding import Buckets, encode
from diffrender.errors import InputError


def _grid(
    parts: tuple[int, int, int], most: int, capacity: int, blocks: tuple[int, int] = (4, 4)
) -> BucketGrid:
    return BucketGrid((blocks[0] * 4, blocks[1] * 8), (4, 8), parts, most, capacity)


def _held(buckets: Buckets) -> list[list[tuple[int, int]]]:
    pairs = list(zip(buckets.rows.tolist(), buckets.columns.tolist(), strict=True))
    ends = buckets.offsets.tolist()
    return [pairs[a:b] for a, b in itertools.pairwise(ends)]


def test_capacity_rule() -> None:
    """poplibs: round(ceil(4096 / 1472) × 1.3) = round(3.9) = 4."""
    grid = BucketGrid.for_density((4096, 4096), (16, 16), 1 / 16, (16, 23, 4))
    assert (grid.tiles, grid.max_blocks, grid.capacity) == (1472, 4096, 4)
    assert grid.cell == (16, 12)  # ceil(256 / 16), ceil(256 / 23)


def test_grids_for_tiles_share_the_work() -> None:
    """Nearly all tiles get work, and a single column is never cut."""
    assert BucketGrid.for_tiles((64, 64), (4, 4), 0.25, 8, 1).parts == (1, 1, 1)
    for tiles, columns in ((2, 1), (6, 16), (64, 16), (64, 4096)):
        grid = BucketGrid.for_tiles((256, 512), (4, 8), 0.25, columns, tiles)
        assert tiles / 2 < grid.tiles <= tiles
        assert grid.capacity * grid.tiles >= grid.max_blocks == 1024
    narrow = BucketGrid.for_tiles((256, 512), (4, 8), 0.25, 1, 16)
    assert narrow.parts[2] == 1


def test_a_cell_is_cut_evenly_over_its_buckets() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2, :2] = True
    mask[2, 3] = True
    buckets = encode(mask, _grid((2, 2, 2), 8, 3))
    held = _held(buckets)
    assert held[0] == [(0, 0), (0, 1)] and held[1] == [(1, 0), (1, 1)]
    assert held[6] + held[7] == [(2, 3)]
    assert buckets.steps == (0, 0, 0) and buckets.spilled == 0 and buckets.distances == ()


def test_a_full_cell_fills_all_its_buckets() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:, 0] = True
    buckets = encode(mask, _grid((1, 4, 2), 8, 2))
    assert [len(bucket) for bucket in _held(buckets)] == [2, 2, 0, 0, 0, 0, 0, 0]
    assert buckets.spilled == 0


def test_surplus_goes_along_the_row_before_anywhere() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2, :2] = True  # four blocks in cell (0, 0), whose only bucket holds two
    buckets = encode(mask, _grid((2, 2, 1), 6, 2))
    assert _held(buckets)[0] == [(0, 0), (0, 1)]  # blocks leave from the end
    assert _held(buckets)[1] == [(1, 0), (1, 1)]
    assert buckets.spilled == 2
    assert buckets.steps == (0, 1, 1) and buckets.distances == ()


def test_surplus_goes_anywhere_when_the_row_is_full() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2] = True  # eight blocks in the upper two cells, which hold four
    buckets = encode(mask, _grid((2, 2, 1), 8, 2))
    assert [len(bucket) for bucket in _held(buckets)] == [2, 2, 2, 2]
    assert buckets.spilled == 4
    assert buckets.steps[0] == 1 and buckets.distances == (1,)


def test_whole_rows_move_together() -> None:
    """Rows of two go to the bucket with room for two, not into the single places before it."""
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[:2, :2] = True  # cell 0: rows of two; capacity two, so the second row leaves
    mask[0, 6] = True  # cell 3, the nearest below cell 0, has one place left
    buckets = encode(mask, _grid((1, 4, 1), 6, 2, (4, 8)))
    held = _held(buckets)
    assert held[2] == [(1, 0), (1, 1)]
    assert held[3] == [(0, 6)]
    assert buckets.steps == (0, 2, 1)


@st.composite
def _masks(draw: st.DrawFn) -> tuple[torch.Tensor, BucketGrid]:
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    parts = (
        draw(st.integers(1, rows)),
        draw(st.integers(1, columns)),
        draw(st.integers(1, 3)),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    # Skewed masks: the probability falls along the rows, so that every radius is used.
    slope = torch.linspace(1, draw(st.floats(0, 1)), rows)[:, None]
    mask = torch.rand(rows, columns, generator=generator) < slope * draw(st.floats(0, 1))
    most = int(mask.sum())
    tight = -(-most // (parts[0] * parts[1] * parts[2]))
    capacity = max(1, round(tight * draw(st.sampled_from([1.0, 1.3]))))
    return mask, _grid(parts, most, capacity, (rows, columns))


@settings(deadline=None, max_examples=200)
@given(drawn=_masks())
def test_every_block_is_in_one_bucket_and_can_come_home(
    drawn: tuple[torch.Tensor, BucketGrid],
) -> None:
    mask, grid = drawn
    buckets = encode(mask, grid)
    assert int(np.diff(buckets.offsets).max()) <= grid.capacity
    found = torch.zeros_like(mask)
    found[buckets.rows, buckets.columns] = True
    assert torch.equal(found, mask) and len(buckets.rows) == int(mask.sum())
    # Places lead back to row order.
    places = BlockPattern.from_mask(mask, grid.block_size)
    assert (places.row_indices.numpy()[buckets.places] == buckets.rows).all()
    assert (places.column_indices.numpy()[buckets.places] == buckets.columns).all()
    # Walk every bucket through the steps: each block must meet the tile of its cell.
    q_m, q_k, q_n = grid.parts
    away = 0
    for tile, blocks in enumerate(_held(buckets)):
        x, y = divmod(tile // q_n, q_k)
        downs = (0, *buckets.distances)
        visited = {
            ((x + down) % q_m, (y + across) % q_k)
            for down in downs
            for across in range(buckets.steps[1] + 1)
        }
        for row, column in blocks:
            home = (row // grid.cell[0], column // grid.cell[1])
            assert home in visited
            away += home != (x, y)
    assert away == buckets.spilled
    assert (away == 0) == (buckets.steps == (0, 0, 0))


def test_too_many_blocks_are_counted_and_located() -> None:
    grid = BucketGrid.for_density((32, 64), (4, 8), 0.25, (2, 2, 1))
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4, 4:] = True
    encode(mask, grid)
    mask[7, 0] = True
    with pytest.raises(InputError) as error:
        encode(mask, grid)
    message = str(error.value)
    assert "keeps 17 blocks, 1 more than the 16" in message
    assert "rows 0 and columns 32 onwards: 16 (room for 5)" in message
    assert "drop blocks or plan for a higher max_density" in message


def test_what_does_not_fit_the_grid_is_refused() -> None:
    grid = _grid((2, 2, 1), 8, 2)
    with pytest.raises(InputError, match=r"mask has shape \(3, 4\), expected \(4, 4\)"):
        encode(torch.zeros(3, 4, dtype=torch.bool), grid)
    with pytest.raises(InputError, match="expected torch.bool"):
        encode(torch.zeros(4, 4), grid)
    with pytest.raises(InputError, match=r"the pattern is \(16, 16\) in blocks of \(4, 4\)"):
        encode(BlockPattern.from_mask(torch.zeros(4, 4, dtype=torch.bool), 4), grid)
    with pytest.raises(InputError, match="4 buckets of 2 blocks cannot hold 9"):
        _grid((2, 2, 1), 9, 2)
    with pytest.raises(InputError, match=r"expected at most \(4, 4\) rows and columns"):
        _grid((5, 2, 1), 8, 2)
