"""Crops of vehicles on disk."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from diffrender.datasets.heading_crops import CropJob, main, write_crops
from diffrender.datasets.synthetic import SyntheticStreets
from diffrender.errors import InputError
from diffrender.heading.train import load_crops


def test_crops_hold_what_the_streets_show(tmp_path: Path) -> None:
    (path,) = write_crops(CropJob(tmp_path, 1, side=64, seed=5))
    some = load_crops(tmp_path)
    frame = SyntheticStreets(5, 1)[0]
    shown = {i.name for i in frame.instances()}
    alphas = [
        c.pose.yaw - math.atan2(c.pose.location[0], c.pose.location[2])
        for c in frame.truth
        if c.name in shown
    ]
    assert 1 <= len(some) <= len(alphas)
    assert all(min(abs(a - b) for b in alphas) < 1e-5 for a in some.alpha)
    assert some.images.shape[1:] == (64, 64, 3)
    assert (some.masks.max(axis=(1, 2)) == 255).all()
    written = path.stat().st_mtime_ns
    assert write_crops(CropJob(tmp_path, 1, side=64, seed=5)) == [path]  # it goes on, not anew
    assert path.stat().st_mtime_ns == written


def test_the_command_and_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "crops_00000.npz", image=0)
    main(["--out", str(tmp_path), "--count", "1", "--workers", "1"])
    assert "1 files in" in capsys.readouterr().out
    other = tmp_path / "varied"
    main(["--out", str(other), "--count", "1", "--workers", "1", "--streets", "varied"])
    plain = write_crops(CropJob(tmp_path / "plain", 1))
    assert len(load_crops(other)) > 0
    assert (other / plain[0].name).read_bytes() != plain[0].read_bytes()
    with pytest.raises(InputError, match="a count of 0 and 1 workers"):
        write_crops(CropJob(tmp_path, 0))


@pytest.mark.parametrize("side", [0, -32, 100, 544])
def test_sides_the_network_cannot_read_are_refused(tmp_path: Path, side: int) -> None:
    with pytest.raises(InputError, match="from 32 to 512 in steps of 32"):
        CropJob(tmp_path, 1, side=side)
