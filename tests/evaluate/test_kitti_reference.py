"""Agreement with the official devkit and its Python port on two real result sets."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from kitti_scene import BACKENDS

from diffrender.evaluate import (
    KittiReport,
    KittiSettings,
    kitti_average_precision,
    read_split,
)

SETS = ("pointgnn_val", "shenlan_val")
LEVELS = ("easy", "moderate", "hard")


@cache
def _report(shared: Path, name: str) -> KittiReport:
    data = shared / "data"
    return kitti_average_precision(
        data / "kitti_label_2.tar.gz",
        data / "results" / f"{name}.tar.gz",
        read_split(data / "kitti" / "ImageSets" / "val.txt"),
    )


@pytest.mark.skipif("native" not in BACKENDS, reason="minutes without the native kernels")
@pytest.mark.parametrize("name", SETS)
def test_every_printed_figure_agrees_to_its_last_digit(shared: Path, name: str) -> None:
    expected = json.loads((shared / "reference" / "kitti_eval" / "expected.json").read_text())
    report = _report(shared, name)
    assert report.inputs.frames == 3769
    compared = 0
    for kind, tables in expected[name].items():
        for title, protocols in tables.items():
            minimum = float(title.split("3d@")[1])
            for protocol, metrics in protocols.items():
                for metric, values in metrics.items():
                    for level, value in zip(LEVELS, values, strict=True):
                        kind_of = {"bbox": "2d"}.get(metric, metric)
                        flat = kind_of in ("2d", "aos")
                        overlap = next(
                            r.overlap for r in report[kind].rows if flat or r.minimum == minimum
                        )
                        line = report[kind].row(kind_of, level, overlap)
                        ours = line.ap(int(protocol[1:]))
                        # AOS is printed with two decimals, the others with four.
                        assert round(ours, 2 if metric == "aos" else 4) == value, (kind, title)
                        compared += 1
    assert compared == {"pointgnn_val": 48, "shenlan_val": 108}[name]


@pytest.mark.skipif("native" not in BACKENDS, reason="minutes without the native kernels")
@pytest.mark.parametrize("name", SETS)
def test_the_precision_curves_agree(shared: Path, name: str) -> None:
    report = _report(shared, name)
    files = sorted((shared / "reference" / "kitti_eval" / f"precision_{name}").glob("*.txt"))
    assert files
    for path in files:
        kind = path.stem.split("_")[1].capitalize()
        for level, curve in zip(LEVELS, np.loadtxt(path), strict=True):
            ours = report[kind].row("2d", level).curve.sampled
            assert ours == pytest.approx(curve, abs=1e-6)


@pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels to compare with")
def test_the_back_ends_agree_on_real_frames(shared: Path) -> None:
    data = shared / "data"
    frames = read_split(data / "kitti" / "ImageSets" / "val.txt")[:150]
    native, python = (
        kitti_average_precision(
            data / "kitti_label_2.tar.gz",
            data / "results" / "shenlan_val.tar.gz",
            frames,
            KittiSettings(backend=backend),
        )
        for backend in ("native", "python")
    )
    for ours, other in zip(native.classes, python.classes, strict=True):
        assert len(ours.rows) == len(other.rows) > 0
        for line, twin in zip(ours.rows, other.rows, strict=True):
            assert (line.r40, line.r11) == pytest.approx((twin.r40, twin.r11), abs=1e-9)
            assert line.false_positives == twin.false_positives
        assert [b.r40 for b in ours.bands] == pytest.approx([b.r40 for b in other.bands], abs=1e-9)
