"""Triangle soup for synthetic streets: every corner carries its own texture coordinates.

All shapes live in a flat road frame (x right, y down, z forward, metres) and are written into a
`Soup`; `Soup.finish` returns one record of arrays that the renderer reads.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

__all__ = [
    "PARAMETERS",
    "Geometry",
    "Material",
    "Soup",
    "cross",
    "cylinder",
    "grid_strip",
    "prism",
    "quad",
    "turned",
]

PARAMETERS = 16  # floats of looks per object, read by the materials


class Material(enum.IntEnum):
    """What a face is made of; decides which texture shades it."""

    ROAD = 0
    PAVEMENT = 1
    GRASS = 2
    FACADE = 3
    ROOF = 4
    FOLIAGE = 5
    BARK = 6
    PLAIN = 7
    FENCE = 8
    WALL = 9
    POSTER = 10
    PAINT = 11
    GLASS = 12
    TYRE = 13
    LAMP = 14
    TRIM = 15


@dataclass(frozen=True)
class Geometry:
    """A finished soup.

    Attributes:
        corners: (F, 3, 3) float32 road frame, metres.
        coords: (F, 3, 3) float32 texture coordinates, metres; meaning depends on the material.
        normals: (F, 3, 3) float32 unit normals at the corners.
        material: (F,) int64, `Material`.
        owner: (F,) int64 row of `looks`.
        looks: (O, PARAMETERS) float32.
    """

    corners: np.ndarray  # (F, 3, 3)
    coords: np.ndarray  # (F, 3, 3)
    normals: np.ndarray  # (F, 3, 3)
    material: np.ndarray  # (F,)
    owner: np.ndarray  # (F,)
    looks: np.ndarray  # (O, PARAMETERS)


@dataclass
class Soup:
    """Collects pieces of geometry."""

    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = field(
        default_factory=list
    )
    looks: list[np.ndarray] = field(default_factory=list)

    def add_looks(self, *values: float) -> int:
        """Register the looks of one object; returns its row."""
        row = np.zeros(PARAMETERS, np.float32)
        row[: len(values)] = values
        self.looks.append(row)
        return len(self.looks) - 1

    def add(
        self,
        corners: np.ndarray,  # (F, 3, 3)
        coords: np.ndarray,  # (F, 3, 3)
        material: Material | np.ndarray,
        owner: int,
        normals: np.ndarray | None = None,  # (F, 3, 3)
    ) -> None:
        """Add faces; flat normals unless given."""
        if normals is None:
            flat = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            flat /= np.maximum(np.sqrt((flat * flat).sum(1, keepdims=True)), 1e-12)
            normals = np.repeat(flat[:, None], 3, axis=1)
        count = len(corners)
        kind = np.broadcast_to(np.asarray(material, np.int64), (count,))
        self.pieces.append(
            (
                np.asarray(corners, np.float32),
                np.asarray(coords, np.float32),
                np.asarray(normals, np.float32),
                kind,
                np.full(count, owner, np.int64),
            )
        )

    def face_count(self) -> int:
        """Faces added so far."""
        return sum(len(p[0]) for p in self.pieces)

    def finish(self) -> Geometry:
        """All pieces joined, in the order they came."""
        corners, coords, normals, material, owner = (
            np.concatenate(part) for part in zip(*self.pieces, strict=True)
        )
        return Geometry(corners, coords, normals, material, owner, np.stack(self.looks))


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # (..., 3), (..., 3)
    """Cross product; numpy's own is slow on many small arrays."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def turned(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:  # (..., 3), (3, 3)
    """Rotation times each point, in the points' precision; the same bits on every machine,
    which a threaded matrix product does not promise."""
    return np.einsum("...c,rc->...r", points, rotation.astype(points.dtype))


def quad(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    d: np.ndarray,
    width: float,
    height: float,
    start: tuple[float, float] = (0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Two faces a-b-c-d with coords (0..width, 0..height, 0) + start.

    a, b at the bottom, c, d above b and a. Returns corners and coords, (2, 3, 3) each.
    """
    points = np.stack([a, b, c, d])
    across, up = start
    plan = np.array(
        [
            [across, up, 0],
            [across + width, up, 0],
            [across + width, up + height, 0],
            [across, up + height, 0],
        ]
    )
    order = np.array([[0, 1, 2], [0, 2, 3]])
    return points[order], plan[order]


def prism(
    footprint: np.ndarray,  # (N, 3)
    height: float | np.ndarray,
    wall_coords_from: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Walls and flat top over a footprint polygon (counter-clockwise seen from above, y down).

    Returns wall corners, wall coords (along, up, side index), top corners, top coords.
    """
    count = len(footprint)
    up = np.zeros((count, 3))
    up[:, 1] = -np.broadcast_to(height, (count,))
    top = footprint + up
    walls, wall_coords = [], []
    along = wall_coords_from
    for i in range(count):
        j = (i + 1) % count
        width = float(np.linalg.norm(footprint[j] - footprint[i]))
        corners, coords = quad(
            footprint[i], footprint[j], top[j], top[i], width, float(-up[i, 1]), (along, 0.0)
        )
        coords[..., 2] = i
        walls.append(corners)
        wall_coords.append(coords)
        along += width
    fan = np.stack([np.zeros(count - 2, int), np.arange(1, count - 1), np.arange(2, count)], 1)
    plan = np.stack([top[:, 0], top[:, 2], np.zeros(count)], axis=1)
    return np.concatenate(walls), np.concatenate(wall_coords), top[fan], plan[fan]


@lru_cache(maxsize=8)
def _tube(sides: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angle (F, 3), height share (F, 3) of the corners of a tube, and their cosines and sines."""
    i = np.arange(sides)
    step = 2 * np.pi / sides
    angle = np.concatenate([np.stack([i, i + 1, i + 1], 1), np.stack([i, i + 1, i], 1)]) * step
    rise = np.concatenate([np.tile([0.0, 0, 1], (sides, 1)), np.tile([0.0, 1, 1], (sides, 1))])
    return angle, rise, np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def cylinder(
    base: np.ndarray,  # (3,)
    tip: np.ndarray,  # (3,)
    radii: tuple[float, float],
    sides: int = 6,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Open truncated cone; coords (around, along, 0). Returns corners, coords, normals."""
    axis = tip - base
    length = float(np.sqrt(axis @ axis))
    axis = axis / length
    helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.9 else np.array([0, 0, 1.0])
    first = cross(axis, helper)
    first /= np.sqrt(first @ first)
    angle, rise, turn = _tube(sides)
    ring = turn @ np.stack([first, cross(axis, first)])
    wide = radii[0] + (radii[1] - radii[0]) * rise
    corners = base + ring * wide[..., None] + rise[..., None] * (length * axis)
    coords = np.stack([angle * radii[0], rise * length, 0 * rise], axis=-1)
    return corners, coords, ring


def grid_strip(points: np.ndarray, coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces of a grid of points (N, M, 3) with coords (N, M, 3)."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, 1:].ravel(), index[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1)])
    return points.reshape(-1, 3)[faces], coords.reshape(-1, 3)[faces]
