"""Which faces each tile of pixels has to look at, in face order.

A face's box covers some tiles; every (face, tile) is a pair. Faces' counts are added up, the pairs
written out face after face, and sorted by tile with a stable sort, so that a tile's list is in
face order whatever ran first. Pairs are made in chunks of whole faces, which bounds the memory
whatever the boxes are; what draws a chunk goes on from where the last one stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.raster._triton import Block, Pointer, blocks, constexpr, i64, kernel, launch, tl

__all__ = ["Boxes", "Grid", "Pairs", "pairs", "search", "sort_by_tile"]

_CHUNK = 1 << 21  # pairs made together
_BLOCK = 256


@dataclass(frozen=True)
class Grid:
    """The square tiles of all images: row by row, image after image."""

    side: int  # pixels
    images: int
    height: int
    width: int

    @property
    def columns(self) -> int:
        return blocks(self.width, self.side)

    @property
    def rows(self) -> int:
        return blocks(self.height, self.side)

    @property
    def count(self) -> int:
        return self.images * self.rows * self.columns


@dataclass(frozen=True, eq=False)
class Boxes:
    """Tiles that each face may touch: columns and rows, first and last, and how many."""

    tiles: Tensor  # (F, 4) int32: left, right, top, bottom
    ends: Tensor  # (F,) int64, running sum of the numbers of tiles
    image: Tensor  # (F,) int32
    total: int


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of faces [first, last), face after face, tiles of one face row by row."""

    face: Tensor  # (N,) int32
    tile: Tensor  # (N,) int32
    first: int
    last: int
    before: int  # pairs of the faces before


@kernel
def search(ends: Pointer, wanted: Block, count: i64, steps: i64) -> Block:
    """The first place whose running sum `ends` exceeds `wanted`, by bisection."""
    low = wanted * 0
    high = low + (count - 1)
    for _ in range(steps):
        middle = (low + high) // 2
        beyond = tl.load(ends + middle) > wanted
        high = tl.where(beyond, middle, high)
        low = tl.where(beyond, low, tl.minimum(middle + 1, high))
    return low


@kernel
def _expand(
    ends: Pointer,
    tiles: Pointer,
    image: Pointer,
    face_out: Pointer,
    tile_out: Pointer,
    faces: i64,
    steps: i64,
    before: i64,
    total: i64,
    columns: i64,
    rows: i64,
    BLOCK: constexpr,
) -> None:
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    valid = at < total
    pair = tl.where(valid, at, 0) + before
    face = search(ends, pair, faces, steps)
    start = tl.load(ends + face - 1, mask=face > 0, other=0)
    left = tl.load(tiles + 4 * face)
    right = tl.load(tiles + 4 * face + 1)
    top = tl.load(tiles + 4 * face + 2)
    across = (right - left + 1).to(tl.int64)
    local = pair - start
    row = top + local // across
    column = left + local % across
    tile = (tl.load(image + face).to(tl.int64) * rows + row) * columns + column
    tl.store(face_out + at, face.to(tl.int32), mask=valid)
    tl.store(tile_out + at, tile.to(tl.int32), mask=valid)


def pairs(boxes: Boxes, grid: Grid) -> Iterator[Pairs]:
    """All pairs, in chunks of whole faces."""
    faces = len(boxes.ends)
    if boxes.total == 0:
        return
    cuts = [0, faces]
    if boxes.total > _CHUNK:
        marks = torch.arange(_CHUNK, boxes.total, _CHUNK, device=boxes.ends.device)
        inner = torch.searchsorted(boxes.ends, marks, right=True).tolist()
        cuts = sorted({0, *inner, faces})
    sums = [0, *boxes.ends[torch.tensor(cuts[1:], device=boxes.ends.device) - 1].tolist()]
    for i, (first, last) in enumerate(itertools.pairwise(cuts)):
        total = sums[i + 1] - sums[i]
        if total == 0:
            continue
        face = boxes.image.new_empty(total)
        tile = boxes.image.new_empty(total)
        launch(
            _expand,
            blocks(total, _BLOCK),
            boxes.ends,
            boxes.tiles,
            boxes.image,
            face,
            tile,
            faces,
            faces.bit_length() + 1,
            sums[i],
            total,
            grid.columns,
            grid.rows,
            _BLOCK,
        )
        yield Pairs(face, tile, first, last, sums[i])


def sort_by_tile(pairs: Pairs, grid: Grid) -> tuple[Tensor, Tensor]:
    """Faces (N,) int32, tile after tile, and where each tile's begin (T + 1,) int64."""
    tile, order = pairs.tile.sort(stable=True)
    numbers = torch.arange(grid.count + 1, device=tile.device, dtype=tile.dtype)
    return pairs.face[order], torch.searchsorted(tile, numbers)
