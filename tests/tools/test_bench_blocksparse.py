"""The parts of `diffrender bench blocksparse` that can be tested without a clock."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffrender.native import reason_missing
from diffrender.tools import bench_blocksparse
from diffrender.tools.bench_blocksparse_cells import Cell, calls_of, pattern_of
from diffrender.tools.bench_blocksparse_goals import goals, worst
from diffrender.tools.bench_blocksparse_grid import (
    QUICK,
    Grid,
    Measured,
    grid,
    groups_of,
    row_of,
    timed,
)
from diffrender.tools.bench_format import Report

needs_kernels = pytest.mark.skipif(reason_missing() is not None, reason="no native kernels")


def _measured(gain: float, **changes: object) -> Measured:
    cell = dataclasses.replace(Cell(1024, 256, 8, 0.5), **changes)  # type: ignore[arg-type]
    return Measured(cell, [1.0], [gain])


def test_share_of_the_ideal_is_gain_times_density() -> None:
    one = Measured(Cell(64, 8, 4, 1 / 8), [2.0, 1.0, 9.0], [8.0, 8.0, 8.0])
    assert (one.gain, one.share) == (4.0, 0.5)
    row = row_of(one)
    assert (row.value, row.unit, row.ratio) == (2000.0, "ms", 0.25)
    assert row.case == "m=k=64, n=8, d=0.125, b=4, x (k, n), threads: 1"


def test_the_worst_cell_is_named_and_those_below_are_counted() -> None:
    cells = [_measured(1.9), _measured(1.2, n=512), _measured(1.4, block=16)]
    target = worst("forward", cells, 0.75, lambda one: one.share)
    assert (target.value, target.met) == (pytest.approx(0.6), False)
    assert "worst of 3 cells (m=k=1024, n=512, d=0.5, b=8" in target.name
    assert "2 below the goal" in target.name


def test_goals_look_at_their_own_cells() -> None:
    cells = [
        _measured(2.0),
        _measured(0.1, n=16),  # few columns: no goal
        _measured(0.9, density=0.75),
        _measured(1.5, product="grad_input"),
        _measured(15.0, side=4096, block=16, density=1 / 16),
    ]
    found = {target.name.split(":")[0]: target for target in goals(cells)}
    assert found["forward, b >= 8"].value == pytest.approx(15 / 16)
    assert found["grad_input, b >= 8"].met
    assert found["forward, b >= 8, d = 0.75"].value == pytest.approx(0.9)
    assert found["forward, b >= 4, d <= 1/2"].value == 2.0
    assert found["forward, m=k=4096, d=1/16, b=16"].met
    assert (found["forward, b = 1"].value, found["forward, b = 1"].met) == (None, False)


def test_groups_share_a_dense_product_and_lose_no_cell() -> None:
    cells = []
    for group in groups_of(QUICK, 2):
        assert len({dataclasses.replace(cell, block=1) for cell in group}) == 1
        cells += group
    assert len(cells) == len(set(cells)) == (3 + 1) * 2 * 4 * 3
    assert cells[0] == Cell(1024, 256, 1, 0.75, threads=2)


@needs_kernels
@pytest.mark.parametrize("product", ["forward", "grad_input", "grad_weight"])
@pytest.mark.parametrize("features_last", [False, True])
def test_sparse_and_dense_calls_give_the_same_kind(product: str, features_last: bool) -> None:
    cell = Cell(32, 6, 4, 0.5, product, features_last)
    shape = (6, 32) if features_last else (32, 6)
    x, dy = torch.randn(shape), torch.randn(shape)
    sparse, dense = calls_of(cell, torch.randn(32, 32), x, dy)
    if product == "grad_weight":
        pattern = pattern_of(32, 4, 0.5)
        blocks = dense().view(8, 4, 8, 4).transpose(1, 2)
        wanted = blocks[pattern.row_indices.long(), pattern.column_indices.long()]
        torch.testing.assert_close(sparse(), wanted)
    else:
        assert sparse().shape == dense().shape == shape


@needs_kernels
def test_what_there_was_no_time_for_is_counted() -> None:
    report = Report([])
    assert grid(report, dataclasses.replace(Grid(), limit=-1.0)) == []
    assert [row.unit for row in report.rows] == ["timings"]
    assert report.rows[0].value > 100


def test_without_kernels_there_is_one_row_and_no_goal_is_met(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_blocksparse, "reason_missing", lambda: "absent")
    report = bench_blocksparse.bench_blocksparse(quick=True)
    assert [row.operation for row in report.rows] == [
        "not timed: the kernels are not compiled (absent)"
    ]
    assert not any(target.met for target in report.targets)


def test_no_call_always_follows_the_same_one() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    seconds = timed(calls, 60.0)
    assert {len(values) for values in seconds.values()} == {30}
    counted = order[6:]  # a round that warms up and one that tells how long rounds take
    assert all(sorted(counted[i : i + 3]) == list("abc") for i in range(0, len(counted), 3))
    before_a = {counted[i - 1] for i in range(1, len(counted)) if counted[i] == "a"}
    assert before_a >= {"b", "c"}
