"""The shipped street segmenter: its file, and that it finds what docs/segmenters.md says."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import diffrender.instances.street.files as street_files
from diffrender.datasets import KittiObject
from diffrender.datasets.synthetic import DEVELOPMENT_SEED, SyntheticStreets
from diffrender.datasets.synthetic_owners import owner_map
from diffrender.errors import InputError
from diffrender.instances import Instance, SegmenterSettings, create_segmenter, load_instances
from diffrender.instances.reading import read_image
from diffrender.instances.street import shipped_street
from diffrender.instances.street.check import check_street
from diffrender.instances.street.train_data import OwnedSet

SAMPLE = Path(str(resources.files("diffrender.datasets"))) / "sample"
SHARED = os.environ.get("DIFFRENDER_SHARED")


def overlap(one: Instance, other: Instance) -> float:
    return float((one.mask & other.mask).sum() / (one.mask | other.mask).sum())


@pytest.fixture(scope="module")
def found() -> list[Instance]:
    instances, rejected = create_segmenter("street").segment(read_image(SAMPLE / "image.jpg"))
    assert rejected == []
    return instances


def test_the_cars_of_the_sample_are_found(found: list[Instance]) -> None:
    image = read_image(SAMPLE / "image.jpg")
    truth, _ = load_instances(str(SAMPLE / "masks.png"), image, image_name="image")
    assert len(truth) >= 4
    overlaps = [max(overlap(car, one) for one in found) for car in truth]
    assert sum(o > 0.8 for o in overlaps) >= len(truth) - 1
    assert all(one.category in ("Car", "Van") for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].name in ("car_01", "van_01")
    masks = np.stack([one.mask for one in found])
    assert masks.sum(axis=0).max() == 1  # no pixel is of two


def test_settings_leave_out_the_less_sure(found: list[Instance]) -> None:
    image = read_image(SAMPLE / "image.jpg")
    one, _ = create_segmenter("street", settings=SegmenterSettings(most=1)).segment(image)
    assert len(one) == 1 and one[0].score == found[0].score
    least = (found[0].score + found[1].score) / 2
    sure, _ = create_segmenter("street", settings=SegmenterSettings(score=least)).segment(image)
    assert len(sure) == 1
    wide, _ = create_segmenter("street", settings=SegmenterSettings(mask=0.1)).segment(image)
    assert int(wide[0].mask.sum()) > int(found[0].mask.sum())


def test_streets_that_were_not_trained_on() -> None:
    streets = [SyntheticStreets(DEVELOPMENT_SEED, 304)[k] for k in range(300, 304)]
    frames = OwnedSet(
        np.stack([s.image for s in streets]), np.stack([owner_map(s) for s in streets])
    )
    report = check_street(shipped_street(), frames)
    assert report["found"] > 0.75
    assert report["iou"] > 0.8
    assert report["wrong"] < 1.5


def test_the_file_is_small_and_a_build_without_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(str(resources.files("diffrender.instances.street"))) / "assets"
    assert (path / "street.safetensors").stat().st_size < 8_000_000
    monkeypatch.setattr(street_files, "_SHIPPED", "absent.safetensors")
    shipped_street.cache_clear()
    with pytest.raises(InputError, match="no shipped street segmenter"):
        create_segmenter("street")
    monkeypatch.undo()
    shipped_street.cache_clear()


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file, expected a street segmenter"):
        create_segmenter("street", tmp_path / "none.safetensors")
    heading = Path(str(resources.files("diffrender.heading"))) / "assets/heading_street.safetensors"
    with pytest.raises(InputError, match=r"holds no 'diffrender.street'"):
        create_segmenter("street", heading)


@pytest.mark.skipif(SHARED is None, reason="DIFFRENDER_SHARED names no folder of real frames")
def test_cars_of_a_photograph_are_found() -> None:
    frame = KittiObject(Path(str(SHARED)) / "data" / "kitti")["000010"]
    found, _ = create_segmenter("street").segment(frame.image)
    shown = [
        i
        for i in frame.load_frame_instances("instance_2")[0]
        if i.category == "Car" and i.box[3] - i.box[1] > 40
    ]
    assert len(shown) >= 3
    overlaps = [max(overlap(car, one) for one in found) for car in shown]
    assert min(overlaps) > 0.5  # all of them found, as docs/segmenters.md counts
    assert np.mean(overlaps) > 0.75
