"""`diffrender bench evaluate`: speed of the KITTI evaluation, and its agreement with the devkit.

The real detections need DIFFRENDER_SHARED to name a folder with data/results and the labels;
without it the speed is measured on rows made up here, and the targets count as not measured.
Files are read from the system's cache: every case is run once before it is timed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from diffrender.evaluate import (
    KittiReport,
    KittiSettings,
    kitti_average_precision,
    read_split,
)
from diffrender.evaluate.frame_files import FrameSource, open_frames
from diffrender.native import kernel_threads
from diffrender.tools.bench_format import Report, Row, Target, spread, time_calls

__all__ = ["bench_evaluate"]

SETS = ("pointgnn_val", "shenlan_val")
FRAMES = 3769
TIMES = 10
SPEED = "all metrics, 3769 val frames of pointgnn_val, parsing included"
LINEAR = f"time per frame of {TIMES} x the set over that of the set"
FIGURES = "printed AP figures that agree with the devkit to the last digit, of 156"
CURVES = "largest difference from the devkit's 41-point curves"


def bench_evaluate(*, quick: bool) -> Report:
    """Measure; `quick` repeats less, within 50 s."""
    report = Report(rows=[])
    repeats = 3 if quick else 9
    shared = os.environ.get("DIFFRENDER_SHARED")
    data = Path(shared) / "data" if shared else None
    with tempfile.TemporaryDirectory() as scratch:
        if data is None or not (data / "results").is_dir():
            _made_up(report, Path(scratch), repeats)
            for name, goal in ((SPEED, "<= 1.5 s"), (LINEAR, "<= 1.2"), (FIGURES, "156")):
                report.targets.append(Target(name, goal, None, False))
            report.targets.append(Target(CURVES, "<= 1e-6", None, False))
            return report
        _real(report, data, Path(scratch), quick)
    _agreement(report, data.parent)
    return report


def _real(report: Report, data: Path, scratch: Path, quick: bool) -> None:
    labels, split = data / "kitti_label_2.tar.gz", data / "kitti" / "ImageSets" / "val.txt"
    frames = read_split(split)
    for name in SETS[:1] if quick else SETS:
        archive = data / "results" / f"{name}.tar.gz"
        folders = (
            _unpacked(labels, frames, scratch / name / "labels"),
            _unpacked(archive, frames, scratch / name / "results"),
        )
        calls = {
            "from folders": _call(*folders, frames),
            "from tar.gz": _call(labels, archive, frames),
            "Car alone, from folders": _call(*folders, frames, KittiSettings(classes=("Car",))),
        }
        seconds = _timed(report, f"{name}, {len(frames)} frames", calls, 3 if quick else 9)
        if name == "pointgnn_val":
            value = seconds["from tar.gz"]
            report.targets.append(Target(SPEED, "<= 1.5 s", value, value <= 1.5))
            _linear(report, (labels, archive), frames)
            _twins(report, folders, frames[: 100 if quick else 1000])
            if not quick:
                _command(report, folders, split)


def _call(
    labels: FrameSource,
    results: FrameSource,
    frames: list[str] | None,
    settings: KittiSettings | None = None,
) -> Callable[[], object]:
    return lambda: kitti_average_precision(labels, results, frames, settings)


def _timed(
    report: Report, case: str, calls: dict[str, Callable[[], object]], repeats: int
) -> dict[str, float]:
    """Rows of calls that take turns; returns their medians in seconds."""
    medians = {}
    for name, values in time_calls(calls, repeats=repeats).items():
        medians[name] = statistics.median(values)
        operation = f"all metrics, {name}, {kernel_threads()} threads"
        report.rows.append(Row(case, operation, medians[name], "s", spread(values)))
    return medians


def _unpacked(archive: Path, frames: list[str], folder: Path) -> Path:
    """The frames' files in a folder."""
    folder.mkdir(parents=True)
    for name, content in zip(frames, open_frames(archive, "files").read(frames), strict=True):
        (folder / f"{name}.txt").write_bytes(content)
    return folder


def _linear(report: Report, archives: tuple[Path, Path], frames: list[str]) -> None:
    """The set against the same set ten times over, files already in memory."""
    sources = [
        dict(zip(frames, open_frames(archive, "files").read(frames), strict=True))
        for archive in archives
    ]
    once, many = (
        [
            {f"{copy}{name}": text for copy in range(times) for name, text in files.items()}
            for files in sources
        ]
        for times in (1, TIMES)
    )
    calls = {"once": _call(once[0], once[1], None), "many": _call(many[0], many[1], None)}
    seconds = {n: statistics.median(v) for n, v in time_calls(calls, repeats=2).items()}
    ratio = seconds["many"] / seconds["once"] / TIMES
    case = f"pointgnn_val, {TIMES * len(frames)} frames"
    row = Row(case, "all metrics, from memory", seconds["many"], "s", peer="10 x once", ratio=ratio)
    report.rows.append(row)
    report.targets.append(Target(LINEAR, "<= 1.2", ratio, ratio <= 1.2))


def _twins(report: Report, folders: tuple[Path, Path], frames: list[str]) -> None:
    calls = {
        backend: _call(*folders, frames, KittiSettings(backend=backend))
        for backend in ("native", "python")
    }
    seconds = {n: statistics.median(v) for n, v in time_calls(calls, repeats=1).items()}
    ratio = seconds["python"] / seconds["native"]
    case = f"pointgnn_val, {len(frames)} frames"
    report.rows.append(
        Row(case, "plain Python", seconds["python"], "s", peer="native", ratio=ratio)
    )


def _command(report: Report, folders: tuple[Path, Path], split: Path) -> None:
    """The whole command in a process of its own: mostly the loading of torch."""
    line = ["evaluate", "kitti", "--labels", str(folders[0]), "--results", str(folders[1])]
    start = "from diffrender.tools.app import main; main()"
    whole = [sys.executable, "-P", "-c", start, *line, "--split", str(split)]
    calls: dict[str, Callable[[], object]] = {
        "command": lambda: subprocess.run(whole, check=True, capture_output=True),
        "loading": lambda: subprocess.run([sys.executable, "-P", "-c", "import torch"], check=True),
    }
    seconds = {n: statistics.median(v) for n, v in time_calls(calls, repeats=2).items()}
    report.rows.append(
        Row(
            "pointgnn_val, the command", "whole process", seconds["command"], "s",
            peer="import torch alone", ratio=seconds["command"] / seconds["loading"],
        )
    )  # fmt: skip


def _agreement(report: Report, shared: Path) -> None:
    """Count the figures of the reference that are met to their last printed digit."""
    reference = shared / "reference" / "kitti_eval"
    if not (reference / "expected.json").is_file():
        report.targets.append(Target(FIGURES, "156", None, False))
        report.targets.append(Target(CURVES, "<= 1e-6", None, False))
        return
    expected = json.loads((reference / "expected.json").read_text())
    frames = read_split(shared / "data" / "kitti" / "ImageSets" / "val.txt")
    agreeing, worst = 0, 0.0
    for name in SETS:
        found = kitti_average_precision(
            shared / "data" / "kitti_label_2.tar.gz",
            shared / "data" / "results" / f"{name}.tar.gz",
            frames,
        )
        agreeing += _agreeing(found, expected[name])
        for path in sorted((reference / f"precision_{name}").glob("*.txt")):
            entry = found[path.stem.split("_")[1].capitalize()]
            for level, curve in zip(("easy", "moderate", "hard"), np.loadtxt(path), strict=True):
                ours = entry.row("2d", level).curve.sampled
                worst = max(worst, float(np.abs(ours - curve).max()))
    report.rows.append(Row("both result sets", "AP figures that agree", agreeing, "of 156"))
    report.targets.append(Target(FIGURES, "156", agreeing, agreeing == 156))
    report.targets.append(Target(CURVES, "<= 1e-6", worst, worst <= 1e-6))


# Class -> overlaps -> protocol -> metric -> figure per difficulty.
_Tables: TypeAlias = dict[str, dict[str, dict[str, dict[str, list[float]]]]]


def _agreeing(found: KittiReport, tables: _Tables) -> int:
    count = 0
    for name, by_overlap in tables.items():
        for title, protocols in by_overlap.items():
            minimum = float(title.split("3d@")[1])
            for protocol, metrics in protocols.items():
                for metric, values in metrics.items():
                    kind = "2d" if metric == "bbox" else metric
                    lines = [
                        r for r in found[name].rows
                        if r.metric == kind and (kind in ("2d", "aos") or r.minimum == minimum)
                    ]  # fmt: skip
                    digits = 2 if metric == "aos" else 4
                    ours = [round(line.ap(int(protocol[1:])), digits) for line in lines]
                    count += sum(a == b for a, b in zip(ours, values, strict=True))
    return count


def _made_up(report: Report, scratch: Path, repeats: int) -> None:
    """Frames of up to ten cars and as many detections, drawn from a fixed seed."""
    draw = np.random.default_rng(0)
    folders = [scratch / "labels", scratch / "results"]
    for folder in folders:
        folder.mkdir()
    for frame in range(FRAMES):
        rows: list[list[str]] = [[], []]
        for _ in range(int(draw.integers(0, 11))):
            x, z, yaw, score = draw.uniform([-20, 5, -3.1, 0], [20, 60, 3.1, 1])
            left = 600 + 700 * (x - 1) / z
            tail = f"{left} 150 {left + 1400 / z} {150 + 1100 / z} 1.5 1.6 4 {x} 1.6"
            rows[0].append(f"Car 0 0 0.1 {tail} {z} {yaw}")
            rows[1].append(f"Car -1 -1 0.1 {tail} {z + draw.normal(0, 0.3)} {yaw} {score}")
        for folder, lines in zip(folders, rows, strict=True):
            (folder / f"{frame:06d}.txt").write_text("\n".join(lines))
    calls = {"from folders": _call(folders[0], folders[1], None)}
    _timed(report, f"made-up cars, {FRAMES} frames", calls, repeats)
