"""`diffrender bench reconstruct`: accuracy on synthetic streets and real frames, and speed.

Its three parts are benchmarks of their own too. Real frames need DIFFRENDER_SHARED to name a
folder with data/kitti and data/depth_weights; without it their rows are left out and their
targets count as not measured. Labels serve scoring only.
"""

from __future__ import annotations

import os
from pathlib import Path

from diffrender.tools.bench_accuracy import synthetic_streets
from diffrender.tools.bench_format import Report
from diffrender.tools.bench_real_frames import real_frames
from diffrender.tools.bench_speed import large_picture, memory, raster_against_deodr, speed

__all__ = ["bench_real", "bench_reconstruct", "bench_speed", "bench_synthetic"]


def bench_reconstruct(*, quick: bool) -> Report:
    """Measure what a reconstruction reaches. `quick` is a sample of it, within 50 s."""
    report = Report(rows=[])
    for part in (bench_synthetic, bench_real, bench_speed):
        measured = part(quick=quick)
        report.rows.extend(measured.rows)
        report.targets.extend(measured.targets)
    return report


def bench_synthetic(*, quick: bool) -> Report:
    """Poses on synthetic streets held out from development, against their exact truth."""
    report = Report(rows=[])
    synthetic_streets(report, scenes=1 if quick else 100)
    return report


def bench_real(*, quick: bool) -> Report:
    """Poses on real frames, against their labels."""
    report = Report(rows=[])
    shared = os.environ.get("DIFFRENDER_SHARED")
    real_frames(report, Path(shared) / "data" if shared else None, quick=quick)
    return report


def bench_speed(*, quick: bool) -> Report:
    """Time of one object, of one silhouette, and memory of ten cars."""
    report = Report(rows=[])
    speed(report, repeats=3 if quick else 15)
    raster_against_deodr(report, quick=quick)
    memory(report)
    large_picture(report, repeats=3 if quick else 15)  # last: a fork counts what this one holds
    return report
