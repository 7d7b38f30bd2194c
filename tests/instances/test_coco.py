"""COCO data sets and result lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffrender.errors import InputError
from diffrender.instances import Box, Instance, encode_rle, instances_from_coco

SIZE = (20, 30)
SQUARE = [[4, 5, 10, 5, 10, 9, 4, 9]]


def _mask(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def _dataset(*annotations: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "left/000003.png", "height": 20, "width": 30},
            {"id": 8, "file_name": "000004.png", "height": 20, "width": 30},
        ],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "PERSON"}],
        "annotations": list(annotations),
    }


def test_a_data_set_gives_the_named_image_with_kitti_classes() -> None:
    content = _dataset(
        {"image_id": 7, "category_id": 1, "segmentation": SQUARE, "bbox": [3, 4, 8, 6]},
        {"image_id": 8, "category_id": 1, "segmentation": SQUARE},
        {"image_id": 7, "category_id": 2, "segmentation": encode_rle(_mask(1, 2, 6, 4))},
    )
    found, rejected = instances_from_coco(content, SIZE, "000003")
    assert rejected == []
    car, person = found
    assert isinstance(car, Instance)
    assert isinstance(person, Instance)
    assert (car.name, car.category, car.box, car.score) == ("car_01", "Car", (3, 4, 11, 10), 1.0)
    assert np.array_equal(car.mask, _mask(5, 4, 9, 10))
    assert (person.name, person.category, person.box) == (
        "pedestrian_02",
        "Pedestrian",
        (2, 1, 4, 6),
    )
    assert len(instances_from_coco(content, SIZE, "8")[0]) == 1  # by image id


def test_a_result_list_has_cocos_own_ids() -> None:
    content = [
        {"image_id": 3, "category_id": 8, "score": 0.9, "segmentation": SQUARE},
        {"image_id": 3, "category_id": 3, "score": 0.5, "bbox": [1, 2, 10, 5]},
        {"image_id": 4, "category_id": 3, "score": 0.5, "bbox": [1, 2, 10, 5]},
    ]
    (truck, box), rejected = instances_from_coco(content, SIZE, "000003")
    assert rejected == []
    assert (truck.category, truck.score, truck.name) == ("Truck", 0.9, "truck_01")
    assert box == Box((1, 2, 11, 7), "Car", 0.5, "car_02")
    with pytest.warns(UserWarning, match="of 2 images such as 3, none of image 000009"):
        assert instances_from_coco(content, SIZE, "000009") == ([], [])
    assert instances_from_coco([], SIZE) == ([], [])


GOOD = {"image_id": 7, "category_id": 1, "segmentation": SQUARE}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"segmentation": [[40, 40, 50, 40, 50, 50]]}, "the mask is empty"),
        ({"segmentation": []}, "the segmentation is empty"),
        ({"segmentation": {"size": [20, 31], "counts": [620]}}, "the image has [20, 30]"),
        ({"segmentation": {"size": [20, 30], "counts": "x"}}, "character 1 is 'x'"),
        ({"bbox": [3, 4, 0, 6]}, "is degenerate, expected left < right, top < bottom"),
        ({"bbox": [3, 4, 5]}, "'bbox' is [3, 4, 5], expected four numbers of pixels"),
        ({"bbox": [90, 4, 5, 5]}, "lies outside the image of 30 x 20"),
        ({"score": 2}, "the score is 2, expected a number from 0 to 1"),
        ({"score": "high"}, "the score is high"),
        ({"category_id": 99}, "'category_id' 99 is not among the file's categories"),
        ({"category_id": None}, "'category_id' is 'None', expected a whole number"),
        ({"iscrowd": 1}, "a crowd region (iscrowd) is not one object"),
        ({"segmentation": None}, "neither 'segmentation' nor 'bbox'"),
    ],
)
def test_one_bad_annotation_is_reported_and_the_others_stand(
    change: dict[str, Any], reason: str
) -> None:
    found, rejected = instances_from_coco(_dataset({**GOOD, **change}, GOOD), SIZE, "000003")
    assert [one.name for one in found] == ["car_02"]
    assert len(rejected) == 1
    assert reason in rejected[0].reason


def test_an_annotation_that_is_no_object_is_reported() -> None:
    found, rejected = instances_from_coco(_dataset("car", GOOD), SIZE, "000003")
    assert len(found) == 1
    assert rejected[0].reason == "the annotation is not an object"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (5, None, "a COCO file is a list or an object, not int"),
        ({}, None, "needs a list 'images'"),
        ({"images": [{"id": 1}], "annotations": {}}, None, "needs a list 'annotations'"),
        ({"images": [{"id": 1}], "annotations": []}, None, "needs a list 'categories'"),
        ({"images": ["a"]}, None, "an entry of 'images' is not an object with an 'id'"),
        (_dataset(), None, "2 of 2 entries of 'images' fit, expected one image"),
        (_dataset(), "000005", "0 of 2 entries .* expected one image named '000005'"),
        ({**_dataset(), "categories": [{"id": 1}]}, "000003", "the category is 'None'"),
        ({**_dataset(), "categories": [1]}, "000003", "category 1 has no whole-number 'id'"),
        ([{"image_id": 1}, {"image_id": 2}], None, "results of 2 images; say which one"),
        ([{"image_id": 1}], "000003", "the results are of image 1, none of image 000003"),
        ([{}] * 1001, None, "1001 annotations, expected at most 1000"),
    ],
)
def test_malformed_files_raise(content: Any, name: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        instances_from_coco(content, SIZE, name)


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(height, width\) \(20, 30\), the given image \(30, 20"):
        instances_from_coco(_dataset(GOOD), (30, 20), "000003")


def test_masks_of_the_reference_implementation_are_read() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    mask = _mask(3, 5, 12, 20)
    rle = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    entry = {"category_id": 3, "segmentation": {**rle, "counts": rle["counts"].decode()}}
    (one,), _ = instances_from_coco([entry], SIZE)
    assert isinstance(one, Instance)
    assert np.array_equal(one.mask, mask)
    assert one.box == (5, 3, 20, 12)


def test_an_empty_segmentation_beside_a_box_is_a_box() -> None:
    """As tools export detections without masks."""
    content = _dataset(
        {"image_id": 7, "category_id": 1, "segmentation": [], "bbox": [3, 4, 8, 6]},
        {"image_id": 7, "category_id": 1, "segmentation": []},
    )
    (box,), rejected = instances_from_coco(content, SIZE, "000003")
    assert box == Box((3, 4, 11, 10), "Car", 1.0, "car_01")
    assert [one.reason.split(",")[0] for one in rejected] == ["the segmentation is empty"]


def test_ids_written_as_texts_are_the_same_and_strangers_are_reported() -> None:
    content = _dataset(
        {"image_id": "7", "category_id": 1, "segmentation": SQUARE},
        {"image_id": "8", "category_id": 1, "segmentation": SQUARE},
        {"image_id": 70, "category_id": 1, "segmentation": SQUARE},
    )
    found, rejected = instances_from_coco(content, SIZE, "000003")
    assert [one.name for one in found] == ["car_01"]
    assert [one.reason for one in rejected] == ["'image_id' 70 is none of the file's images"]
