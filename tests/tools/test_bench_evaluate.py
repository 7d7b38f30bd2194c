"""The evaluation's benchmark, on a small set that is laid out like the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archives import write_tar

from diffrender.tools import bench_evaluate
from diffrender.tools.bench import run

LABEL = "Car 0 0 0.2 100 100 200 180 1.5 1.6 4 2 1.6 20 0.3"


def _tar(path: Path, line: str) -> None:
    write_tar(path, {f"data/{frame:06d}.txt": line.encode() for frame in range(3)})


def test_speed_linearity_and_agreement_are_targets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tar(tmp_path / "data" / "kitti_label_2.tar.gz", LABEL)
    for name in bench_evaluate.SETS:
        _tar(tmp_path / "data" / "results" / f"{name}.tar.gz", f"{LABEL} 0.9")
    split = tmp_path / "data" / "kitti" / "ImageSets" / "val.txt"
    split.parent.mkdir(parents=True)
    split.write_text("000000\n000001\n000002\n")
    reference = tmp_path / "reference" / "kitti_eval"
    # Three perfect detections: R40 5, R11 9.0909 for the single sample at recall 0. One is wrong.
    figures = {"R40": {"bbox": [5.0, 5.0, 5.0]}, "R11": {"3d": [9.0909, 9.0909, 9.1]}}
    for name in bench_evaluate.SETS:
        (reference / f"precision_{name}").mkdir(parents=True)
        curve = " ".join(["1"] * 3 + ["0"] * 38)
        (reference / f"precision_{name}" / "stats_car_detection.txt").write_text(f"{curve}\n" * 3)
    expected = {name: {"Car": {"bbox@0.70 3d@0.70": figures}} for name in bench_evaluate.SETS}
    (reference / "expected.json").write_text(json.dumps(expected))
    monkeypatch.setenv("DIFFRENDER_SHARED", str(tmp_path))
    report = run("evaluate", quick=True)
    targets = {target.name: target for target in report.targets}
    assert targets[bench_evaluate.SPEED].met
    assert targets[bench_evaluate.LINEAR].value is not None
    assert targets[bench_evaluate.FIGURES].value == 2 * 5
    assert not targets[bench_evaluate.FIGURES].met
    assert targets[bench_evaluate.CURVES].met
    assert {row.case for row in report.rows} >= {
        "pointgnn_val, 3 frames",
        "pointgnn_val, 30 frames",
    }


def test_without_real_detections_nothing_counts_as_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIFFRENDER_SHARED", raising=False)
    monkeypatch.setattr(bench_evaluate, "FRAMES", 20)
    report = run("evaluate", quick=True)
    assert [row.case for row in report.rows] == ["made-up cars, 20 frames"]
    assert len(report.targets) == 4
    assert not any(target.met or target.value is not None for target in report.targets)
