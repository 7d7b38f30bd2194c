"""2D boxes without masks, from KITTI rows or a JSON list."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffrender.errors import InputError
from diffrender.instances.categories import kitti_category
from diffrender.instances.kitti_rows import KittiLabel
from diffrender.instances.record import Rejected

__all__ = ["Box", "boxes_from_json", "boxes_from_rows", "clip_box"]


@dataclass(frozen=True)
class Box:
    """A detection that has no mask yet.

    Attributes:
        box: (left, top, right, bottom) in pixels, corner based, inside the image.
        category: class name, KITTI spelling.
        score: 2D confidence in [0, 1].
        name: unique in its image.
    """

    box: tuple[float, float, float, float]
    category: str
    score: float
    name: str


def clip_box(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box cut to the image of `size` (height, width), corner-based pixels.

    Raises:
        InputError: not finite, right <= left or bottom <= top, or outside the image.
    """
    left, top, right, bottom = box
    if not all(math.isfinite(side) for side in box):
        raise InputError(f"the box {tuple(box)} is not finite")
    if not (left < right and top < bottom):
        raise InputError(f"the box {tuple(box)} is degenerate, expected left < right, top < bottom")
    height, width = size
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise InputError(f"the box {tuple(box)} lies outside the image of {width} x {height}")
    return (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))


def boxes_from_rows(
    rows: Sequence[KittiLabel], size: tuple[int, int]
) -> tuple[list[Box], list[Rejected]]:
    """Boxes of KITTI label or result rows; "DontCare" rows are regions and are left out.

    Names are class and row, "car_03" for the third row. KITTI does not bound scores: they are
    clipped to [0, 1], and rows without one count 1.
    """
    boxes: list[Box] = []
    rejected: list[Rejected] = []
    for number, row in enumerate(rows, start=1):
        if not row.is_object:
            continue
        name, category = row_name(row, number), kitti_category(row.type)
        try:
            box = clip_box(row.box_corner, size)
        except InputError as error:
            rejected.append(Rejected(name, category, str(error)))
            continue
        boxes.append(Box(box, category, clip_score(row.score), name))
    return boxes, rejected


def row_name(row: KittiLabel, number: int) -> str:
    """Name of the object in row `number` (from 1): "car_03"."""
    return f"{row.type.lower()}_{number:02d}"


def clip_score(score: float | None) -> float:
    """A KITTI score in [0, 1]; 1 where there is none."""
    return 1.0 if score is None else min(max(score, 0.0), 1.0)


def boxes_from_json(
    content: Sequence[object], size: tuple[int, int]
) -> tuple[list[Box], list[Rejected]]:
    """Boxes of a JSON list of {"box": [left, top, right, bottom], "category", "score", "name"}.

    Pixels, corner based; category "Car", score 1 and name "car_01" (by position, "car_01_2" and so
    on where an entry has that name) are assumed where left out. A bad entry is rejected with its
    reason and the others stand.
    """
    boxes: list[Box] = []
    rejected: list[Rejected] = []
    names: set[str] = set()
    given = {str(entry["name"]) for entry in content if isinstance(entry, dict) and "name" in entry}
    for number, entry in enumerate(content, start=1):
        name, category = f"object_{number:02d}", "unknown"
        try:
            if not isinstance(entry, dict):
                raise InputError(f"entry {number} is not an object with a 'box'")
            category = read_category(entry.get("category", "Car"))
            usual = f"{category.lower()}_{number:02d}"
            name = entry["name"] if "name" in entry else _free(usual, given)
            if not isinstance(name, str) or not name:
                name = f"object_{number:02d}"
                raise InputError(f"the name of entry {number} is not a text")
            if name in names:
                raise InputError(f"the name {name!r} is given twice")
            box = clip_box(read_sides(entry.get("box"), "box"), size)
            boxes.append(Box(box, category, read_score(entry.get("score", 1.0)), name))
            names.add(name)
        except InputError as error:
            rejected.append(Rejected(name, category, str(error)))
    return boxes, rejected


def _free(name: str, taken: set[str]) -> str:
    """The name, or the first of "name_2", "name_3" ... that is not taken."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    return found


def read_category(value: object) -> str:
    """A class name from JSON in KITTI's spelling."""
    if not isinstance(value, str) or not value.strip() or len(value) > 100:
        raise InputError(f"the category is {str(value)[:40]!r}, expected a class name")
    return kitti_category(value)


def read_score(value: object) -> float:
    """A score from JSON."""
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise InputError(f"the score is {str(value)[:40]}, expected a number from 0 to 1")
    return float(value)  # type: ignore[arg-type]


def read_sides(value: object, key: str) -> tuple[float, float, float, float]:
    """Four finite numbers from JSON."""
    if (
        not isinstance(value, list)
        or len(value) != 4
        or not all(type(side) in (int, float) and abs(side) < 1e9 for side in value)
    ):
        raise InputError(f"'{key}' is {str(value)[:60]}, expected four numbers of pixels")
    return (float(value[0]), float(value[1]), float(value[2]), float(value[3]))
