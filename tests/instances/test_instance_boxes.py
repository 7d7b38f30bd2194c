"""Boxes from KITTI rows and JSON, and instance PNGs."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffrender.errors import InputError
from diffrender.instances import (
    Box,
    boxes_from_json,
    boxes_from_rows,
    instances_from_ids,
    kitti_category,
    load_instance_png,
    parse_labels,
)

SIZE = (20, 30)


def _row(box: str, kind: str = "Car", score: str = "") -> str:
    return f"{kind} 0 0 0 {box} 1.5 1.6 4 0 1.5 10 0 {score}".strip()


def test_convention_rows_give_corner_based_boxes_cut_to_the_image() -> None:
    rows = parse_labels("\n".join([_row("2 3 8 9"), _row("-5 3 29 19", "van", "7.5")]))
    boxes, rejected = boxes_from_rows(rows, SIZE)
    assert rejected == []
    assert boxes == [
        Box((2.5, 3.5, 8.5, 9.5), "Car", 1.0, "car_01"),
        Box((0, 3.5, 29.5, 19.5), "Van", 1.0, "van_02"),
    ]


def test_bad_rows_are_reported_and_dont_care_is_left_out() -> None:
    text = [_row("8 3 2 9"), _row("2 3 8 9", "DontCare"), _row("90 3 95 9"), _row("2 3 8 9")]
    boxes, rejected = boxes_from_rows(parse_labels("\n".join(text)), SIZE)
    assert [one.name for one in boxes] == ["car_04"]
    assert [one.name for one in rejected] == ["car_01", "car_03"]
    assert "degenerate" in rejected[0].reason
    assert "outside the image of 30 x 20" in rejected[1].reason


def test_json_boxes_with_and_without_their_options() -> None:
    content = [
        {"box": [1, 2, 10, 12]},
        {"box": [1, 2, 10, 12], "category": "TRUCK", "score": 0.5, "name": "mine"},
    ]
    boxes, rejected = boxes_from_json(content, SIZE)
    assert rejected == []
    assert boxes == [
        Box((1, 2, 10, 12), "Car", 1.0, "car_01"),
        Box((1, 2, 10, 12), "Truck", 0.5, "mine"),
    ]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (3, "entry 1 is not an object with a 'box'"),
        ({}, "'box' is None, expected four numbers"),
        ({"box": [1, 2, 3]}, "'box' is [1, 2, 3], expected four numbers"),
        ({"box": [1, 2, 3, "4"]}, "expected four numbers"),
        ({"box": [1, 2, 3, float("inf")]}, "expected four numbers"),
        ({"box": [5, 2, 5, 9]}, "degenerate"),
        ({"box": [5, 2, 9, 9], "score": 1.5}, "the score is 1.5"),
        ({"box": [5, 2, 9, 9], "category": ""}, "the category is ''"),
        ({"box": [5, 2, 9, 9], "name": 4}, "the name of entry 1 is not a text"),
        ({"box": [5, 2, 9, 9], "name": "twin"}, None),
    ],
)
def test_a_bad_json_box_is_reported(entry: Any, reason: str | None) -> None:
    boxes, rejected = boxes_from_json([entry, {"box": [1, 2, 10, 12], "name": "twin"}], SIZE)
    assert len(boxes) == len(rejected) == 1
    assert (reason or "the name 'twin' is given twice") in rejected[0].reason


def test_class_names() -> None:
    names = ["CAR", "person", "train", "bus", "Person_sitting", " van "]
    assert [kitti_category(name) for name in names] == [
        "Car",
        "Pedestrian",
        "Tram",
        "Bus",
        "Person_sitting",
        "Van",
    ]


def _ids() -> np.ndarray:
    ids = np.zeros(SIZE, np.uint16)
    ids[2:6, 3:9], ids[10:15, 20:25], ids[19, 29] = 1, 3, 700
    return ids


@pytest.mark.parametrize("mode", ["grey16", "grey8", "palette", "colour"])
def test_ids_of_every_kind_of_png(tmp_path: Path, mode: str) -> None:
    ids = _ids()
    ids[ids == 700] = 200
    path = tmp_path / "ids.png"
    small = Image.fromarray(ids.astype(np.uint8))
    if mode == "grey16":
        Image.fromarray(ids).save(path)
    elif mode == "palette":
        small.putpalette(bytes(range(255, -1, -1)) * 3)
        small.save(path)
    else:
        (small.convert("RGB") if mode == "colour" else small).save(path)
    found, rejected = load_instance_png(path, SIZE)
    assert rejected == []
    assert [one.name for one in found] == ["object_1", "object_3", "object_200"]
    assert {one.category for one in found} == {"Car"}
    assert found[0].box == (3, 2, 9, 6)  # outer edges of the pixels
    assert np.array_equal(found[1].mask, ids == 3)


def test_ids_with_labels_are_their_rows() -> None:
    rows = parse_labels(
        "\n".join([_row("2 1 9 6"), _row("1 1 2 2"), _row("9 3 4 9", "Van", "0.4")])
    )
    found, rejected = instances_from_ids(_ids(), rows)
    assert [(one.name, one.category, one.box) for one in found] == [
        ("car_01", "Car", (2.5, 1.5, 9.5, 6.5))
    ]
    assert [one.name for one in rejected] == ["van_03", "object_700"]
    assert "degenerate" in rejected[0].reason
    assert rejected[1].reason == "id 700 has no row among the 3 labels"


def test_files_that_are_no_instance_png(tmp_path: Path) -> None:
    path = tmp_path / "ids.png"
    Image.fromarray(_ids()).save(path)
    with pytest.raises(InputError, match=r"ids\.png is 30 x 20 pixels, the image 31 x 20"):
        load_instance_png(path, (20, 31))
    many = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    Image.fromarray(many).save(path)
    with pytest.raises(InputError, match="1999 different ids, expected at most 1000"):
        load_instance_png(path, (40, 50))
    colours = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    Image.fromarray(colours).save(path)
    with pytest.raises(InputError, match="is a colour image, expected grey ids of 8 or 16 bits"):
        load_instance_png(path, SIZE)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="cannot be decoded as an instance PNG"):
        load_instance_png(path, SIZE)


@pytest.mark.parametrize(
    ("side", "message"), [(11_000, "has 11000 x 11000 pixels, expected"), (60_000, "exceeds limit")]
)
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, side: int, message: str
) -> None:
    path = tmp_path / "bomb.png"
    Image.new("L", (4, 4)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_instance_png(path, SIZE)


def test_default_names_step_aside_for_given_ones() -> None:
    content = [
        {"box": [1, 2, 9, 8], "name": "car_02"},
        {"box": [10, 2, 19, 8]},
        {"box": [20, 2, 29, 8], "name": "car_02_2"},
    ]
    found, rejected = boxes_from_json(content, SIZE)
    assert [one.name for one in found] == ["car_02", "car_02_3", "car_02_2"]
    assert rejected == []
