"""One door to all instance formats: PNG of ids, COCO JSON, boxes, KITTI rows, folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from diffrender.errors import InputError, check_shape
from diffrender.instances.boxes import Box, boxes_from_json, boxes_from_rows
from diffrender.instances.categories import is_known_category, kitti_category
from diffrender.instances.coco import INSTANCE_LIMIT, instances_from_coco
from diffrender.instances.grabcut import GrabCutSettings, masks_from_boxes
from diffrender.instances.kitti_rows import KittiLabel, load_labels
from diffrender.instances.png import load_instance_png
from diffrender.instances.reading import read_id_image, read_json
from diffrender.instances.record import Instance, Rejected, box_of_mask

__all__ = ["load_boxes", "load_instances", "named_after"]

Kind = Literal["png", "json", "rows"]
_SUFFIXES: dict[str, Kind] = {".png": "png", ".json": "json", ".txt": "rows"}


def load_instances(
    path: str | os.PathLike[str],
    image: np.ndarray,  # (H, W, 3)
    depth: np.ndarray | None = None,  # (H, W)
    labels: Sequence[KittiLabel] | None = None,
    image_name: str | None = None,
    settings: GrabCutSettings | None = None,
) -> tuple[list[Instance], list[Rejected]]:
    """Instances of an image from a file or folder, and the ones that cannot be used.

    Reads, by suffix or else by content:

    - PNG of ids, 8 or 16 bits, 0 = none (`png.instances_from_ids`);
    - COCO JSON, a data set or a list of results (`coco.instances_from_coco`);
    - a JSON list of {"box": [l, t, r, b], "category", "score"} (`boxes.boxes_from_json`);
    - KITTI label or result rows, .txt (`boxes.boxes_from_rows`);
    - a folder: the file in it named after the image, or else one mask PNG per instance, where
      every pixel above 0 belongs and the file's name is the instance's ("van_02.png" is a van).

    Boxes without a mask get one by GrabCut, helped by `depth`. "DontCare" rows are regions and
    not objects: they are left out and not reported. One bad instance (empty mask, degenerate
    box, malformed annotation) is reported and the others stand.

    Args:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) metres, 0 = unknown; only for masks from boxes.
        labels: KITTI rows; in a PNG, id k is then row k (from 1), which gives class and 2D box.
        image_name: file name without suffix, to find the image in a COCO file or a folder.
        settings: of GrabCut.

    Raises:
        InputError: the path is absent, or the file as a whole is malformed.
    """
    check_shape("image", image, None, None, 3)
    size = (image.shape[0], image.shape[1])
    path = Path(path)
    if path.is_dir():
        named = named_after(path, image_name)
        if named is None:
            return _masks_of_folder(path, size, image_name)
        path = named
    kind = _kind(path)
    if kind == "png":
        return load_instance_png(path, size, labels)
    found, rejected = _read(path, kind, size, image_name)
    boxes = [one for one in found if isinstance(one, Box)]
    if len(found) > INSTANCE_LIMIT:
        raise InputError(f"{path}: {len(found)} instances, expected at most {INSTANCE_LIMIT}")
    made, failed = masks_from_boxes(boxes, image, depth, settings)
    by_name = {one.name: one for one in made}
    instances = [by_name.get(one.name) if isinstance(one, Box) else one for one in found]
    return [one for one in instances if one is not None], rejected + failed


def load_boxes(
    path: str | os.PathLike[str], size: tuple[int, int], image_name: str | None = None
) -> tuple[list[Box], list[Rejected]]:
    """2D boxes of an image, to prompt a segmenter with, and the ones that cannot be used.

    Reads KITTI rows (.txt), a JSON list of boxes, COCO JSON (a mask there counts by its box), or
    a folder with such a file named after the image.

    Args:
        size: (height, width) of the image, to which boxes are clipped; pixels, corner based.
        image_name: file name without suffix, to find the image in a COCO file or a folder.

    Raises:
        InputError: the path is absent, malformed, or a PNG of ids, which has masks already.
    """
    path = Path(path)
    if path.is_dir():
        named = named_after(path, image_name)
        if named is None:
            raise InputError(f"{path} holds no file {image_name}.txt or {image_name}.json of boxes")
        path = named
    kind = _kind(path)
    if kind == "png":
        raise InputError(f"{path} holds masks; expected boxes, or leave out the segmenter")
    found, rejected = _read(path, kind, size, image_name)
    boxes = [
        one if isinstance(one, Box) else Box(one.box, one.category, one.score, one.name)
        for one in found
    ]
    if len(boxes) > INSTANCE_LIMIT:
        raise InputError(f"{path}: {len(boxes)} boxes, expected at most {INSTANCE_LIMIT}")
    return boxes, rejected


def _read(
    path: Path, kind: Kind, size: tuple[int, int], image_name: str | None
) -> tuple[list[Instance | Box], list[Rejected]]:
    """What a file without ids holds; errors name it."""
    try:
        return _content(path, kind, size, image_name)
    except InputError as error:
        if str(error).startswith(str(path)):
            raise
        raise InputError(f"{path}: {error}") from error


def _content(
    path: Path, kind: Kind, size: tuple[int, int], image_name: str | None
) -> tuple[list[Instance | Box], list[Rejected]]:
    if kind == "rows":
        boxes, rejected = boxes_from_rows(load_labels(path), size)
        return list(boxes), rejected
    content = read_json(path, "instances as JSON")
    is_boxes = isinstance(content, list) and any(
        isinstance(entry, dict) and "box" in entry for entry in content
    )
    if is_boxes:
        boxes, rejected = boxes_from_json(content, size)
        return list(boxes), rejected
    return instances_from_coco(content, size, image_name)


def _kind(path: Path) -> Kind:
    """Format of a file by its suffix, or else by its first bytes."""
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if head.startswith(b"\x89PNG"):
        return "png"
    if head.lstrip().startswith((b"{", b"[")):
        return "json"
    raise InputError(
        f"{path} is no known format of instances; expected .png (ids), .json (COCO or boxes), "
        ".txt (KITTI rows), or a folder"
    )


def named_after(folder: Path, image_name: str | None) -> Path | None:
    """The file of a folder that holds the instances of the image of that name, if any."""
    if image_name is None:
        return None
    candidates = [folder / f"{image_name}{suffix}" for suffix in _SUFFIXES]
    return next((path for path in candidates if path.is_file()), None)


def _masks_of_folder(
    folder: Path, size: tuple[int, int], image_name: str | None
) -> tuple[list[Instance], list[Rejected]]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    # Files that are named as this image is, but for the number, are of other images.
    number = _without_numbers(image_name or "")
    frames = "0" in number and all(_without_numbers(path.stem) == number for path in paths)
    if not paths or frames:
        wanted = f" nor a file {image_name}.png, .json or .txt" if image_name else ""
        others = "; its PNGs are named as other images are" if frames else ""
        raise InputError(f"{folder} holds no mask PNG{wanted}{others}")
    if len(paths) > INSTANCE_LIMIT:
        raise InputError(f"{folder} holds {len(paths)} PNGs, expected at most {INSTANCE_LIMIT}")
    instances: list[Instance] = []
    rejected: list[Rejected] = []
    for path in paths:
        words = re.sub(r"[_\- ]*\d*$", "", path.stem)
        names = (words, words.replace("_", " "))
        category = next((kitti_category(one) for one in names if is_known_category(one)), "Car")
        try:
            mask = read_id_image(path) > 0
            if mask.shape != size:
                raise InputError(
                    f"{path} is {mask.shape[1]} x {mask.shape[0]} pixels, "
                    f"the image {size[1]} x {size[0]}"
                )
            instances.append(Instance(mask, box_of_mask(mask), category, name=path.stem))
        except InputError as error:
            rejected.append(Rejected(path.stem, category, str(error)))
    return instances, rejected


def _without_numbers(name: str) -> str:
    """The name with 0 for what counts: frames 9 and 10 of "img_9" are alike.

    A name of digits alone is like those of its length: 1.png may be a mask of 000003.png.
    """
    return re.sub(r"\d" if name.isdecimal() else r"\d+", "0", name)
