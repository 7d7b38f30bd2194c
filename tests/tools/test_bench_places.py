"""Where a benchmark writes, and what it reads, is looked at before it measures."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command_files import refused
from typer.testing import CliRunner

from diffrender.tools import bench
from diffrender.tools.app import app


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raster --json file/report.json", "file: "),
        ("raster --json folder", "--json folder is a folder, expected a file"),
        ("ipu --figures file", "file: "),
        ("priors --work file/parts", "file/parts: "),
        ("molecules --work file/parts", "file/parts: "),
        ("catalogue --work file/parts", "file/parts: "),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_measurement(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_load", lambda _: pytest.fail("measured first"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    refused(CliRunner().invoke(app, ["bench", *shlex.split(line)]), message)


def test_real_frames_that_are_not_there_are_a_row_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFRENDER_SHARED", str(tmp_path))
    report = bench.run("reconstruct-real", quick=True)
    assert [(row.case, row.operation) for row in report.rows] == [
        ("real frames", "left out: DIFFRENDER_SHARED names no folder with data/kitti")
    ]
    assert not any(target.met for target in report.targets)
