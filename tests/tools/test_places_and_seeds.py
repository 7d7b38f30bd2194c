"""Where commands write, and their seeds, are looked at before the work."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command_files import refused
from typer.testing import CliRunner

from diffrender.errors import InputError
from diffrender.tools.app import app
from diffrender.tools.given import check_places


@pytest.mark.parametrize(
    "line",
    [
        "train mesh-denoiser --out file/run",
        "train mesh-refiner --out file",
        "train predictor --streets 1 --out file/run",
        "train predictor --streets 1 --out run --samples file/samples",
        "train molecules --data absent --out file/run",
        "train molecules --data absent --out run --cache file/graphs",
        "synthetic write --count 1 --out file/streets",
        "synthetic molecules --out file/set",
        "evaluate kitti --labels absent --results absent --json file/report.json",
        "evaluate kitti --labels absent --results absent --markdown file/report.md",
        "evaluate kitti --labels absent --results absent --plots file/plots",
        "evaluate depth --pred absent --truth absent --json file/report.json",
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    refused(CliRunner().invoke(app, shlex.split(line)), "error: file")


@pytest.mark.parametrize("seed", ["-1", "9223372036854775808"])
@pytest.mark.parametrize(
    "line",
    [
        "train mesh-denoiser --out run",
        "train predictor --streets 1 --out run",
        "train molecules --data absent --out run",
        "prior learn --kind autoencoder --family car --out run/car.safetensors",
    ],
)
def test_seeds_that_torch_cannot_hold_are_refused(
    line: str, seed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [*shlex.split(line), "--seed", seed]
    refused(CliRunner().invoke(app, command), f"the seed is {seed}, expected a whole number from 0")


def test_places_of_files_and_folders(tmp_path: Path) -> None:
    check_places({"--json": tmp_path / "a" / "b.json", "--other": None}, [tmp_path / "c", None])
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "c").is_dir()
    with pytest.raises(InputError, match=r"--json .*/c is a folder, expected a file"):
        check_places({"--json": tmp_path / "c"})
