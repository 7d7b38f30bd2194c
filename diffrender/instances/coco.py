"""COCO JSON: a data set with annotations, or a list of detection results.

Source: Lin et al., "Microsoft COCO: common objects in context", ECCV 2014, data format.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from diffrender.errors import InputError
from diffrender.instances.boxes import Box, clip_box, read_category, read_score, read_sides
from diffrender.instances.categories import COCO_IDS, kitti_category
from diffrender.instances.polygons import mask_of_polygons
from diffrender.instances.record import Instance, Rejected, box_of_mask
from diffrender.instances.rle import decode_rle

__all__ = ["INSTANCE_LIMIT", "instances_from_coco"]

INSTANCE_LIMIT = 1000


def instances_from_coco(
    content: object,
    size: tuple[int, int],
    image_name: str | None = None,
) -> tuple[list[Instance | Box], list[Rejected]]:
    """Instances of one image of a COCO file, in the file's order.

    Polygons are filled by the pixel-centre rule (see `polygons.fill_polygon`; COCO's own code
    differs by up to a pixel); "bbox" is (x, y, width, height), corner based, and where it is
    left out the mask's tight box is taken. An annotation with a box but no segmentation, or an
    empty list, comes back as a `Box`. Class names take KITTI's spelling; a list of results has
    only ids, which are read as COCO's own (3 is "Car", 8 "Truck"). Crowd regions are rejected.

    Args:
        content: the parsed JSON.
        size: (height, width) of the image.
        image_name: file name without suffix, or the image id; needed if the file has several.

    Raises:
        InputError: not such a file, no such image, or over 1000 annotations for it.

    Warns:
        UserWarning: results of several images, none of them this one.
    """
    if isinstance(content, list):
        annotations, names = _of_results(content, image_name), None
    elif isinstance(content, dict):
        annotations, names = _of_dataset(content, size, image_name), _categories(content)
    else:
        raise InputError(f"a COCO file is a list or an object, not {type(content).__name__}")
    if len(annotations) > INSTANCE_LIMIT:
        raise InputError(f"{len(annotations)} annotations, expected at most {INSTANCE_LIMIT}")
    images = {str(one["id"]) for one in content["images"]} if isinstance(content, dict) else None
    found: list[Instance | Box] = []
    rejected: list[Rejected] = []
    for number, annotation in enumerate(annotations, start=1):
        name, category = f"object_{number:02d}", "unknown"
        try:
            if not isinstance(annotation, dict):
                raise InputError("the annotation is not an object")
            if images is not None and str(annotation.get("image_id")) not in images:
                what = str(annotation.get("image_id"))[:40]
                raise InputError(f"'image_id' {what} is none of the file's images")
            category = _category(annotation, names)
            name = f"{category.lower().replace(' ', '_')}_{number:02d}"
            found.append(_read(annotation, size, category, name))
        except InputError as error:
            rejected.append(Rejected(name, category, str(error)))
    return found, rejected


def _read(
    annotation: dict[str, Any], size: tuple[int, int], category: str, name: str
) -> Instance | Box:
    if annotation.get("iscrowd"):
        raise InputError("a crowd region (iscrowd) is not one object")
    score = read_score(annotation.get("score", 1.0))
    box = None
    if annotation.get("bbox") is not None:
        x, y, width, height = read_sides(annotation["bbox"], "bbox")
        box = clip_box((x, y, x + width, y + height), size)
    segmentation = annotation.get("segmentation")
    if segmentation is None or (segmentation == [] and box is not None):  # tools write both
        if box is None:
            raise InputError("the annotation has neither 'segmentation' nor 'bbox'")
        return Box(box, category, score, name)
    mask = _mask(segmentation, size)
    if not mask.any():
        raise InputError("the mask is empty")
    return Instance(mask, box or box_of_mask(mask), category, score, name)


def _mask(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    if isinstance(segmentation, dict):
        return decode_rle(segmentation, size)
    return mask_of_polygons(segmentation, size)


def _category(annotation: dict[str, Any], names: dict[int, str] | None) -> str:
    if names is None and "category" in annotation:
        return read_category(annotation["category"])
    number = annotation.get("category_id")
    if type(number) is not int:
        raise InputError(f"'category_id' is {str(number)[:40]!r}, expected a whole number")
    if names is None:
        return kitti_category(COCO_IDS.get(number, f"coco_{number}"))
    if number not in names:
        raise InputError(f"'category_id' {number} is not among the file's categories")
    return names[number]


def _list_of(content: dict[str, Any], key: str) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        raise InputError(f"a COCO data set needs a list '{key}'")
    return value


def _categories(content: dict[str, Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, entry in enumerate(_list_of(content, "categories"), start=1):
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            raise InputError(f"category {number} has no whole-number 'id'")
        names[entry["id"]] = read_category(entry.get("name"))
    return names


def _same_image(identifier: object, image_name: str) -> bool:
    """Whether an image id means the image of that name: equal as text or as a number."""
    if type(identifier) is int and image_name.isdecimal() and len(image_name) < 20:
        return identifier == int(image_name)
    return str(identifier) == image_name


def _stem(file_name: object) -> str:
    base = str(file_name).replace("\\", "/").rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[0] if "." in base else base


def _of_dataset(
    content: dict[str, Any], size: tuple[int, int], image_name: str | None
) -> list[Any]:
    images = _list_of(content, "images")
    if not all(isinstance(image, dict) and "id" in image for image in images):
        raise InputError("an entry of 'images' is not an object with an 'id'")
    chosen = images
    if image_name is not None:
        chosen = [image for image in images if _stem(image.get("file_name")) == image_name]
        chosen = chosen or [image for image in images if _same_image(image["id"], image_name)]
    if len(chosen) != 1:
        wanted = "one image" if image_name is None else f"one image named {image_name!r}"
        raise InputError(
            f"{len(chosen)} of {len(images)} entries of 'images' fit, expected {wanted}"
        )
    stated = (chosen[0].get("height", size[0]), chosen[0].get("width", size[1]))
    if stated != tuple(size):
        raise InputError(
            f"the file's image has (height, width) {stated}, the given image {tuple(size)}"
        )
    # Files by several tools have the same id as a number and as a text.
    others = {str(image["id"]) for image in images} - {str(chosen[0]["id"])}
    return [
        entry
        for entry in _list_of(content, "annotations")
        if not isinstance(entry, dict) or str(entry.get("image_id")) not in others
    ]


def _of_results(content: list[Any], image_name: str | None) -> list[Any]:
    identifiers = {str(entry.get("image_id")) for entry in content if isinstance(entry, dict)}
    if image_name is None:
        if len(identifiers) > 1:
            raise InputError(f"results of {len(identifiers)} images; say which one by its name")
        return content
    chosen = [
        entry
        for entry in content
        if not isinstance(entry, dict)
        or "image_id" not in entry
        or _same_image(entry["image_id"], image_name)
    ]
    if not chosen and len(identifiers) == 1:
        raise InputError(
            f"the results are of image {identifiers.pop()}, none of image {image_name}"
        )
    if not chosen and identifiers:  # of a data set, where in this image nothing may be found
        warnings.warn(
            f"the results are of {len(identifiers)} images such as {min(identifiers)[:40]}, none "
            f"of image {image_name}: it has no objects",
            stacklevel=3,
        )
    return chosen
