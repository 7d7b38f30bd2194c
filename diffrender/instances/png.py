"""Instance PNGs: every pixel holds the id of its instance, 0 for none."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from diffrender.errors import InputError
from diffrender.instances.boxes import clip_box, clip_score
from diffrender.instances.boxes import row_name as row_name
from diffrender.instances.categories import kitti_category
from diffrender.instances.kitti_rows import KittiLabel
from diffrender.instances.reading import read_id_image
from diffrender.instances.record import Instance, Rejected, box_of_mask

__all__ = ["ID_LIMIT", "instances_from_ids", "load_instance_png"]

ID_LIMIT = 1000
"""More different ids than this in one image is taken for a wrong file (a depth map, say)."""


def load_instance_png(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    labels: Sequence[KittiLabel] | None = None,
) -> tuple[list[Instance], list[Rejected]]:
    """Instances of an 8- or 16-bit PNG of ids; see `instances_from_ids`.

    Args:
        size: (height, width) of the image that the PNG belongs to.

    Raises:
        InputError: the file is unreadable, coloured, of another size, or holds over 1000 ids.
    """
    ids = read_id_image(path)
    if ids.shape != tuple(size):
        raise InputError(
            f"{path} is {ids.shape[1]} x {ids.shape[0]} pixels, the image {size[1]} x {size[0]}; "
            "expected the same size"
        )
    try:
        return instances_from_ids(ids, labels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def instances_from_ids(
    ids: np.ndarray,  # (H, W)
    labels: Sequence[KittiLabel] | None = None,
) -> tuple[list[Instance], list[Rejected]]:
    """Instances of an array of ids, in order of id.

    Without labels: category "Car", tight box, score 1, name "object_<id>". With the rows of a
    KITTI label file: id = number of the row from 1, which gives the class, the 2D box, the
    score if there is one, and the name, such as "car_03" for row 3. Ids of "DontCare" rows are
    regions, not objects, and are left out.

    Shapes: (H, W) -> masks (H, W).

    Raises:
        InputError: over 1000 different ids, or a negative one.
    """
    present = np.unique(ids)
    if len(present) and present[0] < 0:
        raise InputError(f"id {present[0]} is negative, expected 0 or more")
    present = present[present > 0]
    if len(present) > ID_LIMIT:
        raise InputError(f"{len(present)} different ids, expected at most {ID_LIMIT}")
    instances: list[Instance] = []
    rejected: list[Rejected] = []
    for number in present.tolist():
        mask = ids == number
        if labels is None:
            instances.append(Instance(mask, box_of_mask(mask), name=f"object_{number}"))
            continue
        if number > len(labels):
            reason = f"id {number} has no row among the {len(labels)} labels"
            rejected.append(Rejected(f"object_{number}", "unknown", reason))
            continue
        row = labels[number - 1]
        if not row.is_object:
            continue
        name, category = row_name(row, number), kitti_category(row.type)
        try:
            box = clip_box(row.box_corner, (ids.shape[0], ids.shape[1]))
            instances.append(Instance(mask, box, category, clip_score(row.score), name))
        except InputError as error:
            rejected.append(Rejected(name, category, str(error)))
    return instances, rejected
