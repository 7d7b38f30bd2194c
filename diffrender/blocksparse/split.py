"""How a static product is split: k into bands of equal non-zeros, n into parts, blocks to tiles.

Tiles are threads or GPU programs here. Every tile multiplies a run of blocks of one band with one
part of the columns; block rows that two tiles work on are then added (the reduction).

Source: popsparse.md, section 1.4.2, steps 3 to 7 (poplibs, StaticMatMulPartitioner).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.blocksparse._structure import Index
from diffrender.blocksparse.pattern import BlockPattern

__all__ = ["StaticSplit", "split_for_cache", "static_split"]

_PANEL_BYTES = 256 * 1024  # of x, for one tile: half of a usual second-level cache
_NARROWEST = 16  # columns


@dataclass(frozen=True, eq=False)
class StaticSplit:
    """Bands, parts and deals of one product.

    Attributes:
        bands: (q_k + 1,) block columns where the bands begin.
        parts: (q_n + 1,) columns of x where the parts begin.
        order: (nnz,) place in row order of the blocks, band by band, row by row within a band.
        deals: (tiles + 1,) where each tile's run begins in `order`; the same for every part.
        reductions: partial block rows that have to be added to another tile's.
    """

    bands: Index
    parts: Index
    order: Index
    deals: Index
    reductions: int

    def __str__(self) -> str:
        bands, parts, tiles = len(self.bands) - 1, len(self.parts) - 1, len(self.deals) - 1
        largest = np.diff(self.deals).max(initial=0)
        return (
            f"bands of k: {bands}, parts of n: {parts}, tiles: {tiles} with up to {largest} "
            f"blocks, block rows to add: {self.reductions}"
        )


def split_for_cache(
    pattern: BlockPattern, columns: int, itemsize: int, threads: int
) -> StaticSplit:
    """Parts narrow enough that a tile's panel of x stays in its cache, and bands if need be."""
    column_bytes = pattern.shape[1] * itemsize
    width = max(_PANEL_BYTES // column_bytes // _NARROWEST * _NARROWEST, _NARROWEST)
    bands = max(1, -(-column_bytes * width // _PANEL_BYTES))
    parts = max(1, -(-columns // width))
    tiles = max(bands, -(-threads // parts))
    return static_split(pattern, columns, bands=bands, parts=parts, tiles=tiles)


def static_split(
    pattern: BlockPattern, columns: int, *, bands: int, parts: int, tiles: int
) -> StaticSplit:
    """Split a product into at most `bands` bands, `parts` parts and `tiles` tiles a part."""
    owners = pattern.column_indices.cpu().numpy()
    counts = np.bincount(owners, minlength=pattern.grid[1])
    edges = _band_edges(counts, min(bands, pattern.grid[1]))
    band_of = np.repeat(np.arange(len(edges) - 1), np.diff(edges))[owners]
    order = np.argsort(band_of, kind="stable")
    sizes = np.bincount(band_of, minlength=len(edges) - 1)
    deals = _deal(sizes, max(tiles, len(sizes)))
    width = -(-columns // parts) if columns else 1
    cuts = np.minimum(np.arange(-(-columns // width) + 1) * width, columns)
    rows = pattern.row_indices.cpu().numpy()[order]
    owner = np.repeat(np.arange(len(deals) - 1), np.diff(deals))
    pairs = np.unique(owner * np.int64(pattern.grid[0]) + rows)
    return StaticSplit(edges, cuts, order, deals, len(pairs) - len(np.unique(rows)))


def _band_edges(counts: Index, bands: int) -> Index:
    """Walk the block columns; a band ends as soon as it holds its share of the blocks."""
    total = int(counts.sum())
    share = max(1, -(-total // bands))
    reached = np.cumsum(counts)
    edges, taken = [0], 0
    while total - taken > share:
        end = int(np.searchsorted(reached, taken + share)) + 1
        edges.append(end)
        taken = int(reached[end - 1])
    return np.array([*edges, len(counts)] if edges[-1] < len(counts) else edges)


def _deal(sizes: Index, tiles: int) -> Index:
    """Runs of equal length for the tiles of each band; tiles in proportion to its blocks."""
    total = max(int(sizes.sum()), 1)
    shares = np.maximum(sizes * tiles // total, 1)
    shares[-1] = max(tiles - int(shares[:-1].sum()), 1)
    ends = [0]
    for size, share in zip(sizes.tolist(), shares.tolist(), strict=True):
        step = max(1, -(-size // share))
        base = ends[-1]
        ends += [base + min(step * (i + 1), size) for i in range(-(-size // step))]
    return np.array(ends)
