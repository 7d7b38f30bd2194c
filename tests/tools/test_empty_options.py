"""Options given as empty text are refused by every command: "" is not the current folder."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from command_files import refused
from typer.testing import CliRunner

from diffrender.tools.app import app


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("depth '' --out a.npy", "IMAGE"),
        ("depth a.png --out ''", "--out"),
        ("depth a.png --out a.npy --calib ''", "--calib"),
        ("depth a.png --out a.npy --weights ''", "--weights"),
        ("depth a.png --out a.npy --model ''", "--model"),
        ("demo --out ''", "--out"),
        ("demo --depth ''", "--depth"),
        ("evaluate kitti --labels '' --results r", "--labels"),
        ("evaluate kitti --labels r --results ''", "--results"),
        ("evaluate kitti --labels r --results r --split ''", "--split"),
        ("evaluate kitti --labels r --results r --json ''", "--json"),
        ("evaluate kitti --labels r --results r --markdown ''", "--markdown"),
        ("evaluate kitti --labels r --results r --plots ''", "--plots"),
        ("evaluate depth --pred '' --truth r", "--pred"),
        ("evaluate depth --pred r --truth ''", "--truth"),
        ("evaluate depth --pred r --truth r --calib ''", "--calib"),
        ("evaluate lint ''", "RESULTS"),
        ("prior learn '' --out a.safetensors", "MESHES"),
        ("synthetic write --out ''", "--out"),
        ("synthetic molecules --out ''", "--out"),
        ("catalogue render gendr '' --out a.png", "MESH"),
        ("catalogue gallery --out site --results ''", "--results"),
        ("ablate --out ''", "--out"),
        ("ablate --out a --kitti ''", "--kitti"),
        ("ablate --out a --only ''", "--only"),
        ("train predictor --streets 1 --out ''", "--out"),
        ("train predictor --out a --kitti ''", "--kitti"),
        ("train predictor --out a --streets 1 --samples ''", "--samples"),
        ("train predictor --out a --kitti r --list ''", "--list"),
        ("train predictor --out a --streets 1 --prior ''", "--prior"),
        ("train mesh-denoiser --out ''", "--out"),
        ("train mesh-refiner --out ''", "--out"),
        ("train molecules --data '' --out a", "--data"),
        ("train molecules --data r --out ''", "--out"),
        ("train molecules --data r --out a --cache ''", "--cache"),
        ("train molecules --data r --out a --label ''", "--label"),
        ("predict molecules C --weights ''", "--weights"),
        ("predict molecules C --weights a --list ''", "--list"),
        ("predict molecules C --weights a --shares ''", "--shares"),
        ("bench ipu --json ''", "--json"),
        ("bench ipu --figures ''", "--figures"),
        ("bench catalogue --work ''", "--work"),
        ("bench priors --cars ''", "--cars"),
        ("bench molecules --data ''", "--data"),
    ],
)
def test_an_empty_value_is_refused_and_writes_nothing(
    line: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where "" would be looked for, and written to
    refused(CliRunner().invoke(app, shlex.split(line)), f"{option} is empty")
    assert not list(tmp_path.iterdir())
