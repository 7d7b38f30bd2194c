"""`python -m diffrender.…`: what the user can mend is one line, a bug keeps its traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from diffrender._commands import mendable, run_module
from diffrender.errors import InputError, MissingExtraError


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        ("depth.train", "--frames no --check no --out new", "no: no frames_*.npz"),
        ("heading.train", "--crops no --check no --backbone b --out new", "no: no crops_*.npz"),
        ("datasets.depth_frames", "--out new --count 0", "a count of 0 and 2 workers"),
        ("datasets.depth_frames", "--out file/new --count 1", "file/new: Not a directory"),
        ("datasets.heading_crops", "--out file --count 1", "file: File exists"),
    ],
)
def test_a_bad_call_is_one_line(module: str, options: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", f"diffrender.{module}", *options.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_bugs_keep_their_traceback() -> None:
    def broken() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        run_module(broken)
    assert mendable(OSError("no file named")) is None
    assert mendable(InputError("two\n lines")) == "two lines"
    assert mendable(MissingExtraError("pip install it")) == "pip install it"
    assert mendable(PermissionError(13, "Permission denied", "/out")) == "/out: Permission denied"
