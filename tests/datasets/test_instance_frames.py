"""Pictures with exact masks on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffrender.datasets.depth_frames import FrameJob
from diffrender.datasets.instance_frames import (
    main,
    write_instance_frames,
)
from diffrender.datasets.synthetic import StreetSettings, SyntheticStreets
from diffrender.datasets.synthetic_owners import owner_map
from diffrender.errors import InputError
from diffrender.instances import box_of_mask
from diffrender.instances.street.train_data import load_owned

STREETS = StreetSettings(cars=(8, 11), van_share=0.4)


def test_an_owner_map_is_the_masks_of_the_truth() -> None:
    frame = SyntheticStreets(3, 1, (188, 622), STREETS)[0]
    owner = owner_map(frame)
    vans = cars = 0
    for vehicle in frame.truth:
        if not vehicle.mask.any():
            continue
        names = np.unique(owner[vehicle.mask])
        assert len(names) == 1
        _, top, _, bottom = box_of_mask(vehicle.mask)
        if bottom - top < 14 or vehicle.mask.sum() < 100:
            assert names[0] == 255
        else:
            assert (names[0] >= 128) == (vehicle.category == "Van")
            assert np.array_equal(owner == names[0], vehicle.mask)
            vans += vehicle.category == "Van"
            cars += vehicle.category == "Car"
    assert cars >= 2 and vans >= 1
    shown = np.any([v.mask for v in frame.truth], axis=0)
    assert np.array_equal(owner > 0, shown)


def test_files_hold_the_streets_and_a_job_goes_on(tmp_path: Path) -> None:
    job = FrameJob(tmp_path, 2, (96, 320), seed=4, settings=STREETS)
    (path,) = write_instance_frames(job)
    some = load_owned(tmp_path)
    streets = SyntheticStreets(4, 2, (96, 320), STREETS)
    for k in range(2):
        assert np.array_equal(some.images[k], streets[k].image)
        assert np.array_equal(some.owner[k], owner_map(streets[k]))
    written = path.stat().st_mtime_ns
    assert write_instance_frames(job) == [path]
    assert path.stat().st_mtime_ns == written


def test_the_command_and_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--out", str(tmp_path), "--count", "1", "--size", "64", "224", "--workers", "1"])
    assert "1 files in" in capsys.readouterr().out
    assert load_owned(tmp_path).images.shape == (1, 64, 224, 3)
    with pytest.raises(InputError, match="a count of 0 and 1 workers"):
        write_instance_frames(FrameJob(tmp_path, 0))
