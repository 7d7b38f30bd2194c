"""`diffrender bench blocksparse`: the products over the paper's grid, against dense and peers.

The cells are in `bench_blocksparse_cells`, the grid in `bench_blocksparse_grid`, the goals in
`bench_blocksparse_goals`; docs/benchmarks-blocksparse.md explains the method.
"""

from __future__ import annotations

import time

from diffrender.native import reason_missing
from diffrender.tools.bench_blocksparse_dynamic import dynamic
from diffrender.tools.bench_blocksparse_goals import goals
from diffrender.tools.bench_blocksparse_grid import QUICK, Grid, grid, with_limit
from diffrender.tools.bench_blocksparse_peers import bandwidth, half_precision, peers
from diffrender.tools.bench_format import Report, Target

__all__ = ["bench_blocksparse"]


def bench_blocksparse(*, quick: bool = False) -> Report:
    """The grid, single columns, half precision, dynamic mode, and every peer that is here.

    Without the compiled kernels there is one row saying so, and no goal is met.
    """
    start, report = time.perf_counter(), Report([])
    missing = reason_missing()
    if missing is not None:
        report.leave_out("all", f"the kernels are not compiled ({missing})")
        report.targets.extend(goals([]))
        return report
    bandwidth(report, quick=quick)
    peers(report, quick=quick)
    half_precision(report, quick=quick)
    dynamic(report, quick=quick)
    left = (36 if quick else 440) - (time.perf_counter() - start)
    report.targets.extend(goals(grid(report, with_limit(QUICK if quick else Grid(), left))))
    name = "GPU: gain over cuBLAS bfloat16 at d=1/16, b=16, m=n=4096"
    report.targets.append(Target(name, ">= 8", None, False))
    return report
