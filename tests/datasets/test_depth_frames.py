"""Rendered frames for training, on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffrender.datasets.depth_frames import FrameJob, main, write_frames
from diffrender.datasets.synthetic import DEVELOPMENT_SEED, StreetSettings, SyntheticStreets
from diffrender.errors import InputError


def test_frames_on_disk_are_the_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = f"--count 2 --size 32 96 --seed {DEVELOPMENT_SEED} --streets plain --workers 1"
    main(["--out", str(tmp_path), *small.split()])
    assert capsys.readouterr().out == f"1 files in {tmp_path}\n"
    with np.load(tmp_path / "frames_00000.npz", allow_pickle=False) as arrays:
        image, depth, focal, height = (
            arrays[name] for name in ("image", "depth", "focal", "height")
        )
    frame = SyntheticStreets(DEVELOPMENT_SEED, 2, (32, 96), StreetSettings())[1]
    np.testing.assert_array_equal(image[1], frame.image)
    sky = frame.depth == 0
    assert np.isinf(depth[1][sky]).all()
    np.testing.assert_allclose(depth[1][~sky], frame.depth[~sky], rtol=1e-3)
    assert focal[1] == pytest.approx(float(frame.camera.intrinsics[0, 0]))
    assert height[1] == pytest.approx(frame.camera_height)
    assert 1.6 <= frame.camera_height <= 1.7


def test_cameras_at_other_heights(tmp_path: Path) -> None:
    small = f"--count 2 --size 32 96 --seed {DEVELOPMENT_SEED} --streets plain --workers 1"
    main(["--out", str(tmp_path), *small.split(), "--camera-height", "2.2", "2.6"])
    with np.load(tmp_path / "frames_00000.npz", allow_pickle=False) as arrays:
        height = arrays["height"]
    assert ((2.2 <= height) & (height <= 2.6)).all()
    assert height[0] != height[1]


def test_a_folder_says_what_its_files_are_of(tmp_path: Path) -> None:
    small = f"--count 2 --size 32 96 --seed {DEVELOPMENT_SEED} --streets plain --workers 1"
    main(["--out", str(tmp_path), *small.split()])
    main(["--out", str(tmp_path), *small.replace("--count 2", "--count 3").split()])
    for other in ("--camera-height 2.2 2.4", "--seed 5", "--size 64 96"):
        with pytest.raises(InputError, match="holds files of .* choose another folder"):
            main(["--out", str(tmp_path), *small.split(), *other.split()])


def test_finished_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "frames_00000.npz"
    path.write_bytes(b"done")
    assert write_frames(FrameJob(tmp_path, 1, (32, 96))) == [path]
    assert path.read_bytes() == b"done"
    with pytest.raises(InputError, match="at least 1 each"):
        write_frames(FrameJob(tmp_path, 0))
