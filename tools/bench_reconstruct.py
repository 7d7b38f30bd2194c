"""`diffrender bench reconstruct`: accuracy on synthetic streets and real frames, and speed.

Real frames need DIFFRENDER_SHARED to name a folder with data/kitti and data/depth_weights; without
it their rows are left out and their targets count as not measured. Labels serve scoring only.
"""

from __future__ import annotations

import os
from pathlib import Path

from diffrender.tools.bench_accuracy import real_frames, synthetic_streets
from diffrender.tools.bench_format import Report
from diffrender.tools.bench_speed import memory, raster_against_deodr, speed

__all__ = ["bench_reconstruct"]


def bench_reconstruct(*, quick: bool) -> Report:
    """Measure what a reconstruction reaches. `quick` is a sample of it, within 50 s."""
    report = Report(rows=[])
    synthetic_streets(report, scenes=1 if quick else 100)
    shared = os.environ.get("DIFFRENDER_SHARED")
    root = Path(shared) / "data" if shared else None
    real_frames(report, root, quick=quick)
    speed(report, repeats=3 if quick else 15)
    raster_against_deodr(report, quick=quick)
    memory(report)
    return report
