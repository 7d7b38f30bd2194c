"""Synthetic streets as KITTI files: the loader reads back what was true; the shipped sample."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffrender.datasets.kitti import KittiObject
from diffrender.datasets.kitti_calibration import load_calibration
from diffrender.datasets.kitti_labels import load_labels
from diffrender.datasets.synthetic import StreetSettings, SyntheticFrame, SyntheticStreets
from diffrender.datasets.synthetic_export import write_kitti
from diffrender.datasets.synthetic_sample import SAMPLE_DEPTH_NOISE, sample_folder, write_sample
from diffrender.errors import InputError
from diffrender.instances.load import load_instances
from diffrender.instances.record import box_of_mask


@pytest.fixture(scope="module")
def frames() -> list[SyntheticFrame]:
    return list(SyntheticStreets(3, 2, (125, 414)))


@pytest.fixture(scope="module")
def written(frames: list[SyntheticFrame], tmp_path_factory: pytest.TempPathFactory) -> KittiObject:
    return KittiObject(write_kitti(frames, tmp_path_factory.mktemp("kitti")))


def test_loader_reads_the_same_pictures_and_cameras(
    frames: list[SyntheticFrame], written: KittiObject
) -> None:
    assert written.names == written.split_list("val") == [frame.name for frame in frames]
    for frame, read in zip(frames, written, strict=True):
        assert np.array_equal(read.image, frame.image)
        for name in ("intrinsics", "rotation", "translation"):
            expected, got = getattr(frame.camera, name), getattr(read.camera, name)
            torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_loader_reads_the_labels_within_their_two_decimals(
    frames: list[SyntheticFrame], written: KittiObject
) -> None:
    for frame, read in zip(frames, written, strict=True):
        assert len(read.labels) == len(frame.truth) > 0
        for row, car in zip(read.labels, frame.truth, strict=True):
            assert row.type == car.category
            assert row.occluded == car.label.occluded
            for got, true in (
                (row.location, car.pose.location),
                (row.size_lwh, car.pose.size),
                ((row.rotation_y, row.alpha), (car.pose.yaw, car.pose.alpha)),
                (row.box, car.label.box),
            ):
                assert got == pytest.approx(true, abs=0.0051)


def test_loader_reads_the_same_instances(
    frames: list[SyntheticFrame], written: KittiObject
) -> None:
    for frame, read in zip(frames, written, strict=True):
        mine, theirs = frame.instances(), read.instances("instance_2")
        assert [one.name for one in mine] == [one.name for one in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert np.array_equal(a.mask, b.mask)
            assert a.category == b.category
            assert np.abs(np.subtract(b.box, _whole_box(frame, a.name))).max() <= 0.5


def _whole_box(frame: SyntheticFrame, name: str) -> tuple[float, float, float, float]:
    """A row's box bounds the whole car; only at the image's rim it is half a pixel off."""
    return next(box_of_mask(car.whole) for car in frame.truth if car.name == name)


def test_depth_is_written_in_256ths_of_a_metre(
    frames: list[SyntheticFrame], written: KittiObject
) -> None:
    import cv2

    for frame in frames:
        path = written.folder / "depth_2" / f"{frame.name}.png"
        read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert read.dtype == np.uint16
        near = frame.depth < 255.9
        assert np.abs(read[near] / 256 - frame.depth[near]).max() <= 1 / 512 + 1e-6
        assert (read[frame.depth > 256] == 0).all()


def test_nothing_is_overwritten(frames: list[SyntheticFrame], tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        write_kitti(frames, tmp_path)
    assert [path.name for path in (tmp_path / "training").iterdir()] == ["mine.txt"]


def test_shipped_sample_is_whole_small_and_consistent() -> None:
    folder = sample_folder()
    names = {"image.jpg", "calib.txt", "masks.png", "depth.png", "label.txt"}
    assert names <= {path.name for path in folder.iterdir()}
    assert sum((folder / name).stat().st_size for name in names) < 1.5 * 2**20
    import cv2

    image = cv2.imread(str(folder / "image.jpg"))
    assert image.shape == (375, 1242, 3)
    labels = load_labels(folder / "label.txt")
    assert 4 <= len(labels) <= 6
    camera = load_calibration(folder / "calib.txt").camera((375, 1242))
    found, rejected = load_instances(folder / "masks.png", image, labels=labels)
    assert len(found) == len(labels)
    assert not rejected
    depth = cv2.imread(str(folder / "depth.png"), cv2.IMREAD_UNCHANGED) / 256
    for one, row in zip(found, labels, strict=True):
        location = torch.tensor(row.location)
        middle = location - torch.tensor([0.0, row.height / 2, 0.0])
        pixel, z = camera.project(middle[None])
        left, top, right, bottom = box_of_mask(one.mask)
        if row.occluded == 0 and row.truncated == 0:
            assert left < float(pixel[0, 0]) < right
            assert top < float(pixel[0, 1]) < bottom
        noise = SAMPLE_DEPTH_NOISE["correlated"] * 3 + 0.02
        assert abs(np.median(depth[one.mask]) - float(z)) < row.length / 2 + noise * float(z)


def test_sample_can_be_made_anew(tmp_path: Path) -> None:
    paths = write_sample(tmp_path)
    assert {path.name for path in paths} == {path.name for path in tmp_path.iterdir()}
    assert len(load_labels(tmp_path / "label.txt")) >= 4


def test_two_frames_of_one_name_are_refused_before_anything_is_written(
    frames: list[SyntheticFrame], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="two frames are called '000000', expected a name"):
        write_kitti([*frames, frames[0]], tmp_path / "list")
    assert not (tmp_path / "list").exists()
    with pytest.raises(InputError, match="two frames are called '000000', expected a name"):
        write_kitti(iter([frames[0], frames[0]]), tmp_path / "stream")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"focal": (0, 0)}, "focal is (0, 0), expected more than 0"),
        ({"focal": (1, float("inf"))}, "focal is (1, inf), expected 0 <= low <= high, finite"),
        ({"camera_height": (0, 1)}, "camera_height is (0, 1), expected more than 0"),
        ({"clutter": -1}, "clutter is -1, expected a finite number of 0 or more"),
        ({"clutter": float("nan")}, "clutter is nan, expected a finite number of 0 or more"),
        ({"road_grade": -1}, "road_grade is -1, expected a finite number of 0 or more"),
        ({"pitch_degrees": float("nan")}, "pitch_degrees is nan, expected a finite number"),
        ({"roll_degrees": float("inf")}, "roll_degrees is inf, expected a finite number"),
    ],
)
def test_settings_that_no_street_can_have_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(f"StreetSettings.{message}")):
        StreetSettings(**settings)
