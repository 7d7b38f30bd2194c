"""Rows of KITTI label and result files: 15 columns, or 16 with a score.

Source: Geiger et al., "Are we ready for autonomous driving?", CVPR 2012, object devkit readme.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from diffrender.errors import InputError
from diffrender.instances.reading import parse_number, read_text

__all__ = ["KITTI_COLUMNS", "KittiLabel", "load_labels", "parse_labels"]

KITTI_COLUMNS: tuple[tuple[str, str], ...] = (
    ("type", "a class name"),
    ("truncated", "truncation from 0 to 1, or -1"),
    ("occluded", "occlusion 0, 1, 2 or 3, or -1"),
    ("alpha", "alpha in radians"),
    ("left", "left edge of the 2D box in pixels"),
    ("top", "top edge of the 2D box in pixels"),
    ("right", "right edge of the 2D box in pixels"),
    ("bottom", "bottom edge of the 2D box in pixels"),
    ("height", "height in metres"),
    ("width", "width in metres"),
    ("length", "length in metres"),
    ("x", "x in metres"),
    ("y", "y in metres"),
    ("z", "z in metres"),
    ("rotation_y", "rotation_y in radians"),
    ("score", "a score"),
)
"""Name and meaning of the columns, in the order of the file; the last is only in results."""


@dataclass(frozen=True)
class KittiLabel:
    """One row of a label or result file, values as in the file.

    Attributes:
        type: "Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc"
            or "DontCare"; other names are kept.
        truncated: share outside the image, 0 to 1; -1 unknown.
        occluded: 0 visible, 1 partly, 2 largely, 3 unknown; -1 not stated.
        alpha: observation angle, radians; -10 unknown.
        box: (left, top, right, bottom), 0-based pixel indices (pixel centres on integers).
        height, width, length: metres; -1 unknown.
        location: (x, y, z) of the centre of the bottom face, rectified camera 0, metres.
        rotation_y: yaw, radians; -10 unknown.
        score: of a result row, else None. Any finite number, KITTI does not bound it.
    """

    type: str
    truncated: float
    occluded: int
    alpha: float
    box: tuple[float, float, float, float]
    height: float
    width: float
    length: float
    location: tuple[float, float, float]
    rotation_y: float
    score: float | None = None

    @property
    def box_corner(self) -> tuple[float, float, float, float]:
        """The 2D box with the origin at the image's outer corner: the file's plus half a pixel."""
        left, top, right, bottom = self.box
        return (left + 0.5, top + 0.5, right + 0.5, bottom + 0.5)

    @property
    def size_lwh(self) -> tuple[float, float, float]:
        """(length, width, height), metres."""
        return (self.length, self.width, self.height)

    @property
    def is_object(self) -> bool:
        """Whether the row names an object; "DontCare" rows, whatever the case of their letters,
        mark regions to leave out."""
        return self.type.lower() != "dontcare"


def _parse_row(fields: list[str], where: str) -> KittiLabel:
    if len(fields) not in (15, 16):
        raise InputError(
            f"{where}: {len(fields)} columns, expected 15 (label) or 16 (result with score)"
        )
    values = [
        parse_number(field, f"{where} column {column}", KITTI_COLUMNS[column - 1][1])
        for column, field in enumerate(fields[1:], start=2)
    ]
    truncated, occluded = values[0], values[1]
    if truncated != -1 and not 0 <= truncated <= 1:
        raise InputError(
            f"{where} column 2: {fields[1]!r} is out of range; expected {KITTI_COLUMNS[1][1]}"
        )
    if occluded not in (-1, 0, 1, 2, 3):
        raise InputError(
            f"{where} column 3: {fields[2]!r} is out of range; expected {KITTI_COLUMNS[2][1]}"
        )
    return KittiLabel(
        type=fields[0],
        truncated=truncated,
        occluded=int(occluded),
        alpha=values[2],
        box=(values[3], values[4], values[5], values[6]),
        height=values[7],
        width=values[8],
        length=values[9],
        location=(values[10], values[11], values[12]),
        rotation_y=values[13],
        score=values[14] if len(values) == 15 else None,
    )


def parse_labels(text: str, path: str | os.PathLike[str] = "labels") -> list[KittiLabel]:
    """All rows of a label or result text, "DontCare" included; blank lines are skipped.

    Errors name `path`, the line, and the column as the number of the field, both from 1.

    Raises:
        InputError: a row has neither 15 nor 16 columns, or a field is not what it should be.
    """
    return [
        _parse_row(line.split(), f"{path} line {number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def load_labels(path: str | os.PathLike[str]) -> list[KittiLabel]:
    """Rows of a KITTI label or result file; see `parse_labels`.

    Raises:
        InputError: the file is absent, larger than 16 MiB, not text, or holds a bad row.
    """
    return parse_labels(read_text(path, "a KITTI label file"), path)
