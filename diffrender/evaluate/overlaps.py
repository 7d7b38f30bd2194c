"""Overlap of upright 3D boxes: rotated rectangles on the ground times their common height.

Float64 polygon clipping (Sutherland and Hodgman 1974). Boxes follow the KITTI object frame.
"""

from __future__ import annotations

import numpy as np

from diffrender.errors import InputError, check_shape

__all__ = ["box_overlap_3d", "box_overlap_bev", "rectangle_corners"]


def rectangle_corners(
    centre: np.ndarray,  # (2,)
    length: float,
    width: float,
    yaw: float,
) -> np.ndarray:
    """Corners (4, 2) in (x, z), metres, in one sense of rotation, of a box seen from above.

    `yaw` is KITTI rotation_y: the length points along (cos yaw, -sin yaw) in (x, z).
    """
    forward = np.array([np.cos(yaw), -np.sin(yaw)]) * (length / 2)
    side = np.array([np.sin(yaw), np.cos(yaw)]) * (width / 2)
    around = [forward + side, forward - side, -forward - side, -forward + side]
    return np.asarray(centre, dtype=np.float64) + np.stack(around)


def _signed_area(polygon: np.ndarray) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _clip(subject: np.ndarray, clip: np.ndarray) -> np.ndarray:
    """Convex polygon `subject` cut by every edge of the convex, counter-clockwise `clip`."""
    polygon = subject
    for start, end in zip(clip, np.roll(clip, -1, axis=0), strict=True):
        if len(polygon) == 0:
            break
        edge, offset = end - start, polygon - start
        side = edge[0] * offset[:, 1] - edge[1] * offset[:, 0]
        kept = []
        for i in range(len(polygon)):
            j = (i + 1) % len(polygon)
            if side[i] >= 0:
                kept.append(polygon[i])
            if (side[i] > 0 > side[j]) or (side[i] < 0 < side[j]):
                share = side[i] / (side[i] - side[j])
                kept.append(polygon[i] + share * (polygon[j] - polygon[i]))
        polygon = np.array(kept).reshape(-1, 2)
    return polygon


def _intersection_area(a: np.ndarray, b: np.ndarray) -> float:
    a = a if _signed_area(a) >= 0 else a[::-1]
    b = b if _signed_area(b) >= 0 else b[::-1]
    # Clipping about a nearby origin keeps digits when the boxes are far from the camera.
    origin = a.mean(axis=0)
    common = _clip(a - origin, b - origin)
    return max(_signed_area(common), 0.0) if len(common) >= 3 else 0.0


def box_overlap_bev(first: np.ndarray, second: np.ndarray) -> float:  # (7,), (7,)
    """Intersection over union seen from above; arguments as `box_overlap_3d`."""
    first, second = _box("first", first), _box("second", second)
    intersection, areas = _bev(first, second)
    union = sum(areas) - intersection
    return min(intersection / union, 1.0) if union > 0 else 0.0


def _bev(first: np.ndarray, second: np.ndarray) -> tuple[float, tuple[float, float]]:
    a, b = (rectangle_corners(q[[0, 2]], q[3], q[4], q[6]) for q in (first, second))
    return _intersection_area(a, b), (float(first[3] * first[4]), float(second[3] * second[4]))


def box_overlap_3d(first: np.ndarray, second: np.ndarray) -> float:  # (7,), (7,)
    """Intersection over union of two upright boxes.

    A box is (x, y, z, length, width, height, yaw): (x, y, z) the centre of the bottom face in
    the camera frame (y down), metres; yaw is KITTI rotation_y, radians. Returns a float in [0, 1].

    Raises:
        InputError: not seven finite numbers.
    """
    first, second = _box("first", first), _box("second", second)
    area, areas = _bev(first, second)
    top = max(first[1] - first[5], second[1] - second[5])
    bottom = min(first[1], second[1])
    common = area * max(bottom - top, 0.0)
    union = areas[0] * first[5] + areas[1] * second[5] - common
    return min(float(common / union), 1.0) if union > 0 else 0.0


def _box(name: str, box: np.ndarray) -> np.ndarray:  # (7,)
    box = np.asarray(box, dtype=np.float64)
    check_shape(name, box, 7)
    if not np.isfinite(box).all():
        raise InputError(f"{name} is {box.tolist()}, expected finite numbers")
    return box
