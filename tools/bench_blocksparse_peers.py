"""Other sparse products of the same pattern, single columns, and half precision."""

from __future__ import annotations

import importlib.util
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffrender.blocksparse.pattern import BlockPattern
from diffrender.tools.bench_blocksparse_cells import Cell, calls_of, pattern_of
from diffrender.tools.bench_blocksparse_goals import worst
from diffrender.tools.bench_blocksparse_grid import Measured, row_of, timed
from diffrender.tools.bench_format import Report, Row, Target, spread

__all__ = ["bandwidth", "half_precision", "multiplies", "peers"]

_READ = 64 * 2**20  # floats that are added up to measure the bandwidth: far beyond any cache


def peers(report: Report, *, quick: bool) -> None:
    """Forward products of torch's and scipy's BSR and CSR, and MKL's, beside ours."""
    threads = torch.get_num_threads()
    sizes = [(1024, 256)] if quick else [(1024, 256), (4096, 512)]
    for side, n in sizes:
        for block, density in ((16, 1 / 16), (4, 1 / 16), (1, 1 / 16)):
            cell = Cell(side, n, block, density, threads=threads)
            _beside(report, cell, 0.4 if quick else 1.5)
    if importlib.util.find_spec("sparse_dot_mkl") is None:
        report.leave_out("sparse-dot-mkl", "it is not installed")
    report.leave_out("triton, torch on a GPU", "this benchmark runs on the CPU")


def _beside(report: Report, cell: Cell, budget: float) -> None:
    weight, x = torch.randn(cell.side, cell.side), torch.randn(cell.side, cell.n)
    ours, dense = calls_of(cell, weight, x, x)
    pattern = pattern_of(cell.side, cell.block, cell.density)
    calls: dict[str, Callable[[], object]] = {"ours": ours, "torch dense": dense}
    calls |= _others(pattern, torch.randn(pattern.nnz, cell.block, cell.block), x)
    seconds = timed(calls, budget)
    middle = statistics.median(seconds["ours"])
    for name, values in seconds.items():
        ratio = None if name == "ours" else middle / statistics.median(values)
        report.rows.append(
            Row(
                str(cell),
                f"forward by {name}",
                1e3 * statistics.median(values),
                "ms",
                1e3 * spread(values),
                "" if name == "ours" else "ours, time over this one's",
                ratio,
            )
        )


def _others(pattern: BlockPattern, values: Tensor, x: Tensor) -> dict[str, Callable[[], object]]:
    import scipy.sparse

    array = x.numpy()
    parts = (values.numpy(), pattern.column_indices.numpy(), pattern.row_offsets.numpy())
    blocks: Any = scipy.sparse.bsr_matrix(parts, shape=pattern.shape)
    entries: Any = blocks.tocsr()
    calls: dict[str, Callable[[], object]] = {
        "scipy BSR": lambda: blocks @ array,
        "scipy CSR": lambda: entries @ array,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that its compressed layouts are new
        csr = torch.sparse_csr_tensor(
            torch.from_numpy(entries.indptr).long(),
            torch.from_numpy(entries.indices).long(),
            torch.from_numpy(entries.data),
            pattern.shape,
        )
        calls["torch CSR"] = lambda: csr @ x
        if pattern.block_size[0] > 1:
            bsr = torch.sparse_bsr_tensor(
                pattern.row_offsets.long(), pattern.column_indices.long(), values, pattern.shape
            )
            calls["torch BSR"] = lambda: bsr @ x
    if importlib.util.find_spec("sparse_dot_mkl") is not None:
        import sparse_dot_mkl

        calls["sparse-dot-mkl CSR"] = lambda: sparse_dot_mkl.dot_product_mkl(entries, array)
    return calls


def bandwidth(report: Report, *, quick: bool) -> None:
    """A single column: bytes of values, indices and vectors a second, beside reading memory."""
    threads, shares = torch.get_num_threads(), []
    read = torch.ones(_READ)
    side, density = (4096, 1 / 2) if quick else (8192, 1 / 4)
    for block in (4, 16) if quick else (4, 8, 16, 32):
        pattern = pattern_of(side, block, density)
        cell = Cell(side, 1, block, density, threads=threads)
        x, weight = torch.randn(side, 1), torch.randn(8, 8)
        ours, _ = calls_of(cell, weight, x, x)
        seconds = timed({"ours": ours, "read": read.sum}, 0.5 if quick else 1.5)
        stored = pattern.nnz * (4 * block * block + 4) + 8 * side + 4 * (side // block)
        rate = [1e-9 * stored / t for t in seconds["ours"]]
        peak = 1e-9 * 4 * _READ / statistics.median(seconds["read"])
        share = statistics.median(rate) / peak
        shares.append(share)
        words = f"reading memory: {peak:.3g} GB/s"
        value = statistics.median(rate)
        report.rows.append(Row(str(cell), "forward", value, "GB/s", spread(rate), words, share))
    name = f"n = 1, worst of {len(shares)} block sizes: share of the memory's bandwidth"
    report.targets.append(Target(name, ">= 0.8", min(shares), min(shares) >= 0.8))


def half_precision(report: Report, *, quick: bool) -> None:
    """bfloat16, float16 and float64 storage at the paper's headline point, against torch.

    The dense product beside half precision is torch's in float32, and the one of the same dtype
    where the processor has instructions for it: without, it takes a thousand times longer.
    """
    side, n = (1024, 256) if quick else (4096, 512)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        wide, name = torch.promote_types(dtype, torch.float32), str(dtype).removeprefix("torch.")
        cell = Cell(side, n, 16, 1 / 16, threads=torch.get_num_threads())
        weight, x = torch.randn(side, side, dtype=wide), torch.randn(side, n, dtype=wide)
        half = (weight.to(dtype), x.to(dtype), x)
        calls: dict[str, Callable[[], object]] = {"ours": calls_of(cell, *half)[0]}
        calls[str(wide).removeprefix("torch.")] = calls_of(cell, weight, x, x)[1]
        if dtype != wide and multiplies(dtype):
            calls[name] = calls_of(cell, *half)[1]
        seconds = timed(calls, 0.3 if quick else 1.5)
        for other in list(calls)[1:]:
            one = Measured(cell, seconds["ours"], seconds[other])
            row = row_of(one)
            peer = row.peer.replace("torch dense", f"torch dense in {other}")
            report.rows.append(
                Row(row.case, f"forward, {name}", row.value, "ms", row.spread, peer, row.ratio)
            )
            if dtype != torch.float64:
                words = f"forward, {name} storage, d=1/16, b=16: gain over dense {other}"
                report.targets.append(worst(words, [one], 14.0, lambda found: found.gain))


def multiplies(dtype: torch.dtype) -> bool:
    """Whether torch's dense product is at most ten times slower than in float32."""
    x = torch.randn(256, 256)
    given = x.to(dtype)
    seconds = timed({"half": lambda: given @ given, "single": lambda: x @ x}, 0.05)
    return statistics.median(seconds["half"]) < 10 * statistics.median(seconds["single"])
