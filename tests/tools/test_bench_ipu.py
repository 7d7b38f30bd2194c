"""The parts of `diffrender bench ipu`, and a short run of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.tools import bench, bench_ipu
from diffrender.tools import bench_ipu_published as published
from diffrender.tools.bench_format import Report
from diffrender.tools.bench_ipu_plots import Cell, Curve, Figures, _apart, draw
from diffrender.tools.bench_ipu_sweeps import Speeds, fit_power_law, law

CASES = [(m, d, b) for m in published.SIZES for d in published.DENSITIES for b in published.SIDES]


@pytest.mark.parametrize("constants", [published.POWER_LAW, (0.02, 0.3, -0.7, 0.4)])
def test_an_exact_power_law_is_found(constants: tuple[float, float, float, float]) -> None:
    exact = {(m, d, b): law(constants, m, 1 / d, b) for m, d, b in CASES}
    found = fit_power_law(exact)
    for case in CASES:
        m, d, b = case
        assert law(found, m, 1 / d, b) == pytest.approx(exact[case], rel=1e-3)
    assert found[1:] == pytest.approx(constants[1:], abs=1e-3)


def test_the_published_law_gives_the_sheets_values() -> None:
    """popsparse.md, section 1.8, table "Power-law fit": m = 4096, b = 1 and 16, d = 1/16."""
    assert law(published.POWER_LAW, 4096, 1 / 16, 1) == pytest.approx(0.79, abs=0.01)
    assert law(published.POWER_LAW, 4096, 1 / 16, 16) == pytest.approx(3.14, abs=0.03)


def test_the_published_grid_is_whole() -> None:
    grid = published.speed_up_grid()
    assert len(grid) == 4 * 5 * 4 * 5
    assert sum(value is not None for value in grid.values()) == 389  # as the sheet counts them
    assert grid[16, 4096, 16, 1024] == 3.89
    assert grid[1, 8192, 4, 256] is None


@given(st.lists(st.floats(1, 100), min_size=1, max_size=6))
def test_labels_are_pushed_apart_and_keep_their_order(heights: list[float]) -> None:
    placed = _apart(heights, 1.2)
    assert all(new >= old for new, old in zip(placed, heights, strict=True))
    for low, high in zip(sorted(placed)[:-1], sorted(placed)[1:], strict=True):
        assert high >= low * 1.2 * (1 - 1e-12)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(np.array(placed)[order]) > 0).all()


def test_figures_are_small_and_drawn_alike_twice(tmp_path: Path) -> None:
    at = [float(d) for d in published.DENSITIES]
    curves = [Curve("static, b = 1", "static", at, [1, 2, 3, 4], [1, 2, 2, 5])]
    cases = {case: law(published.POWER_LAW, case[0], 1 / case[1], case[2]) for case in CASES}
    cells = [Cell(side, 1.0, 2.0, 1.5) for side in published.SIDES]
    drawn = [
        draw(Figures(curves, curves, curves, cases, published.POWER_LAW, cells), tmp_path / name)
        for name in ("one", "two")
    ]
    assert [path.name for path in drawn[0]] == [path.name for path in drawn[1]]
    for one, two in zip(*drawn, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes().startswith(b"\x89PNG")
        assert one.stat().st_size < 150_000


def test_figures_of_the_page_are_there_and_small() -> None:
    images = Path(__file__).resolve().parents[2] / "docs" / "images"
    found = {path.name: path.stat().st_size for path in images.glob("ipu_*.png")}
    names = {"ipu_density.png", "ipu_blocks_sizes.png", "ipu_power_law.png", "ipu_grid.png"}
    assert set(found) == names
    assert max(found.values()) < 150_000


def test_speeds_know_what_does_not_fit() -> None:
    speeds = Speeds(1, (4096,))
    assert speeds.static(4096, 16, 4, 4096) is None
    assert speeds.best("static", 4096, 16, 4) == 0.0
    assert speeds.best("dense", 1024, 16, 4) == pytest.approx((speeds.dense(1024, 4096) or 0.0) / 4)
    single = speeds.dynamic(1024, 16, 16, 64, torch.float32)
    assert single == speeds.dynamic(1024, 8, 16, 64, torch.float32)


def test_the_parts_report_what_is_published_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_ipu, "SIZE", 1024)
    report = Report([])
    speeds = Speeds(1, (64,))
    curves = bench_ipu._density(report, speeds)
    assert [curve.name for curve in curves] == list(published.DENSITY_SWEEP)
    row = next(r for r in report.rows if "d = 1/16, b = 16" in r.case and "static" in r.operation)
    found = speeds.best("static", 1024, 16, 16)
    assert row.value == found
    assert row.ratio == pytest.approx(found / 69.4)
    cases, fitted = bench_ipu._power_law(report, speeds, (256, 1024))
    assert len(cases) == 32 and len(fitted) == 4
    target = report.targets[-1]
    assert target.value is not None and target.met == (target.value > 50)


def test_an_uneven_mask_costs_rounds() -> None:
    report = Report([])
    bench_ipu._propagation(report)
    ratios = [row.ratio or 0.0 for row in report.rows]
    assert ratios[0] == 1.0
    assert ratios == sorted(ratios)
    assert ratios[-1] > 1.2


def test_figures_go_where_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def stand_in(*, quick: bool, figures: Path | None) -> Report:
        asked.append(figures)
        return Report([])

    monkeypatch.setattr(bench_ipu, "bench_ipu", stand_in)
    bench.run("ipu", quick=True)
    bench.run("ipu", quick=True, choice=tmp_path)
    assert asked == [Path("out/ipu"), tmp_path]
    with pytest.raises(InputError, match="'raster' got a .*Path, it takes: none"):
        bench.run("raster", quick=True, choice=tmp_path)
