"""`diffrender bench raster`: every operation over a grid, against the peers that are here.

The grid and DEODR are in `bench_raster_grid`, the goals in `bench_raster_goals`, the other peers
in `bench_raster_peers`; docs/benchmarks.md explains the method.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import time

from diffrender.raster import backends
from diffrender.tools import bench_raster_peers as peers
from diffrender.tools.bench_format import Report, Target
from diffrender.tools.bench_raster_grid import QUICK, Grid, compare, grid
from diffrender.tools.bench_raster_scene import Cell
from diffrender.tools.bench_raster_silhouette import bench_silhouette

__all__ = ["bench_raster"]

_CROPS = Cell(faces=1280, size=96, batch=64)


def bench_raster(*, quick: bool = False) -> Report:
    """The grid, a batch of crops, one silhouette, the optimizer's frames, and every peer.

    Runs without any peer: one that is missing gives a row saying so. Without the compiled kernels
    only the first cell of the grid is timed, since the plain-torch twins are made to be read.
    """
    start = time.perf_counter()
    report = Report([])
    has_deodr = importlib.util.find_spec("deodr") is not None
    if has_deodr:
        part = bench_silhouette(quick=quick)
        report.rows.extend(part.rows)
        report.targets.extend(part.targets)
    else:
        report.leave_out("deodr", "it is not installed")
    peers.gpu(report)
    missing = backends()["native"]
    if missing is not None:
        report.leave_out("all others", f"the kernels are not compiled ({missing})")
        grid(report, Grid(faces=(320,), sizes=(64,), batches=(1,)))
        return report
    peers.llvmpipe(report, quick=quick)
    if quick:
        report.leave_out("mitsuba", "left out of a quick run")
    else:
        peers.mitsuba(report)
    peers.pytorch3d(report, quick=quick)
    _crops(report, has_deodr, quick)
    axes = QUICK if quick else Grid()
    left = (40 if quick else 450) - (time.perf_counter() - start)
    grid(report, dataclasses.replace(axes, limit=round(max(0.0, min(axes.limit, left)), 1)))
    return report


def _crops(report: Report, has_deodr: bool, quick: bool) -> None:
    name, goal = f"{_CROPS}, forward + backward, against 64 calls of deodr", ">= 4 x faster"
    found = compare(report, _CROPS, 1.0 if quick else 10.0) if has_deodr else []
    if not found:
        report.targets.append(Target(name, goal, None, False))
    for one in found:
        gain = statistics.median(one.peer) / statistics.median(one.ours)
        words = f"{name}, threads: {one.threads}"
        report.targets.append(Target(words, goal, gain, gain >= 4))
