"""`diffrender demo`; the accuracy of the full run is tested beside the reconstruction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffrender.datasets import load_labels, sample_folder
from diffrender.tools import demo
from diffrender.tools.app import app
from diffrender.tools.reconstruct import settings_for


def test_demo_compares_with_the_truth_and_names_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The render-free method shows the same road in a second.
    monkeypatch.setattr(demo, "settings_for", lambda *_: settings_for("box", None, None))
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    names = [item["name"] for item in record["objects"]]
    assert len(names) >= 4
    compared = result.stdout.split("against the truth")[1]
    assert all(name in compared for name in names)
    last = [line for line in result.stdout.splitlines() if line][-1]
    assert last.startswith("wrote ")
    written = [
        line.split()[1].rstrip(":") for line in result.stdout.splitlines() if "wrote" in line
    ]
    assert all(Path(name).exists() for name in written)
    assert str(tmp_path / "out" / "sample.txt") in written
    # Even boxes alone find the nearest car of the sample to within its own width.
    truth = load_labels(sample_folder() / "label.txt")
    nearest = min(record["objects"], key=lambda item: item["pose"]["location"][2])
    row = truth[int(nearest["name"].rsplit("_", 1)[1]) - 1]
    assert nearest["pose"]["location"] == pytest.approx(row.location, abs=1.6)
