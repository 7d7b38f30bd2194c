"""Outputs that are inputs too."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffrender.errors import InputError
from diffrender.tools.given import keep_inputs


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    folder, file = tmp_path / "labels", tmp_path / "calib.txt"
    folder.mkdir()
    inside = folder / "000001.txt"
    for path in (file, inside):
        path.write_text("mine")
    for output in (file, inside, tmp_path / "labels" / ".." / "calib.txt"):
        with pytest.raises(InputError, match=r"is read as an input and would be written over"):
            keep_inputs([None, output], [folder, file, None])
    keep_inputs([folder / "new.txt", tmp_path / "other.txt"], [folder, file])
    (tmp_path / "other.txt").write_text("an older result beside an input")
    keep_inputs([tmp_path / "other.txt"], [folder, str(file)])
