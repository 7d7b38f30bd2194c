"""The grid: faces x image x batch x operation, and DEODR in every cell that is timed."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffrender.tools.bench_format import Report, Row, Target, spread, threads_set, time_calls
from diffrender.tools.bench_raster_deodr import deodr_steps
from diffrender.tools.bench_raster_goals import Compared, growth, worst_cell
from diffrender.tools.bench_raster_scene import Cell, full_step, operations, scene_of

__all__ = ["Grid", "cells_of", "compare", "grid", "ms_rows", "timed"]

_MOST_PIXELS = 2**22  # of all images of a cell; maps and gradients of more take gigabytes
_MOST_SOFT = 2**18  # pixels of a cell up to which soft silhouettes are timed too
_FULL = "full (rasterize + interpolate + antialias)"


@dataclass(frozen=True)
class Grid:
    """What is timed, and for how long.

    Attributes:
        faces, sizes, batches: the axes.
        budget: seconds for the repeats of one comparison.
        limit: seconds for all cells; those that do not fit are listed as left out.
    """

    faces: tuple[int, ...] = (320, 1280, 5120, 20480, 81920)
    sizes: tuple[int, ...] = (64, 128, 256, 512, 1024)
    batches: tuple[int, ...] = (1, 8, 64)
    budget: float = 0.8
    limit: float = 330.0


QUICK = Grid(faces=(320, 1280, 5120), sizes=(64, 256), batches=(1, 8), budget=0.2, limit=16.0)


def cells_of(axes: Grid) -> list[Cell]:
    """All cells, cheapest first, so that the time limit meets the dearest."""
    cells = [Cell(f, s, b) for b in axes.batches for s in axes.sizes for f in axes.faces]
    return sorted(cells, key=lambda cell: cell.pixels + 10 * cell.faces * cell.batch)


def grid(report: Report, axes: Grid) -> None:
    """Rows of every cell, or of why it was left out; the goals of the grid as targets."""
    has_peer = importlib.util.find_spec("deodr") is not None
    until = time.perf_counter() + axes.limit
    compared: list[Compared] = []
    times: dict[tuple[Cell, str], float] = {}
    for cell in cells_of(axes):
        reason = ""
        if cell.pixels > _MOST_PIXELS:
            reason = f"{cell.pixels / 1e6:.1f} million pixels, more than {_MOST_PIXELS / 1e6:.1f}"
        elif time.perf_counter() > until:
            reason = f"the grid's {axes.limit:g} s were over"
        if reason:
            report.rows.append(Row(str(cell), f"left out: {reason}", 0, "timings"))
            continue
        seconds = _operations(report, cell, axes.budget)
        times |= {(cell, name): statistics.median(values) for name, values in seconds.items()}
        if has_peer:
            compared += compare(report, cell, axes.budget)
    rows, targets = growth(times)
    report.rows.extend(rows)
    many = torch.get_num_threads()
    goals = [("one thread each", 1, 1.2), (f"{many} threads against one", many, 2.0)]
    for words, threads, goal in goals if many > 1 else goals[:1]:
        part = [one for one in compared if one.threads == threads]
        rows, target = worst_cell(f"{_FULL} forward + backward, {words}", "deodr", goal, part)
        report.rows.extend(rows)
        report.targets.append(target)
    if many == 1:
        name = f"{_FULL} forward + backward, two threads, against deodr"
        report.targets.append(Target(name, ">= 2 x faster", None, False))
    report.targets.extend(targets)


def _operations(report: Report, cell: Cell, budget: float) -> dict[str, list[float]]:
    scene = scene_of(cell)
    calls = operations(scene, soft=cell.pixels <= _MOST_SOFT)
    calls[f"{_FULL} forward"], calls[f"{_FULL} forward + backward"] = full_step(scene)
    apart = full_step(scene, apart=True)
    calls["three calls forward"], calls["three calls forward + backward"] = apart
    seconds = timed(calls, budget)
    report.rows.extend(ms_rows(str(cell), seconds, f", {torch.get_num_threads()} threads"))
    return seconds


def compare(report: Report, cell: Cell, budget: float) -> list[Compared]:
    """The full step against DEODR, on one thread and on all that torch uses."""
    scene = scene_of(cell)
    peer_forward, peer_both = deodr_steps(scene)
    forward, both = full_step(scene)
    compared = []
    for threads in dict.fromkeys((1, torch.get_num_threads())):
        calls = {"ours forward": forward, "ours": both, "forward": peer_forward, "both": peer_both}
        with threads_set(threads):
            seconds = timed(calls, budget)
        for words, ours, peer in (
            ("forward", "ours forward", "forward"),
            ("forward + backward", "ours", "both"),
        ):
            base = statistics.median(seconds[peer])
            name = f"{_FULL} {words}"
            mine = ms_rows(str(cell), {name: seconds[ours]}, f", threads: {threads}", base)
            theirs = ms_rows(str(cell), {name: seconds[peer]}, f", deodr beside {threads} threads")
            report.rows.extend([*mine, *theirs])
        compared.append(Compared(cell, threads, seconds["ours"], seconds["both"]))
    return compared


def ms_rows(
    case: str, seconds: dict[str, list[float]], suffix: str, base: float | None = None
) -> list[Row]:
    """Median milliseconds and their spread, with the ratio to DEODR's median `base` if given."""
    rows = []
    for name, values in seconds.items():
        middle = statistics.median(values)
        width = 1e3 * spread(values) if len(values) > 1 else None
        peer = ("", None) if base is None else ("deodr", middle / base)
        rows.append(Row(case, name + suffix, 1e3 * middle, "ms", width, *peer))
    return rows


def timed(calls: dict[str, Callable[[], object]], budget: float) -> dict[str, list[float]]:
    """Calls taking turns for about `budget` seconds: 3 to 200 rounds after one of warming up.

    Where the first round alone took four times the budget it is all that is measured.
    """
    first = time_calls(calls, repeats=1, warm_up=0)
    total = sum(values[0] for values in first.values())
    if total > 4 * budget:
        return first
    return time_calls(calls, repeats=max(3, min(200, int(budget / total))), warm_up=0)
