"""The one door: which format a path is, and what is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffrender.errors import InputError
from diffrender.instances import encode_rle, load_boxes, load_instances

HEIGHT, WIDTH = 40, 60
IMAGE = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
ROW = "Car 0 0 0 10 10 30 30 1.5 1.6 4 0 1.5 10 0"


def _mask(value: int = 255) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 15:25] = value
    return mask


def test_a_png_by_suffix_and_by_content(tmp_path: Path) -> None:
    for name in ("ids.png", "ids"):
        path = tmp_path / name
        Image.fromarray(_mask(4)).save(path, format="PNG")
        (one,), rejected = load_instances(path, IMAGE)
        assert (one.name, one.box, rejected) == ("object_4", (15, 10, 25, 20), [])


def test_kitti_rows_become_masks(tmp_path: Path) -> None:
    path = tmp_path / "000003.txt"
    path.write_text(f"{ROW} 0.7\nDontCare -1 -1 -10 1 1 9 9 -1 -1 -1 -1 -1 -1 -10\n{ROW[:13]}")
    with pytest.raises(InputError, match=r"000003\.txt line 3: 5 columns, expected 15"):
        load_instances(path, IMAGE)
    path.write_text(f"{ROW} 0.7\nDontCare -1 -1 -10 1 1 9 9 -1 -1 -1 -1 -1 -1 -10\n")
    (one,), rejected = load_instances(path, IMAGE)
    assert (one.name, one.score, rejected) == ("car_01", 0.7, [])
    assert one.box == (10.5, 10.5, 30.5, 30.5)
    assert one.mask[15:25, 15:25].all()


def test_json_boxes_and_coco_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_text(json.dumps([{"box": [10, 10, 30, 30]}, {"box": "rubbish"}]))
    (one,), (bad,) = load_instances(path, IMAGE)
    assert (one.name, bad.name) == ("car_01", "car_02")
    entry = {"image_id": 3, "category_id": 3, "score": 0.5}
    content = [
        {**entry, "bbox": [30, 10, 20, 20]},
        {**entry, "segmentation": encode_rle(_mask() > 0)},
        {**entry, "segmentation": [[1, 2]]},
    ]
    path.write_text(json.dumps(content))
    (boxed, masked), (bad,) = load_instances(path, IMAGE, image_name="000003")
    assert [one.name for one in (boxed, masked, bad)] == ["car_01", "car_02", "car_03"]
    assert np.array_equal(masked.mask, _mask() > 0)
    assert boxed.mask[:, 30:50].any()
    assert not boxed.mask[:, :30].any()


def test_a_folder_of_one_mask_per_instance(tmp_path: Path) -> None:
    Image.fromarray(_mask()).save(tmp_path / "van_02.png")
    Image.fromarray(_mask(1)).save(tmp_path / "mine.png")
    Image.fromarray(_mask(0)).save(tmp_path / "car_empty.png")
    Image.fromarray(_mask()[:-1]).save(tmp_path / "car_small.png")
    (tmp_path / "car_broken.png").write_bytes(b"\x89PNG rubbish")
    (tmp_path / "notes.md").write_text("not read")
    found, rejected = load_instances(tmp_path, IMAGE, image_name="000003")
    assert [(one.name, one.category) for one in found] == [("mine", "Car"), ("van_02", "Van")]
    reasons = {one.name: one.reason for one in rejected}
    assert reasons["car_empty"] == "the mask is empty, expected at least one pixel"
    assert "60 x 39 pixels, the image 60 x 40" in reasons["car_small"]
    assert "cannot be decoded" in reasons["car_broken"]


@pytest.mark.parametrize(
    ("stem", "category"),
    [
        ("bus_1", "Bus"),
        ("bicycle-2", "Bicycle"),
        ("zebra", "Zebra"),
        ("traffic_light_2", "Traffic light"),
        ("mask_3", "Car"),
        ("7", "Car"),
    ],
)
def test_a_masks_name_says_its_class(tmp_path: Path, stem: str, category: str) -> None:
    Image.fromarray(_mask()).save(tmp_path / f"{stem}.png")
    (one,) = load_instances(tmp_path, IMAGE, image_name="street")[0]
    assert (one.name, one.category) == (stem, category)


def test_masks_of_other_images_are_no_masks_of_this_one(tmp_path: Path) -> None:
    for stem in ("img_001", "img_003"):
        Image.fromarray(_mask()).save(tmp_path / f"{stem}.png")
    with pytest.raises(InputError, match=r"no mask PNG nor a file img_002\.png"):
        load_instances(tmp_path, IMAGE, image_name="img_002")
    assert len(load_instances(tmp_path, IMAGE, image_name="street")[0]) == 2
    Image.fromarray(_mask()).save(tmp_path / "car_1.png")
    assert len(load_instances(tmp_path, IMAGE, image_name="img_002")[0]) == 3


def test_numbers_of_other_images_may_be_shorter(tmp_path: Path) -> None:
    for stem in ("img_9", "img_11"):
        Image.fromarray(_mask()).save(tmp_path / f"{stem}.png")
    with pytest.raises(InputError, match=r"img_10\.png, .*PNGs are named as other images are"):
        load_instances(tmp_path, IMAGE, image_name="img_10")
    single = tmp_path / "single"
    single.mkdir()
    for stem in ("1", "2"):
        Image.fromarray(_mask()).save(single / f"{stem}.png")
    assert len(load_instances(single, IMAGE, image_name="000003")[0]) == 2


def test_a_folder_with_a_file_for_each_image(tmp_path: Path) -> None:
    Image.fromarray(_mask(2)).save(tmp_path / "000003.png")
    assert load_instances(tmp_path, IMAGE, image_name="000003")[0][0].name == "object_2"
    with pytest.raises(InputError, match=r"no mask PNG nor a file 000004\.png, \.json or \.txt"):
        load_instances(tmp_path, IMAGE, image_name="000004")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", r"a\.json line 1 column 2: not JSON"),
        ("a.json", b"[" * 200_000, r"a\.json: not JSON that can be read"),
        ("a.json", b"7", r"a\.json: a COCO file is a list or an object, not int"),
        ("a.json", b"\xff\x00", r"a\.json line 1: byte 0xff is not UTF-8 text"),
        ("a.txt", b"\x00\x01\x02", r"a\.txt line 1: 1 columns, expected 15"),
        ("a.png", b"\x89PNG\r\n\x1a\n", r"a\.png cannot be decoded as an instance PNG"),
        ("a.bin", b"\x00\x01\x02", r"a\.bin is no known format of instances; expected \.png"),
        ("absent.bin", None, r"absent\.bin cannot be read: No such file"),
        ("absent.png", None, r"absent\.png does not exist, expected an instance PNG"),
    ],
)
def test_files_that_are_malformed_as_a_whole(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_instances(path, IMAGE)


def test_a_crowd_of_boxes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{ROW}\n" * 1001)
    with pytest.raises(InputError, match=r"a\.txt: 1001 instances, expected at most 1000"):
        load_instances(path, IMAGE)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["box", "bbox", "segmentation", "size", "counts", "images", "annotations", "id"]
                + ["image_id", "category_id", "categories", "score", "category", "name"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=_json)
def test_any_json_gives_instances_or_an_input_error(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "fuzz.json"
    path.write_text(json.dumps(content))
    try:
        found, rejected = load_instances(path, IMAGE)
    except InputError as error:
        message = str(error)
    else:
        message = "fuzz.json"
        assert all(one.mask.shape == (HEIGHT, WIDTH) and one.mask.any() for one in found)
        assert all(one.reason for one in rejected)
    assert "fuzz.json" in message


def test_boxes_of_another_image_are_refused_with_the_file_named(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image_id": 5, "category_id": 3, "bbox": [1, 1, 9, 9]}]))
    with pytest.raises(InputError) as caught:
        load_boxes(path, (20, 30), "000003")
    assert str(caught.value).startswith(f"{path}: the results are of image 5")
