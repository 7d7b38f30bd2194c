"""The door to the segmenters, and GrabCut behind it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffrender.errors import InputError
from diffrender.instances import (
    Box,
    HubSegmenterSettings,
    Instance,
    OnnxSegmenterSettings,
    create_segmenter,
    list_segmenters,
    load_boxes,
    masks_from_boxes,
    segmenter_card,
)

IMAGE = np.full((48, 64, 3), 90, dtype=np.uint8)
IMAGE[10:30, 20:50] = (200, 30, 30)
CAR = Box((20, 10, 50, 30), "Car", 0.7, "car_01")


def test_cards_say_where_things_come_from() -> None:
    assert list_segmenters() == ["street", "grabcut", "onnx", "torchvision", "hub"]
    for name in list_segmenters():
        card = segmenter_card(name)
        assert card.name == name
        assert card.summary and card.paper and card.code_licence and card.weights_licence
    assert segmenter_card("grabcut").needs_boxes
    with pytest.raises(InputError, match="no segmenter 'yolo', expected one of street, grabcut"):
        segmenter_card("yolo")


def test_settings_of_another_segmenter_are_refused() -> None:
    with pytest.raises(InputError, match="'hub' takes HubSegmenterSettings"):
        create_segmenter("hub", "a/b", settings=OnnxSegmenterSettings())
    with pytest.raises(InputError, match="'grabcut' takes no settings"):
        create_segmenter("grabcut", settings=HubSegmenterSettings())
    with pytest.raises(InputError, match="'grabcut' has no weights"):
        create_segmenter("grabcut", "w.npz")
    with pytest.raises(InputError, match="'onnx' needs weights=FILE"):
        create_segmenter("onnx")
    with pytest.raises(InputError, match="device is 'abacus'"):
        create_segmenter("grabcut", device="abacus")


def test_grabcut_is_masks_from_boxes() -> None:
    segmenter = create_segmenter("grabcut")
    found, _ = segmenter.segment(IMAGE, [CAR])
    expected, _ = masks_from_boxes([CAR], IMAGE)
    assert (found[0].mask == expected[0].mask).all()
    with pytest.raises(InputError, match="prompted by 2D boxes: pass boxes"):
        segmenter.segment(IMAGE)
    with pytest.raises(InputError, match="image is float64"):
        segmenter.segment(IMAGE / 255.0, [CAR])


def test_boxes_from_files(tmp_path: Path) -> None:
    rows = tmp_path / "000001.txt"
    rows.write_text("Car -1 -1 -10 19.5 9.5 49.5 29.5 -1 -1 -1 -1000 -1000 -1000 -10 0.7\n")
    (box,), rejected = load_boxes(tmp_path, (48, 64), "000001")
    assert (box.box, box.score, rejected) == ((20, 10, 50, 30), 0.7, [])
    listed = tmp_path / "boxes.json"
    listed.write_text('[{"box": [20, 10, 50, 30]}, {"box": [5, 5, 1, 9]}]')
    found, refused = load_boxes(listed, (48, 64))
    assert [one.box for one in found] == [(20, 10, 50, 30)]
    assert "degenerate" in refused[0].reason
    with pytest.raises(InputError, match=r"holds no file 000002\.txt or 000002\.json of boxes"):
        load_boxes(tmp_path, (48, 64), "000002")
    picture = tmp_path / "ids.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="holds masks; expected boxes"):
        load_boxes(picture, (48, 64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": math.nan}, "Instance.score is nan, expected a number from 0 to 1"),
        ({"score": 3.0}, "Instance.score is 3.0"),
        ({"box": (0.0, 0.0, math.inf, 2.0)}, "expected finite pixels"),
    ],
)
def test_an_instance_has_a_finite_box_and_a_score(change: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"mask": np.ones((2, 2), dtype=bool), "box": (0.0, 0.0, 2.0, 2.0)}
    with pytest.raises(InputError, match=message):
        Instance(**(fields | change))
