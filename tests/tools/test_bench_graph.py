"""The benchmarks of the graph network: what their reports hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import MissingExtraError
from diffrender.graph import GraphNetwork, GraphSettings
from diffrender.tools import bench_graph as speed
from diffrender.tools import bench_mesh_denoising as denoising
from diffrender.tools.bench_format import Report
from diffrender.tools.bench_graph_peers import gps_network, width_of_equal_size


def test_speed_report_compares_with_peers_of_known_size() -> None:
    pytest.importorskip("torch_geometric")
    case = speed._molecules(2)
    settings = GraphSettings(layers=1, node_width=32, edge_width=16, global_width=16, heads=4)
    report = Report(rows=[])
    two = speed._Case("two", case.batch, settings, SparsityConfig(0.5, 16))
    speed._measure(report, two, 1)
    ours, peers = 2, 3
    for what in ("training step", "inference"):
        rows = [r for r in report.rows if r.operation.startswith(what)]
        assert len(rows) == ours * peers + peers
        assert all(r.value > 0 and r.unit == "graphs/CPU s" for r in rows)
        rates = {r.operation.removeprefix(f"{what}, "): r.value for r in rows}
        for row in rows:
            if row.peer:
                assert row.ratio == pytest.approx(row.value / rates[row.peer])
        assert sum("ours, block-sparse 0.5" in r.operation for r in rows) == peers
    assert len(report.targets) == 2 * ours * peers
    assert all(t.met == (t.value >= 2) for t in report.targets)


@pytest.mark.parametrize("hardware", [True, False])
def test_speed_in_half_precision_is_measured_where_the_processor_has_it(
    hardware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "multiplies", lambda dtype: hardware)
    seen = []

    def ours(net: GraphNetwork, case: speed._Case):
        return lambda: seen.append(torch.is_autocast_enabled("cpu"))

    for name in ("_our_step", "_our_inference"):
        monkeypatch.setattr(speed, name, ours)
    monkeypatch.setattr(speed, "gps_network", _missing)
    settings = GraphSettings(layers=1, node_width=32, edge_width=16, global_width=16, heads=4)
    report = Report(rows=[])
    speed._measure(report, speed._Case("one", speed._molecules(1).batch, settings, half=True), 1)
    half = [r for r in report.rows if "in bfloat16" in r.operation]
    assert len(half) == (2 if hardware else 0)
    assert any(seen) == hardware
    assert not all(seen)


def _missing(*_: object) -> None:
    raise MissingExtraError("PyG is not here")


def test_peers_have_the_size_that_is_asked_for() -> None:
    pytest.importorskip("torch_geometric")
    settings = GraphSettings()
    width = width_of_equal_size(settings, 11_538_517)
    assert width % settings.heads == 0
    net = gps_network(settings, "GINE", width)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(11_538_517, rel=0.12)


def test_meshes_of_the_speed_benchmark_are_whole() -> None:
    case = speed._meshes(2)
    assert case.batch.node_counts.tolist() == [530, 530]
    assert case.batch.layout is not None
    assert case.batch.layout.count == 2 * 530**2


def test_denoising_scores_are_kept_and_told_apart(tmp_path: Path, monkeypatch) -> None:
    cars = denoising._Set("cars", denoising._procedural(1))
    monkeypatch.setattr(denoising, "_SAMPLES", 100)
    monkeypatch.setattr(denoising, "_FIT", denoising.FitSettings(iterations=2, samples=100))
    scores = denoising._kept(cars, 0.05, tmp_path)
    assert set(scores) == {"as it came", "smoothing", denoising.GRAPH, denoising.PCA, denoising.NET}
    assert all(0 < c < 500 and 0 < iou <= 1 for [[c, iou]] in scores.values())
    monkeypatch.setattr(denoising, "_scores", None)  # nothing is computed twice
    assert denoising._kept(cars, 0.05, tmp_path) == scores
    report = Report(rows=[])
    denoising._report(report, cars, 0.05, scores)
    assert len(report.rows) == 10
    assert len(report.targets) == 2


def test_held_out_cars_are_others_than_those_of_training() -> None:
    first = denoising._procedural(1)[0][0]
    generator = torch.Generator().manual_seed(1)  # training's, with its default seed
    for _ in range(50):
        vertices, _ = denoising.draw_car(generator)
        assert not torch.equal(vertices, first)
