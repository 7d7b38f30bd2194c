"""Polygons to masks by the pixel-centre rule."""

from __future__ import annotations

import numpy as np

from diffrender.errors import InputError

__all__ = ["fill_polygon", "mask_of_polygons"]

VERTEX_LIMIT = 100_000
_CHUNK = 2048  # edges at a time: bounds the memory of a spiky polygon


def fill_polygon(vertices: np.ndarray, size: tuple[int, int]) -> np.ndarray:  # (N, 2)
    """Pixels whose centre lies inside a polygon by the even-odd rule.

    Vertices are (x, y) in corner-based pixels, as COCO's are; pixel centres lie at +0.5. A
    centre exactly on an edge belongs to the side to its right (or below), so that polygons
    which share an edge never share a pixel.

    Shapes: (N, 2) -> (H, W) bool, with `size` = (H, W).
    """
    mask = np.zeros(size, dtype=bool)
    _add_polygon(mask, vertices)
    return mask


def _add_polygon(mask: np.ndarray, vertices: np.ndarray) -> None:  # (H, W) bool, (N, 2)
    """Set the pixels of a polygon; only the rows and columns that it reaches are looked at."""
    height, width = mask.shape
    (left, top), (right, bottom) = (
        # A column and row more on each side: crossings are rounded.
        np.clip(np.ceil(corner - 0.5) + more, 0, (width, height)).astype(np.int64)
        for corner, more in ((vertices.min(axis=0), -1), (vertices.max(axis=0), 1))
    )
    toggles = np.zeros((bottom - top, right - left + 1), dtype=np.int64)
    starts, ends = vertices.astype(np.float64), np.roll(vertices, -1, axis=0).astype(np.float64)
    for first in range(0, len(starts), _CHUNK):
        x0, y0 = starts[first : first + _CHUNK].T
        x1, y1 = ends[first : first + _CHUNK].T
        # Rows whose centre y satisfies min(y) <= y < max(y).
        low = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
        high = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64)
        spans = high - low
        edge = np.repeat(np.arange(len(spans)), spans)
        rows = np.arange(len(edge)) - np.repeat(np.cumsum(spans) - spans, spans) + low[edge]
        along = (rows + 0.5 - y0[edge]) / (y1 - y0)[edge]
        crossing = x0[edge] + along * (x1 - x0)[edge]
        columns = np.clip(np.ceil(crossing - 0.5), left, right).astype(np.int64)
        np.add.at(toggles, (rows - top, columns - left), 1)
    mask[top:bottom, left:right] |= np.cumsum(toggles, axis=1)[:, :-1] % 2 == 1


def mask_of_polygons(polygons: object, size: tuple[int, int]) -> np.ndarray:
    """Union of COCO polygons, each a flat list x1, y1, x2, y2, ... in corner-based pixels.

    Returns:
        (H, W) bool.

    Raises:
        InputError: not a list of such lists, under three vertices, over 100 000, or a
            coordinate that is not a finite number within a million pixels.
    """
    if not isinstance(polygons, list) or not polygons:
        raise InputError("the segmentation is empty, expected a list of polygons or an RLE")
    mask = np.zeros(size, dtype=bool)
    total = 0
    for number, flat in enumerate(polygons, start=1):
        if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
            raise InputError(f"polygon {number} is not a list of at least three x, y pairs")
        if not all(type(v) in (int, float) and abs(v) <= 1e6 for v in flat):
            raise InputError(f"polygon {number} holds something that is not a number of pixels")
        total += len(flat) // 2
        if total > VERTEX_LIMIT:
            raise InputError(f"the polygons have over {VERTEX_LIMIT} vertices")
        _add_polygon(mask, np.array(flat, dtype=np.float64).reshape(-1, 2))
    return mask
