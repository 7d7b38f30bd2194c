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
    "cloud",
    "cross",
    "crown_template",
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


@lru_cache(maxsize=64)
def crown_template(kind: int, leaves: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crown in the unit ball: ragged leaf triangles around lumps, with an opaque core.

    Returns corners (F, 3, 3), soft normals (F, 3, 3) and texture coordinates (F, 3, 3): place in
    the face's own plane and depth into the crown, 1 at the outside. The same for every process:
    `kind` seeds it. More leaves are smaller ones.
    """
    draw = np.random.default_rng(9000 + kind)
    lumps = 7 + kind % 4
    centre = draw.normal(size=(lumps, 3))
    centre *= (0.62 * draw.uniform(0.3, 1, (lumps, 1)) ** 0.5) / np.linalg.norm(
        centre, axis=1, keepdims=True
    )
    radius = draw.uniform(0.3, 0.48, lumps)
    which = draw.integers(0, lumps, leaves)
    direction = draw.normal(size=(leaves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    place = centre[which] + direction * (radius[which] * draw.uniform(0.78, 1.12, leaves))[:, None]
    size = draw.uniform(0.9, 2.7, leaves) / np.sqrt(leaves)
    corners = place[:, None] + draw.normal(size=(leaves, 3, 3)) * size[:, None, None]
    cores = [_ball(centre[k], radius[k] * 0.84) for k in range(lumps)]
    corners = np.concatenate([corners, *cores])
    lump_of = np.concatenate([which, np.repeat(np.arange(lumps), len(cores[0]))])
    outward = corners - centre[lump_of][:, None] * 0.6
    outward /= np.maximum(np.linalg.norm(outward, axis=2, keepdims=True), 1e-9)
    # coordinates in the plane of each face, so that the leaf texture is never stretched
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    along = edge / np.maximum(np.linalg.norm(edge, axis=1, keepdims=True), 1e-9)
    across = other - along * (other * along).sum(1, keepdims=True)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    local = corners - corners[:, :1]
    plane = np.stack([(local * along[:, None]).sum(2), (local * across[:, None]).sum(2)], axis=2)
    plane += draw.uniform(0, 3, (len(corners), 1, 2))
    outside = np.clip(np.linalg.norm(corners, axis=2), 0, 1)
    coords = np.concatenate([plane, outside[..., None]], axis=2)
    return corners.astype(np.float32), outward.astype(np.float32), coords.astype(np.float32)


def _ball(centre: np.ndarray, radius: float, rings: int = 4, sides: int = 7) -> np.ndarray:
    """Faces of a coarse ball, (F, 3, 3)."""
    polar = np.linspace(0, np.pi, rings + 1)[:, None]
    turn = np.linspace(0, 2 * np.pi, sides + 1)[None, :]
    points = np.stack(
        [np.sin(polar) * np.cos(turn), np.cos(polar) + 0 * turn, np.sin(polar) * np.sin(turn)], -1
    )
    return grid_strip(centre + radius * points, points)[0]


def cloud(
    kind: int,
    leaves: int,
    centre: np.ndarray,  # (3,)
    radii: np.ndarray,  # (3,)
    turn: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crown template placed: corners, coords (metres, metres, depth in the crown), normals."""
    corners, normals, coords = crown_template(kind, leaves)
    c, s = np.cos(turn), np.sin(turn)
    spin = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    scale = radii.astype(np.float32)
    placed = turned(corners, spin) * scale + centre.astype(np.float32)
    tilted = turned(normals, spin) / scale
    tilted /= np.sqrt((tilted * tilted).sum(2, keepdims=True))
    return placed, coords * np.array([radii.mean(), radii.mean(), 1.0], np.float32), tilted
