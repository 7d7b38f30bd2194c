"""`diffrender train predictor`, in one process, in two, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffrender.datasets import StreetSettings, SyntheticStreets, write_kitti
from diffrender.predict import load_predictor
from diffrender.tools.app import app

NEAR = StreetSettings(cars=(1, 2), distance=(6.0, 14.0), clutter=0.2)
OPTIONS = ["--steps", "2", "--batch", "4", "--every", "1", "--backbone", "test_resnet",
           "--hypotheses", "4", "--depth", "depth_2"]  # fmt: skip


def folder(root: Path) -> Path:
    """Ten tiny frames: two files of samples."""
    return write_kitti(SyntheticStreets(1, 10, (64, 208), NEAR), root)


def test_from_a_folder_in_pieces(tmp_path: Path) -> None:
    root = folder(tmp_path / "kitti")
    (root / "training" / "depth_2" / "000003.png").unlink()
    arguments = ["train", "predictor", "--kitti", str(root), "--out", str(tmp_path / "run"),
                 *OPTIONS, "--density", "0.5"]  # fmt: skip
    runner = CliRunner()
    first = runner.invoke(app, [*arguments, "--pause-after", "0"])
    assert first.exit_code == 0, first.output
    assert "the same command goes on" in first.output
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "left out: frame 3: " in done.stderr
    assert "has no depth map of frame 000003" in " ".join(done.stderr.split())
    assert "predictor.safetensors" in done.output
    config = load_predictor(tmp_path / "run" / "predictor.safetensors").config
    assert config.sparsity is not None and config.sparsity.density == 0.5
    weights = tmp_path / "run" / "predictor.safetensors"
    bits = weights.read_bytes()
    weights.unlink()
    again = runner.invoke(app, arguments)
    assert "already ended" in again.output
    assert weights.read_bytes() == bits  # what it says it wrote is there
    other = runner.invoke(app, [*arguments, "--rate", "0.01"])
    assert other.exit_code == 2
    assert "run with other settings" in " ".join(other.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --kitti ROOT or --streets N"),
        (["--streets", "0"], "--streets is 0"),
        (["--streets", "20", "--masks", "mine"], "--masks goes with --kitti"),
        (["--streets", "20", "--depth", "lidar"], "--depth goes with --kitti"),
        (["--streets", "20", "--pause-after", "-1"], "--pause-after is -1"),
        (["--kitti", "nowhere"], "nowhere is not a folder"),
        (["--streets", "20", "--steps", "0"], "TrainSettings.steps is 0"),
        (["--streets", "20", "--density", "7"], "density is 7"),
    ],
)
def test_refusals(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["train", "predictor", "--out", str(tmp_path), *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "depth_9"], "--depth depth_9 is neither a folder of maps beside"),
        (["--backbone", "no_such"], "has no backbone 'no_such'"),
        (["--tensorboard"], "pip install 'diffrender[train]'"),
    ],
)
def test_what_no_sample_can_mend_is_refused_before_the_first(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("diffrender.predict.prepare", lambda *_, **__: pytest.fail("made samples"))
    root = write_kitti(SyntheticStreets(1, 1, (64, 208), NEAR), tmp_path / "kitti")
    command = ["train", "predictor", "--kitti", str(root), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*command, *arguments])
    assert done.exit_code == 2, done.output
    assert message in done.stderr


@pytest.mark.slow
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    root = folder(tmp_path / "kitti")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", "2", "-m", "diffrender.tools.train", "predictor",
               "--kitti", str(root), "--out", str(tmp_path / "run"), *OPTIONS]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    load_predictor(tmp_path / "run" / "predictor.safetensors")
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """SIGKILL again and again: the run still ends, with the bits of an undisturbed one."""
    root = folder(tmp_path / "kitti")
    options = [o if o != "2" else "12" for o in OPTIONS]
    command = [sys.executable, "-m", "diffrender.tools.train", "predictor", "--kitti", str(root),
               *options, "--samples", str(tmp_path / "samples")]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole = subprocess.run(
        [*command, "--out", str(tmp_path / "whole")], env=environment, capture_output=True
    )
    assert whole.returncode == 0
    cut = tmp_path / "cut"
    kills = 0
    while kills < 3:
        process = subprocess.Popen(
            [*command, "--out", str(cut)], env=environment, stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        log = cut / "log.csv"
        before = log.stat().st_mtime_ns if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_mtime_ns == before):
            time.sleep(0.01)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills == 3
    last = subprocess.run([*command, "--out", str(cut)], env=environment, capture_output=True)
    assert last.returncode == 0
    weights = (d / "predictor.safetensors" for d in (cut, tmp_path / "whole"))
    one, two = (file.read_bytes() for file in weights)
    assert one == two
