"""Area common to pairs of rotated rectangles, all pairs at once; twin of rectangle_overlaps.cpp.

Float64 polygon clipping (Sutherland and Hodgman 1974), written for arrays of pairs.
"""

from __future__ import annotations

import numpy as np

from diffrender.native import kernel_threads, signature

__all__ = ["common_areas"]


def common_areas(
    first: np.ndarray,  # (P, 5)
    second: np.ndarray,  # (P, 5)
    backend: str,
) -> np.ndarray:
    """Intersection area (P,) of rectangles (x, z, length, width, yaw), in square metres.

    `yaw` is KITTI rotation_y: the length points along (cos yaw, -sin yaw) in (x, z).
    """
    first, second = (np.ascontiguousarray(r, dtype=np.float64) for r in (first, second))
    if backend != "native":
        return _common_areas(first, second)
    area = np.zeros(len(first))
    signature("diffrender_rectangle_overlaps", "ppiip")(
        first.ctypes.data, second.ctypes.data, len(first), kernel_threads(), area.ctypes.data
    )
    return area


def _corners(rectangles: np.ndarray, origin: np.ndarray) -> np.ndarray:  # (P, 5), (P, 2)
    """(P, 4, 2) corners about `origin`, counter-clockwise in (x, z)."""
    cosine, sine = np.cos(rectangles[:, 4]), np.sin(rectangles[:, 4])
    half = np.abs(rectangles[:, 2:4]) / 2
    forward = np.stack([cosine, -sine], axis=1) * half[:, :1]
    side = np.stack([sine, cosine], axis=1) * half[:, 1:]
    around = np.stack([-forward - side, forward - side, forward + side, side - forward], axis=1)
    return (rectangles[:, :2] - origin)[:, None] + around


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _common_areas(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    # A polygon has `count` corners, the rows behind them are unused.
    origin = first[:, :2]
    polygon, clip = _corners(first, origin), _corners(second, origin)
    count = np.full(len(first), 4)
    rows = np.arange(len(first))[:, None]
    for edge in range(4):
        start, stop = clip[:, edge], clip[:, (edge + 1) % 4]
        slots = np.arange(polygon.shape[1])[None]
        used = slots < count[:, None]
        following = np.where(slots + 1 == count[:, None], 0, slots + 1) % polygon.shape[1]
        successor = polygon[rows, following]
        side = _cross((stop - start)[:, None], polygon - start[:, None])
        side_after = side[rows, following]
        keeps = used & (side >= 0)
        crosses = used & (((side > 0) & (side_after < 0)) | ((side < 0) & (side_after > 0)))
        share = np.where(crosses, side / np.where(crosses, side - side_after, 1.0), 0.0)
        cut = polygon + share[..., None] * (successor - polygon)
        # Each corner gives itself, then the cut of its edge; what is kept moves to the front.
        room = 2 * polygon.shape[1]
        candidates = np.stack([polygon, cut], axis=2).reshape(len(first), room, 2)
        wanted = np.stack([keeps, crosses], axis=2).reshape(len(first), room)
        order = np.argsort(~wanted, axis=1, kind="stable")
        count = wanted.sum(axis=1)
        polygon = candidates[rows, order[:, : max(int(count.max(initial=0)), 1)]]
    slots = np.arange(polygon.shape[1])[None]
    used = slots < count[:, None]
    following = np.where(slots + 1 >= count[:, None], 0, slots + 1) % polygon.shape[1]
    twice = np.where(used, _cross(polygon, polygon[rows, following]), 0.0).sum(axis=1)
    return np.maximum(twice / 2, 0.0)
