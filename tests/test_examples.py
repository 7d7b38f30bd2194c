"""The examples run as they stand, and do what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from python_runs import run_python

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_reconstruct_example_writes_a_scene(tmp_path: Path) -> None:
    lines = (
        run_python("-W", "error", EXAMPLES / "reconstruct.py", cwd=tmp_path).strip().splitlines()
    )
    assert len(lines) == 5
    assert lines[0].startswith("car_01 (")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {"scene.glb", "objects", "result.json", "overlay.png", "bev.png", "report.html"}
    assert expected < written
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert len(record["objects"]) == 5


def test_reconstruct_example_asks_for_a_frame(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "reconstruct.py"), "KITTI"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "reconstruct.py KITTI 000114 DIR" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_sparse_training_example_learns(tmp_path: Path) -> None:
    lines = (
        run_python("-W", "error", EXAMPLES / "sparse_training.py", cwd=tmp_path)
        .strip()
        .splitlines()
    )
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines[:-1]]
    assert len(losses) == 10 and losses[-1] < 0.5 * losses[0]
    assert "0 blocks changed" in lines[-2] and "0 blocks changed" not in lines[0]
    assert lines[-1] == "2 sparse layers at density 0.25"
