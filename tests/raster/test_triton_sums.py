"""The parts of the Triton back-end against brute force: bins, and sums in a fixed order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_scenes import GPU_MARKS, NEEDS_TRITON, TRITON_DEVICE
from torch import Tensor

pytestmark = [pytest.mark.skipif(TRITON_DEVICE is None, reason=NEEDS_TRITON), *GPU_MARKS]

FEW = settings(max_examples=10, deadline=None)
SEEDS = st.integers(0, 2**31)


def integers(low: int, high: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(low, high, (count,), generator=generator).to(TRITON_DEVICE)


@FEW
@given(SEEDS, st.integers(1, 40), st.integers(1, 30), st.sampled_from([1, 7, 1 << 21]))
def test_tiles_list_their_faces_in_order(seed: int, faces: int, size: int, chunk: int) -> None:
    from diffrender.raster import triton_bins
    from diffrender.raster.triton_bins import Boxes, Grid, pairs, sort_by_tile

    generator = torch.Generator().manual_seed(seed)
    grid = Grid(side=4, images=2, height=size, width=31)
    left, right = integers(0, grid.columns, 2 * faces, generator).view(2, faces).sort(0).values
    top, bottom = integers(0, grid.rows, 2 * faces, generator).view(2, faces).sort(0).values
    alive = integers(0, 4, faces, generator) > 0
    counts = torch.where(alive, (right - left + 1) * (bottom - top + 1), 0)
    image = integers(0, 2, faces, generator).sort().values
    ends = counts.cumsum(0)
    tiles = torch.stack([left, right, top, bottom], -1).int()
    boxes = Boxes(tiles, ends, image.int(), int(ends[-1]))
    got: list[list[int]] = [[] for _ in range(grid.count)]
    before = triton_bins._CHUNK
    triton_bins._CHUNK = chunk
    try:
        for part in pairs(boxes, grid):
            assert len(part.face) <= chunk + grid.rows * grid.columns
            listed, starts = sort_by_tile(part, grid)
            for t in range(grid.count):
                got[t] += listed[starts[t] : starts[t + 1]].tolist()
    finally:
        triton_bins._CHUNK = before
    wanted: list[list[int]] = [[] for _ in range(grid.count)]
    for f in range(faces):
        if not alive[f]:
            continue
        for row in range(int(top[f]), int(bottom[f]) + 1):
            for column in range(int(left[f]), int(right[f]) + 1):
                wanted[(int(image[f]) * grid.rows + row) * grid.columns + column].append(f)
    assert got == wanted


@FEW
@given(SEEDS, st.integers(0, 20), st.integers(1, 300), st.sampled_from([1, 3, 20]))
def test_pixels_add_up_to_corners(seed: int, faces: int, pixels: int, channels: int) -> None:
    from diffrender.raster.triton_sums import corner_sums, ranges

    generator = torch.Generator().manual_seed(seed)
    face = integers(-1, faces, pixels, generator) if faces else integers(-1, 0, pixels, generator)
    weight = torch.rand(pixels, 3, generator=generator).double().to(TRITON_DEVICE)
    values = torch.randn(pixels, channels, generator=generator).double().to(TRITON_DEVICE)
    hit = face >= 0
    wanted = values.new_zeros(faces, 3, channels)
    wanted.index_add_(0, face[hit], weight[hit][..., None] * values[hit][:, None])
    got = corner_sums(ranges(face, faces), weight, values)
    torch.testing.assert_close(got, wanted)


def test_a_face_over_many_pixels_is_cut_into_slices() -> None:
    from diffrender.raster.triton_sums import corner_sums, ranges

    generator = torch.Generator().manual_seed(0)
    face = integers(0, 2, 9000, generator) * integers(0, 2, 9000, generator)
    weight = torch.rand(9000, 6, generator=generator).double().to(TRITON_DEVICE)[:, 2:5]
    values = torch.randn(9000, 2, generator=generator).double().to(TRITON_DEVICE)
    wanted = values.new_zeros(2, 3, 2)
    wanted.index_add_(0, face, weight[..., None] * values[:, None])
    torch.testing.assert_close(corner_sums(ranges(face, 2), weight, values), wanted)


@FEW
@given(SEEDS, st.integers(1, 90), st.integers(0, 200), st.sampled_from([2, 3, 21]))
def test_rows_add_up_to_vertices(seed: int, vertices: int, rows: int, channels: int) -> None:
    from diffrender.raster.triton_sums import to_vertices

    generator = torch.Generator().manual_seed(seed)
    vertex = integers(0, vertices, rows, generator)
    values = torch.randn(rows, channels, generator=generator).double().to(TRITON_DEVICE)
    out = values.new_full((vertices, channels), torch.nan)
    wanted = values.new_zeros(vertices, channels).index_add_(0, vertex, values)
    torch.testing.assert_close(to_vertices(values, vertex, out), wanted)


@FEW
@given(SEEDS, st.integers(1, 30))
def test_consecutive_values_add_up_to_rows(seed: int, rows: int) -> None:
    from diffrender.raster.triton_sums import row_sums

    generator = torch.Generator().manual_seed(seed)
    lengths = integers(0, 70, rows, generator) * integers(0, 2, rows, generator)
    ends = lengths.cumsum(0)
    values = torch.randn(int(ends[-1]), 6, generator=generator).double().to(TRITON_DEVICE)
    owner = torch.repeat_interleave(torch.arange(rows, device=ends.device), lengths)
    wanted = values.new_zeros(rows, 6).index_add_(0, owner, values)
    got = values.new_full((rows, 6), torch.nan)
    middle = rows // 2
    before = int(ends[middle - 1]) if middle else 0
    row_sums(values[:before], ends, got, (0, middle), 0)
    row_sums(values[before:], ends, got, (middle, rows), before)
    torch.testing.assert_close(got, wanted)
