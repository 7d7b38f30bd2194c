"""The parts of `diffrender bench raster` that can be tested without a clock."""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.raster import soft_silhouette
from diffrender.tools import bench_raster, bench_raster_grid, bench_raster_peers
from diffrender.tools.bench_format import Report
from diffrender.tools.bench_raster_deodr import deodr_steps
from diffrender.tools.bench_raster_fit import exponent
from diffrender.tools.bench_raster_goals import Compared, growth, worst_cell
from diffrender.tools.bench_raster_grid import Grid, cells_of, grid, timed
from diffrender.tools.bench_raster_scene import Cell, full_step, operations, scene_of


@given(
    power=st.floats(-2, 3),
    scale=st.floats(1e-6, 1e3),
    sizes=st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True),
)
def test_exponent_of_an_exact_power(power: float, scale: float, sizes: list[int]) -> None:
    times = [scale * size**power for size in sizes]
    assert exponent(sizes, times) == pytest.approx(power, abs=1e-4)


def test_exponent_of_noisy_times_is_that_of_polyfit() -> None:
    sizes, times = [64, 128, 256, 512], [1.0, 1.7, 4.4, 7.1]
    wanted = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    assert exponent(sizes, times) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("sizes", "times", "message"),
    [
        ([4, 4], [1.0, 2.0], "1 different sizes, expected at least 2"),
        ([4, 8], [1.0], "2 sizes but 1 times"),
        ([4, 8], [1.0, 0.0], "not positive"),
    ],
)
def test_exponent_refuses(sizes: list[int], times: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        exponent(sizes, times)


def test_worst_cell_names_the_worst_and_lists_those_below() -> None:
    cells = [Cell(320, 64, 1), Cell(1280, 64, 1), Cell(5120, 64, 8)]
    ours = [[1.0, 1.0, 9.0], [1.0], [1.0]]  # the median counts
    peer = [[3.0], [1.5], [1.0]]
    compared = [Compared(c, 1, a, b) for c, a, b in zip(cells, ours, peer, strict=True)]
    rows, target = worst_cell("full", "deodr", 2.0, compared)
    assert [row.case for row in rows] == [str(cells[2]), str(cells[1])]
    assert [row.value for row in rows] == [1.0, 1.5]
    assert (target.goal, target.value, target.met) == (">= 2 x faster", 1.0, False)
    assert f"worst of 3 cells ({cells[2]}); 2 below the goal" in target.name
    rows, target = worst_cell("full", "deodr", 1.0, compared)
    assert (rows, target.met) == ([], True)


def test_goal_without_any_cell_is_not_met() -> None:
    rows, target = worst_cell("full", "deodr", 2.0, [])
    assert (rows, target.value, target.met) == ([], None, False)


def test_growth_takes_the_cheap_axis_and_single_images() -> None:
    times = {}
    for faces in (320, 1280, 5120):
        for size in (64, 256, 1024):
            times[Cell(faces, size, 1), "full forward"] = 1e-9 * size**2 * faces**0.5
            times[Cell(faces, size, 8), "full forward"] = 1.0
    rows, targets = growth(times)
    found = {row.operation: row.value for row in rows}
    assert found["full forward, growth in covered pixels, all sizes"] == pytest.approx(1.0)
    assert found["full forward, growth in faces, larger half"] == pytest.approx(0.5)
    assert len(rows) == 4
    assert [target.met for target in targets] == [True, True]
    steep = {(cell, name): seconds**1.3 for (cell, name), seconds in times.items()}
    assert [target.met for target in growth(steep)[1]] == [False, True]


def test_cells_come_cheapest_first_and_none_is_lost() -> None:
    cells = cells_of(Grid())
    assert len(set(cells)) == 5 * 5 * 3
    assert cells[0] == Cell(320, 64, 1)
    assert {cell.pixels for cell in cells[-5:]} >= {64 * 1024**2}


def test_no_sphere_has_that_many_faces() -> None:
    with pytest.raises(InputError, match="no icosphere has 1000 faces"):
        scene_of(Cell(1000, 64, 1))


def test_the_scene_covers_what_it_says() -> None:
    scene = scene_of(Cell(1280, 64, 2))
    assert not torch.equal(scene.vertices[0], scene.vertices[1])
    from diffrender.meshes import MeshBatch
    from diffrender.raster import rasterize

    mask = rasterize(MeshBatch.shared(scene.vertices, scene.faces), scene.camera).mask()
    assert float(mask.mean()) == pytest.approx(0.47, abs=0.02)


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")  # theirs
@pytest.mark.parametrize("batch", [1, 2])
def test_deodr_and_ours_draw_and_bring_back_the_same(batch: int) -> None:
    pytest.importorskip("deodr")
    scene = scene_of(Cell(1280, 128, batch))
    # The two blend edge pixels differently, which noise would weigh pixel by pixel, and DEODR
    # interpolates without perspective, which strong contrasts inside faces would show.
    ramp = torch.linspace(0, 1, 128)
    smooth = (ramp[:, None, None] + ramp[:, None]).expand(batch, 128, 128, 3).contiguous()
    plain = 0.5 + 0.5 * (scene.vertices - scene.vertices.mean(1, keepdim=True))
    scene = dataclasses.replace(scene, upstream=smooth, colours=plain)
    forward, both = full_step(scene)
    peer_forward, peer_both = deodr_steps(scene)
    peer_both()  # a second step must not see what the first did to its inputs
    image = forward().detach().numpy().reshape(batch, 128, 128, 3)
    assert np.abs(image - np.stack(peer_forward())).mean() < 0.02
    gradients = [np.stack(one) for one in zip(*peer_both(), strict=True)]
    for ours, theirs, least in zip(both(), gradients, (0.95, 0.995), strict=True):
        a, b = ours.numpy().astype(np.float64).ravel(), theirs.ravel()
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert cosine > least


def test_operations_run_alone_and_again() -> None:
    for soft, batch in ((True, 1), (False, 2)):
        calls = operations(scene_of(Cell(80, 16, batch)), soft=soft)
        assert len(calls) == (8 if soft else 6)
        for name, call in calls.items():
            first, second = call(), call()
            if name.endswith("backward"):
                assert any(float(one.abs().max()) > 0 for one in first)
                assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_dear_call_is_measured_once_and_a_cheap_one_often() -> None:
    assert len(timed({"dear": lambda: time.sleep(0.05)}, 0.01)["dear"]) == 1
    assert 3 <= len(timed({"cheap": lambda: None}, 0.01)["cheap"]) <= 200


def _report_of(axes: Grid) -> Report:
    report = Report([])
    grid(report, axes)
    return report


def test_grid_without_deodr_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "deodr" else found(n))
    report = _report_of(Grid((320,), (16, 32), (1,), budget=0.01))
    operations = [row.operation for row in report.rows]
    assert any(name.startswith("rasterize backward") for name in operations)
    assert not any("deodr" in name for name in operations)
    unmet = [target for target in report.targets if "no cell was timed" in target.name]
    assert unmet
    assert all(target.value is None and not target.met for target in unmet)


def test_cells_that_are_left_out_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_raster_grid, "_MOST_PIXELS", 300)
    report = _report_of(Grid((320,), (16, 32), (1,), budget=0.01, limit=-1.0))
    left = {row.case: row.operation for row in report.rows if row.unit == "timings"}
    assert left[str(Cell(320, 16, 1))] == "left out: the grid's -1 s were over"
    assert left[str(Cell(320, 32, 1))].startswith("left out: 0.0 million pixels, more than")


def test_missing_peers_give_a_row_each_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    report = Report([])
    bench_raster_peers.llvmpipe(report, quick=True)
    bench_raster_peers.mitsuba(report)
    bench_raster_peers.gpu(report)
    rows = {row.case: row.operation for row in report.rows}
    assert rows["peer llvmpipe"] == "not timed: moderngl is not installed"
    assert rows["peer mitsuba"] == "not timed: it is not installed"
    assert "peer nvdiffrast" in rows
    assert {(target.value, target.met) for target in report.targets} == {(None, False)}


def test_a_child_that_fails_is_a_reason_and_not_a_failure() -> None:
    assert "no icosphere has 7 faces" in str(
        bench_raster_peers.child("bench_raster_llvmpipe", 7, 16, 1, 1, seconds=60)
    )
    assert bench_raster_peers.child("no_such_module", seconds=60) != {}
    late = bench_raster_peers.child("bench_raster_llvmpipe", 20, 16, 1, 1, seconds=0.01)
    assert late == "no result after 0.01 s"


def test_recorded_reference_is_met(shared: Path) -> None:
    report = Report([])
    bench_raster_peers.soft_reference(report, shared)
    assert len(report.rows) == 2
    assert report.targets[0].met


def test_recorded_reference_that_is_absent_is_not_met(tmp_path: Path) -> None:
    report = Report([])
    bench_raster_peers.soft_reference(report, tmp_path)
    assert (report.targets[0].value, report.targets[0].met) == (None, False)


def test_published_time_is_marked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_raster_peers, "_PUBLISHED_CELL", Cell(20, 16, 1))
    monkeypatch.setenv("DIFFRENDER_SHARED", str(tmp_path))
    report = Report([])
    bench_raster_peers.pytorch3d(report, quick=True)
    published = next(row for row in report.rows if "not measured here" in row.operation)
    assert (published.value, published.unit) == (25000.0, "ms")
    assert "published 25 s" in report.targets[0].name


def test_whole_report_without_kernels_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_raster, "backends", lambda: {"native": "absent", "torch": None})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    asked: list[Grid] = []
    monkeypatch.setattr(bench_raster, "grid", lambda _, axes: asked.append(axes))
    report = bench_raster.bench_raster(quick=True)
    assert [row.case for row in report.rows] == ["peer deodr", "peer nvdiffrast", "peer all others"]
    assert asked == [Grid((320,), (64,), (1,))]


def test_soft_silhouette_of_the_benchmark_is_the_peers_setting() -> None:
    from diffrender.meshes import Mesh
    from diffrender.tools.bench_raster_scene import soft_step

    scene = scene_of(Cell(80, 16, 1))
    leaf = scene.vertices[0].clone().requires_grad_()
    alpha = soft_silhouette(Mesh(leaf, scene.faces), scene.camera, sigma=1e-4, faces_per_pixel=10)
    (wanted,) = torch.autograd.grad(alpha, leaf, scene.upstream[0, ..., 0])
    torch.testing.assert_close(soft_step(scene)()[0], wanted)
