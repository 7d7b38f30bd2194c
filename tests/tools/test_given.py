"""Outputs that are inputs too."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_files import command_line, refused, write_street
from typer.testing import CliRunner

from diffrender.errors import InputError
from diffrender.tools.app import app
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


def test_a_scene_is_not_written_over_its_inputs(tmp_path: Path) -> None:
    files = write_street(tmp_path)
    for name in ("result.json", "a_b.txt", "objects/car_1.png"):
        masks = tmp_path / name
        masks.parent.mkdir(exist_ok=True)
        masks.write_text("mine")
        given = masks.parent if name.startswith("objects") else masks
        image = Path(files["street.png"]).rename(tmp_path / "a b.png")
        inputs = files | {"street.png": str(image), "masks.png": str(given)}
        command = command_line(inputs, "--out", str(tmp_path))
        refused(CliRunner().invoke(app, command), f"{masks.name} is read as an input")
        assert masks.read_text() == "mine"
        image.rename(files["street.png"])


def test_a_frame_is_not_written_over_masks_of_its_split(tmp_path: Path) -> None:
    training = tmp_path / "training"
    for folder in ("image_2", "boxes"):
        (training / folder).mkdir(parents=True)
    masks = training / "boxes" / "000003.txt"
    masks.write_text("mine")
    command = ["reconstruct", "--kitti", str(tmp_path), "--frame", "000003", "--masks", "boxes"]
    more = ["--depth", "none", "--method", "box", "--out", str(masks.parent)]
    refused(CliRunner().invoke(app, [*command, *more]), "000003.txt is read as an input")
    assert masks.read_text() == "mine"
