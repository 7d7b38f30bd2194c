"""Dynamic mode beside static mode, by the public functions, and the cost of a new mask."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch

from diffrender.tools.bench_blocksparse_grid import timed
from diffrender.tools.bench_format import Report, Row, Target, spread

__all__ = ["dynamic"]

_SIDE, _BLOCK, _COLUMNS = 4096, 16, 512
_NAMES = (
    ("dynamic mode, uniform masks: static time over dynamic time", ">= 0.85"),
    ("a new mask of 4096 x 4096, d=1/16, b=16", "<= 5 ms"),
)


def dynamic(report: Report, *, quick: bool) -> None:
    """Two rows a density, and two goals."""
    try:
        from diffrender.blocksparse import DynamicPattern
    except ImportError:
        report.leave_out("dynamic mode", "this version has no dynamic patterns")
        report.targets.extend(Target(name, goal, None, False) for name, goal in _NAMES)
        return
    shares, masks = [], []
    for density in (1 / 16,) if quick else (1 / 16, 1 / 4, 1 / 32):
        moving = DynamicPattern.for_density((_SIDE, _SIDE), (_BLOCK, _BLOCK), density)
        middle = _measure(report, moving, density, 0.5 if quick else 2.0)
        shares.append(middle["static"] / middle["dynamic"])
        masks.append(1e3 * middle["mask"])
    (name, goal), (other, most) = _NAMES
    report.targets.append(Target(name, goal, min(shares), min(shares) >= 0.85))
    report.targets.append(Target(other, most, masks[0], masks[0] <= 5.0))


def _measure(report: Report, moving: Any, density: float, budget: float) -> dict[str, float]:
    """Median seconds of the static and the dynamic product, and of taking a new mask."""
    from diffrender.blocksparse import BlockPattern, spmm

    generator = torch.Generator().manual_seed(5)
    grid = (_SIDE // _BLOCK, _SIDE // _BLOCK)
    scores = [torch.rand(grid, generator=generator) for _ in range(2)]
    most = math.ceil(density * grid[0] * grid[1])
    kept = [score >= score.flatten().topk(most).values[-1] for score in scores]
    static = BlockPattern.from_mask(kept[0], _BLOCK)
    moving.update(kept[0])
    values, x = torch.randn(moving.values_shape), torch.randn(_SIDE, _COLUMNS)
    stored, turn = values[: static.nnz], itertools.count(1)
    calls: dict[str, Callable[[], object]] = {
        "static": lambda: spmm(static, stored, x, backend="native"),
        "dynamic": lambda: spmm(moving, values, x, backend="native"),
        "mask": lambda: moving.update(kept[next(turn) % 2]),
    }
    seconds = timed(calls, budget)
    middle = {name: statistics.median(found) for name, found in seconds.items()}
    threads = torch.get_num_threads()
    case = f"m=k={_SIDE}, n={_COLUMNS}, d={density:g}, b={_BLOCK}, x (k, n), threads: {threads}"
    words, ratio = f"static: {1e3 * middle['static']:.4g} ms", middle["dynamic"] / middle["static"]
    for name, key in (("forward, dynamic mode", "dynamic"), ("a new mask", "mask")):
        peer = (words, ratio) if key == "dynamic" else ("", None)
        width = 1e3 * spread(seconds[key])
        report.rows.append(Row(case, name, 1e3 * middle[key], "ms", width, *peer))
    return middle
