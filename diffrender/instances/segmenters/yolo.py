"""The outputs of YOLO's segmentation networks: boxes, class scores, mask coefficients, prototypes.

Source: Bolya et al., "YOLACT", ICCV 2019 (masks as a linear combination of prototypes), in the
layouts that the exporters of YOLOv5 to YOLO26 write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffrender.errors import InputError
from diffrender.instances.segmenters.base import Detection, SegmenterSettings
from diffrender.instances.segmenters.geometry import Letterbox

__all__ = ["YoloLayout", "decode_yolo", "yolo_layout"]

YoloLayout = Literal["yolo", "yolo-objectness", "yolo-end2end"]

_MOST_ENDED = 1000  # rows that are left after suppression; exporters keep 100 to 300


@dataclass(frozen=True)
class _Rows:
    boxes: np.ndarray  # (K, 4) left, top, right, bottom of the input
    labels: np.ndarray  # (K,)
    scores: np.ndarray  # (K,)
    coefficients: np.ndarray  # (K, M)


def yolo_layout(
    rows: tuple[int, ...], prototypes: int, names: int | None
) -> tuple[YoloLayout, bool]:
    """Which layout an output of shape `rows` (1, A, B) has, and whether its columns are axis 1.

    "yolo": 4 box sides, classes, coefficients (v8, v11); "yolo-objectness": 5 + classes +
    coefficients (v5, v7); "yolo-end2end": box, score, class, coefficients, after suppression.
    `names` is how many classes there are, where that is known.

    Raises:
        InputError: none of them, or more than one.
    """
    # One class with objectness has as many columns, but thousands of rows.
    if rows[2] == 6 + prototypes and rows[1] <= _MOST_ENDED:
        return "yolo-end2end", False
    fits: list[tuple[YoloLayout, bool]] = []
    for columns, first in ((rows[1], True), (rows[2], False)):
        classes = columns - 4 - prototypes
        # Without names: v8 and later put columns first, v5 and v7 last.
        if (classes == names) if names is not None else (classes >= 1 and first):
            fits.append(("yolo", first))
        if (classes - 1 == names) if names is not None else (classes >= 2 and not first):
            fits.append(("yolo-objectness", first))
    if names is None:  # anchors outnumber columns
        fits = [fit for fit in fits if (rows[1] < rows[2]) == fit[1]]
    if len(fits) != 1:
        found = ", ".join(sorted({name for name, _ in fits})) or "no known layout"
        raise InputError(
            f"the network's boxes have shape {rows} and its prototypes {prototypes} channels: "
            f"that fits {found}; state OnnxSegmenterSettings(layout=..., names=...)"
        )
    return fits[0]


def decode_yolo(
    rows: np.ndarray,  # (1, A, B)
    prototypes: np.ndarray,  # (1, M, h, w)
    layout: YoloLayout | None,
    names: tuple[str, ...] | None,
    placed: Letterbox,
    settings: SegmenterSettings,
) -> Iterator[tuple[int, Detection]]:
    """(label, detection) of one image, the surest first; the category is left empty.

    Raises:
        InputError: shapes or values that are not of such a network.
    """
    if prototypes.shape[0] != 1 or rows.shape[0] != 1:
        raise InputError(f"the network gave a batch of {rows.shape[0]}, expected one image")
    maps = prototypes[0]
    known = None if names is None else len(names)
    if layout is None:
        layout, first = yolo_layout(rows.shape, len(maps), known)
    else:
        first = rows.shape[1] < rows.shape[2] and layout != "yolo-end2end"
    table = rows[0].T if first else rows[0]
    found = _ended(table, len(maps)) if layout == "yolo-end2end" else _raw(table, len(maps), layout)
    scores = found.scores
    if not np.isfinite(table).all() or (scores.size and not -1e-3 <= scores.min()):
        raise InputError("the network's boxes or scores are not finite; its input does not fit")
    if scores.size and scores.max() > 1 + 1e-3:
        raise InputError(
            f"the network's largest score is {scores.max():.3g}, expected at most 1: read as "
            f"'{layout}'; state OnnxSegmenterSettings(layout=...) if it is another"
        )
    boxes = placed.boxes(found.boxes)
    for index in _keep(boxes, found, layout, settings):
        soft = 1 / (1 + np.exp(-np.tensordot(found.coefficients[index], maps, axes=1)))
        mask = placed.map_to_image(soft) >= settings.mask
        box = boxes[index]
        mask &= _inside(box, placed.image)
        sides = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        yield int(found.labels[index]), Detection(sides, "", float(scores[index]), mask)


def _raw(table: np.ndarray, prototypes: int, layout: YoloLayout) -> _Rows:
    start = 5 if layout == "yolo-objectness" else 4
    classes = table.shape[1] - start - prototypes
    if classes < 1:
        raise InputError(
            f"the network's rows have {table.shape[1]} columns, '{layout}' needs more than "
            f"{start + prototypes} for {prototypes} prototypes"
        )
    centre, size = table[:, :2], table[:, 2:4]
    each = table[:, start : start + classes]
    if layout == "yolo-objectness":
        each = each * table[:, 4:5]
    labels = each.argmax(axis=1)
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    scores = each[np.arange(len(each)), labels]
    return _Rows(boxes, labels, scores, table[:, start + classes :])


def _ended(table: np.ndarray, prototypes: int) -> _Rows:
    if table.shape[1] != 6 + prototypes:
        raise InputError(
            f"the network's rows have {table.shape[1]} columns, 'yolo-end2end' needs "
            f"{6 + prototypes} for {prototypes} prototypes"
        )
    return _Rows(table[:, :4], table[:, 5].astype(np.int64), table[:, 4], table[:, 6:])


def _keep(
    boxes: np.ndarray, found: _Rows, layout: YoloLayout, settings: SegmenterSettings
) -> list[int]:
    """Rows to report, the surest first."""
    import cv2

    sure = np.flatnonzero(
        (found.scores >= settings.score) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    )
    if layout != "yolo-end2end" and len(sure):
        sides = np.concatenate([boxes[sure, :2], boxes[sure, 2:] - boxes[sure, :2]], axis=1)
        kept = cv2.dnn.NMSBoxesBatched(
            sides.tolist(),
            found.scores[sure].tolist(),
            found.labels[sure].tolist(),
            settings.score,
            settings.overlap,
        )
        sure = sure[np.asarray(kept, dtype=np.int64).reshape(-1)]
    order = np.argsort(-found.scores[sure], kind="stable")
    return [int(i) for i in sure[order][: settings.most]]


def _inside(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres a box holds, (H, W) bool."""
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    down = (rows >= box[1]) & (rows <= box[3])
    return down[:, None] & ((columns >= box[0]) & (columns <= box[2]))[None]
