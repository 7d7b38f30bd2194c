"""How the static planner cuts: columns of X into parts, k into bands, tiles for each."""

from __future__ import annotations

import itertools
from bisect import bisect_left

import numpy as np

from diffrender.blocksparse.ipu.costs import ceil_div

__all__ = [
    "Interval",
    "band_tiles",
    "cut_bands",
    "rearrangement",
    "split_columns",
    "split_tiles",
]

Interval = tuple[int, int]
REJECT_BELOW = 0.1  # of the mean count of a row or column


def rearrangement(counts: np.ndarray, enabled: bool) -> tuple[np.ndarray, int]:
    """Order of planning of the block rows or columns, and how many of them count.

    Those with hardly any blocks go to the end; they are computed, but would mislead the estimate
    of how full a tile's rows are.
    """
    if not enabled or counts.sum() == 0:
        return np.arange(len(counts)), len(counts)
    order = np.argsort(-counts, kind="stable")
    kept = max(1, int((counts > REJECT_BELOW * counts.sum() / len(counts)).sum()))
    return np.concatenate([np.sort(order[:kept]), order[kept:]]), kept


def split_columns(padded: int, splits: int, grain: int) -> tuple[Interval, ...]:
    """Intervals of the padded columns, equal in grains but for the last; there may be fewer."""
    step = ceil_div(padded // grain, splits) * grain
    return tuple((i, min(i + step, padded)) for i in range(0, padded, step))


def split_tiles(parts: tuple[Interval, ...], tiles: int, grain: int) -> tuple[Interval, ...]:
    """Tiles of each part of the columns; the last takes the rest, which may be nothing."""
    grains = tiles // grain
    total = 1 + parts[-1][1]
    least = ceil_div(grains, len(parts))
    ends = [0]
    for start, stop in parts[:-1]:
        share = max(ceil_div(grains * (stop - start), total) - 1, least)
        ends.append(min(ends[-1] + share * grain, tiles))
    ends.append(tiles)
    return tuple(itertools.pairwise(ends))


def cut_bands(columns: np.ndarray, bands: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Cut ordered block columns into bands of about equal stored blocks.

    A band is closed as soon as it holds its share, so there may be fewer bands than asked for.

    Args:
        columns: (k_B,) stored blocks of each column, in the order of planning.

    Returns:
        (s_k + 1,) ends of the bands, (s_k,) stored blocks of each, and the largest number of
        non-empty columns in one.
    """
    filled = np.cumsum(columns)
    share = ceil_div(int(filled[-1]), bands)
    sums = filled.tolist()
    ends, base = [0], 0
    while ends[-1] < len(sums) and base < sums[-1]:
        stop = min(bisect_left(sums, base + share), len(sums) - 1) + 1
        ends.append(stop)
        base = sums[stop - 1]
    if len(ends) > 1:
        ends[-1] = len(sums)  # empty columns after the last block
    bounds = np.array(ends)
    before = np.concatenate([[0], filled])[bounds]
    used = np.concatenate([[0], np.cumsum(columns > 0)])[bounds]
    widest = int(np.diff(used).max()) if len(ends) > 1 else 0
    return bounds, np.diff(before), widest


def band_tiles(
    blocks: np.ndarray,  # (s_k,) stored blocks of each band
    tiles: np.ndarray,  # (C,) tiles to share among the bands
    grain: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of each band: its share, no more than its blocks need, and whole grains.

    Returns:
        (C, s_k) tiles, and (C,) False where a band is left without any.
    """
    bands = len(blocks)
    total = tiles[:, None]  # (C, 1)
    share = blocks * total // blocks.sum()
    share = np.where(share == 0, np.minimum(total, grain), share)
    needed = ceil_div(blocks, ceil_div(blocks, share))
    share = np.minimum(ceil_div(needed, grain) * grain, share)
    share = np.maximum(share // grain * grain, grain)
    room = total - np.arange(bands - 1, -1, -1) * grain
    share = np.minimum(share, np.maximum(room, 0))
    used = np.minimum(np.cumsum(share[:, :-1], axis=1), total)
    used = np.concatenate([np.zeros_like(total), used], axis=1)
    found = np.diff(used, axis=1)
    left = total - used[:, -1:]
    last = np.minimum(np.maximum(left // grain * grain, grain), left)
    found = np.concatenate([found, last], axis=1)
    whole: np.ndarray = np.all(found > 0, axis=1)
    return found, whole
