"""`diffrender bench ipu`: the IPU model beside what is published of PopSparse on a Bow IPU.

Nothing is timed: the figures are cycles of a model, and come out alike on every machine. Rows give
our value, and in `ratio` our value over the published one; docs/ipu.md says what is modelled.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import torch

from diffrender.blocksparse import BlockPattern
from diffrender.blocksparse.ipu import SimulationSettings, plan_static, simulate
from diffrender.tools import bench_ipu_published as published
from diffrender.tools.bench_format import Report, Row, Target
from diffrender.tools.bench_ipu_plots import Cell, Curve, Figures, draw
from diffrender.tools.bench_ipu_sweeps import COLUMNS, Law, Speeds, fit_power_law, launched, law

__all__ = ["bench_ipu"]

SIZE = 4096
MEASURED = "measured on a Bow IPU"


def bench_ipu(*, quick: bool = False, figures: Path | None = None) -> Report:
    """All sweeps; `quick` takes fewer masks and the middle sizes alone, and leaves the grid out.

    Figures go to the folder `figures` as PNG files, None draws none.
    """
    speeds = Speeds(1 if quick else 5, (64, 256, 1024, 4096, 16384) if quick else COLUMNS)
    report = Report([])
    _table(report, speeds, quick)
    _breakdown(report)
    _dense(report, speeds)
    density = _density(report, speeds)
    blocks = _blocks(report, speeds)
    sizes = _sizes(report, speeds, (256, 1024, 4096) if quick else published.SIZES)
    _headline(report, speeds)
    for size in (1024,) if quick else (1024, SIZE):
        _counted(report, size)
    _propagation(report)
    cells = [] if quick else _grid(report, speeds)
    cases, fitted = _power_law(report, speeds, (1024, 4096) if quick else published.SIZES)
    if figures is not None:
        draw(Figures(density, blocks, sizes, cases, fitted, cells), figures)
    return report


def _table(report: Report, speeds: Speeds, quick: bool) -> None:
    """The planner's table: does the same search give the same costs, and refuse the same?"""
    masks = Speeds(15 if quick else 25)
    worst = agreed = cells = refused = 0.0
    for (side, inverse), values in published.STATIC_TABLE.items():
        for n, wanted in zip(published.COLUMNS, values, strict=True):
            found = masks.static(SIZE, side, inverse, n)
            if wanted is None:
                refused += 1
                agreed += found is None
                continue
            cells += 1
            if found is None:
                worst = float("inf")
                continue
            worst = max(worst, abs(found / wanted - 1))
            report.rows.append(
                Row(
                    f"b = {side}, d = 1/{inverse}, n = {n}",
                    "static plan, median of masks",
                    found,
                    "TFLOP/s",
                    peer="derived from the source's formulas",
                    ratio=found / wanted,
                )
            )
    share = f"largest deviation from the {cells:.0f} cells of the cost model's table"
    report.targets.append(Target(share, "<= 5 %", 100 * worst, worst <= 0.05))
    name = "cells of that table that do not fit, and are refused"
    report.targets.append(Target(name, f"{refused:.0f}", agreed, agreed == refused))


def _breakdown(report: Report) -> None:
    """Terms of the two example plans, the median of nine masks."""
    worst = 0.0
    for side, cut, wanted in (
        (16, (9, 10), published.BREAKDOWN_16),
        (1, (19, 8), published.BREAKDOWN_1),
    ):
        forced = SimulationSettings(splits=cut[0], bands=cut[1])
        plans = [
            plan_static(Speeds().counts(SIZE, side, 16, seed), 1024, settings=forced)
            for seed in range(9)
        ]
        for name, cycles in wanted.items():
            found = statistics.median(plan.terms[name] for plan in plans)
            worst = max(worst, abs(found / cycles - 1))
            report.rows.append(
                Row(
                    f"b = {side}, d = 1/16, n = 1024, cut {cut[0]} x {cut[1]}",
                    name,
                    found,
                    "cycles",
                    peer="derived from the source's formulas",
                    ratio=found / cycles,
                )
            )
    name = "largest deviation from the terms of the example plans"
    report.targets.append(Target(name, "<= 15 %", 100 * worst, worst <= 0.15))


def _dense(report: Report, speeds: Speeds) -> None:
    for (size, n), wanted in published.DENSE.items():
        found = speeds.dense(size, n) or 0.0
        case = f"dense, m = k = {size}, n = {n}, FP16"
        report.rows.append(
            Row(case, "calibrated estimate", found, "TFLOP/s", peer=MEASURED, ratio=found / wanted)
        )


def _compare(report: Report, case: str, mode: str, found: float, wanted: float) -> None:
    report.rows.append(
        Row(case, f"{mode}, best n", found, "TFLOP/s", peer=MEASURED, ratio=found / wanted)
    )


def _density(report: Report, speeds: Speeds) -> list[Curve]:
    curves = []
    for name, values in published.DENSITY_SWEEP.items():
        mode, _, block = name.partition(", b = ")
        side = int(block or 16)
        ours = [speeds.best(mode, SIZE, side, d) for d in published.DENSITIES]
        for inverse, found, wanted in zip(published.DENSITIES, ours, values, strict=True):
            case = f"m = k = {SIZE}, d = 1/{inverse}, b = {side}, FP16"
            _compare(report, case, mode, found, wanted)
        curves.append(Curve(name, mode, [1 / d for d in published.DENSITIES], ours, list(values)))
    return curves


def _blocks(report: Report, speeds: Speeds) -> list[Curve]:
    curves = []
    for mode, values in published.BLOCK_SWEEP.items():
        ours = [speeds.best(mode, SIZE, side, 16) for side in published.SIDES]
        for side, found, wanted in zip(published.SIDES, ours, values, strict=True):
            if mode != "dense":
                _compare(report, f"m = k = {SIZE}, d = 1/16, b = {side}", mode, found, wanted)
        curves.append(Curve(mode, mode, list(published.SIDES), ours, list(values)))
    return curves


def _sizes(report: Report, speeds: Speeds, sizes: tuple[int, ...]) -> list[Curve]:
    curves = []
    for mode, values in published.FEATURE_SWEEP.items():
        measured = dict(zip(published.SIZES, values, strict=True))
        ours = [speeds.best(mode, size, 16, 16) for size in sizes]
        for size, found in zip(sizes, ours, strict=True):
            case = f"m = k = {size}, d = 1/16, b = 16"
            _compare(report, case, mode, found, measured[size])
        curves.append(Curve(mode, mode, list(sizes), ours, [measured[size] for size in sizes]))
    return curves


def _headline(report: Report, speeds: Speeds) -> None:
    for (mode, side, bits), wanted in published.HEADLINE.items():
        dtype = torch.float16 if bits == 16 else torch.float32
        found = speeds.best(mode, SIZE, side, 16, dtype) / speeds.best(
            "dense", SIZE, side, 16, dtype
        )
        case = f"m = k = {SIZE}, d = 1/16, b = {side}, FP{bits}"
        operation = f"{mode} over dense, best n of both"
        report.rows.append(Row(case, operation, found, "x", peer=MEASURED, ratio=found / wanted))


def _counted(report: Report, size: int) -> None:
    """The same products run tile by tile: is the planner's estimate what the tiles then do?"""
    generator = torch.Generator().manual_seed(0)
    pattern = BlockPattern.random((size, size), 16, 1 / 16, generator=generator)
    values = torch.randn(pattern.values_shape, generator=generator)
    x = torch.randn(size, size // 4, generator=generator)
    for mode in ("static", "dynamic", "dense"):
        found = simulate(pattern, size // 4, mode=mode, values=values, x=x)
        counted, planned = found.counted_cycles or 0, found.cycles
        case = f"m = k = {size}, d = 1/16, b = 16, n = {size // 4}, FP16"
        name = f"{mode}, counted tile by tile"
        report.rows.append(Row(case, name, counted, "cycles", None, "predicted", counted / planned))


def _propagation(report: Report) -> None:
    """What an uneven mask costs in dynamic mode: an eighth of the rows has more blocks."""
    size, rows = 1024, 64
    even = 0
    for skew in (1, 2, 4, 8):
        weight = torch.ones(rows, rows)
        weight[: rows // 8] = skew
        drawn = torch.multinomial(
            weight.flatten(), rows * rows // 16, generator=torch.Generator().manual_seed(0)
        )
        mask = torch.zeros(rows * rows, dtype=torch.bool)
        mask[drawn] = True
        pattern = BlockPattern.from_mask(mask.view(rows, rows), 16)
        found = simulate(pattern, 256, mode="dynamic")
        even = even or found.cycles
        case = f"m = k = {size}, d = 1/16, b = 16, n = 256, FP16, dynamic"
        name = f"an eighth of the rows {skew} x as dense, {found.propagation_rounds} rounds"
        report.rows.append(
            Row(case, name, found.cycles, "cycles", None, "even mask", found.cycles / even)
        )


def _grid(report: Report, speeds: Speeds) -> list[Cell]:
    """The measured grid of speed-ups at the same n: ours over theirs, block size by block size.

    Dense has an overhead by calibration and static has none, so the ratios are given twice: as
    the planner has it, and with the same overhead in both.
    """
    cells = []
    unknown = refused = 0
    for (side, size, inverse, n), wanted in published.speed_up_grid().items():
        sparse, dense = speeds.static(size, side, inverse, n), speeds.dense(size, n)
        if wanted is None:
            unknown += 1
            refused += sparse is None
        elif sparse is not None and dense is not None:
            ours = (sparse, launched(size, inverse, n, sparse))
            plain, alike = (speed * inverse / dense for speed in ours)
            cells.append(Cell(side, wanted, plain, alike))
    for words in ("", ", dense's overhead in both"):
        for side in published.SIDES:
            found = [
                (cell.alike if words else cell.plain) / cell.measured
                for cell in cells
                if cell.side == side
            ]
            near = sum(0.5 <= ratio <= 2 for ratio in found) / len(found)
            case = f"static speed-up at equal n, b = {side}, {len(found)} measured cells{words}"
            for name, value, unit in (
                ("model over measured, median", statistics.median(found), "x"),
                ("model over measured, largest", max(found), "x"),
                ("model over measured, smallest", min(found), "x"),
                ("cells within 2 x", 100 * near, "%"),
            ):
                report.rows.append(Row(case, name, value, unit))
    case = f"{unknown} cells without a measured value"
    report.rows.append(Row(case, "of them refused by the model", refused, "cells"))
    return cells


def _power_law(
    report: Report, speeds: Speeds, sizes: tuple[int, ...]
) -> tuple[dict[tuple[int, int, int], float], Law]:
    cases = {
        (size, inverse, side): speeds.speed_up("static", size, side, inverse)
        for size in sizes
        for inverse in published.DENSITIES
        for side in published.SIDES
    }
    fitted = fit_power_law(cases)
    names = ("factor", "exponent of m", "exponent of d", "exponent of b")
    case = f"power law of the static speed-up, {len(cases)} cases"
    for name, found, wanted in zip(names, fitted, published.POWER_LAW, strict=True):
        report.rows.append(Row(case, name, found, "", peer="published fit", ratio=found / wanted))
    ratios = [
        found / law(published.POWER_LAW, size, 1 / inverse, side)
        for (size, inverse, side), found in cases.items()
    ]
    case = f"model over the published law, {len(cases)} cases"
    for name, value in (
        ("median", statistics.median(ratios)),
        ("largest", max(ratios)),
        ("smallest", min(ratios)),
    ):
        report.rows.append(Row(case, name, value, "x"))
    near = sum(0.5 <= ratio <= 2 for ratio in ratios) / len(ratios)
    name = "cases of the model within 2 x of the published law, as most measured ones are"
    report.targets.append(Target(name, "> 50 %", 100 * near, near > 0.5))
    return cases, fitted
