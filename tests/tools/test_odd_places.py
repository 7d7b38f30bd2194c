"""Outputs that are links, devices, loops or each other; streams and disks that are full."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_files import refused, write_street
from typer.testing import CliRunner

from diffrender._files import atomic_path, write_text_atomic
from diffrender.datasets.synthetic import SyntheticStreets
from diffrender.datasets.synthetic_export import write_kitti
from diffrender.errors import InputError
from diffrender.tools import depth as depth_command
from diffrender.tools.app import app
from diffrender.tools.given import check_places


def test_a_link_is_followed_and_a_pipe_refused(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to("target.json")
    write_text_atomic(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="is a device or a pipe, expected a file to write"):
        write_text_atomic(pipe, "new")
    assert pipe.is_fifo()
    refused(CliRunner().invoke(app, ["catalogue", "list", "--json", str(pipe)]), "device or a pipe")


def test_errors_without_a_number_name_the_file(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with atomic_path(tmp_path / "d.npy") as temporary:
            temporary.touch()
            raise OSError("465750 requested and 51168 written")  # as numpy says it

    with pytest.raises(OSError, match="465750 requested") as caught:
        fill_the_disk()
    assert caught.value.filename == str(tmp_path / "d.npy")
    assert list(tmp_path.iterdir()) == []


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--json and --markdown are both"):
        check_places({"--json": tmp_path / "same", "--markdown": tmp_path / "." / "same"})


@pytest.mark.parametrize(
    "line",
    [
        "depth loop --out d.npy",
        "reconstruct street.png --calib calib.txt --masks loop --out out",
        "evaluate kitti --labels loop --results loop",
        "prior learn a.obj --kind autoencoder --out a.safetensors --checkpoint loop",
        "catalogue render dib-r loop --png out.png",
    ],
)
def test_links_in_a_loop_are_one_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_street(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_depth_beyond_a_pngs_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_street(tmp_path)
    monkeypatch.chdir(tmp_path)
    values = np.full((120, 200), 20.0, np.float32)
    values[:10] = 400.0
    monkeypatch.setattr(depth_command, "_predict", lambda *_: (values, "metric"))
    line = ["depth", "street.png", "--calib", "calib.txt", "--out", "d.png"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert "metres, 20.0 to 20.0" in result.stdout
    assert "2000 pixels beyond 255 m are unknown in the PNG" in result.stderr
    values[:] = 400.0
    refused(CliRunner().invoke(app, line), "all depths are beyond 255 m")


_CATALOGUE = "from diffrender.tools.app import app; app(['catalogue', 'list'])"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", _CATALOGUE],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "disk is full" in done.stderr


def test_a_folder_that_another_writer_has_begun_is_refused(tmp_path: Path) -> None:
    streets = SyntheticStreets(1, 1, (32, 96))

    def begun_meanwhile() -> object:
        (tmp_path / "training" / "image_2").mkdir(parents=True)
        return streets

    class Late(list):  # type: ignore[type-arg]
        def __iter__(self):  # type: ignore[no-untyped-def]
            begun_meanwhile() if not (tmp_path / "training").exists() else None
            return super().__iter__()

    with pytest.raises(InputError, match="is being written by another run"):
        write_kitti(Late([streets[0]]), tmp_path)


@pytest.mark.parametrize(
    "module", ["native", "datasets.synthetic_sample", "shape_priors.build_asset"]
)
def test_help_of_modules_does_nothing(module: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"diffrender.{module}", "--help"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "usage:" in done.stdout
    assert list(tmp_path.iterdir()) == []
