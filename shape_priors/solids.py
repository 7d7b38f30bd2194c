"""Closed tubes, the pieces of procedural people and bicycles: one topology whatever the pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Body", "Piece", "assemble", "bent", "tube"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """One closed piece: vertices (V, 3), faces (F, 3) counter-clockwise from outside, its part."""

    vertices: Array
    faces: NDArray[np.int64]
    part: str


@dataclass(frozen=True)
class Body:
    """Pieces side by side: each is closed, and they overlap where they join.

    Attributes:
        vertices: (V, 3) object frame (x forward, y down), metres.
        faces: (F, 3) int64.
        face_parts: (F,) into part_names.
        part_names: in the order of their first piece.
    """

    vertices: Array
    faces: NDArray[np.int64]
    face_parts: NDArray[np.int64]
    part_names: tuple[str, ...]


def tube(
    path: list[tuple[float, float, float]] | Array,  # (R, 3)
    radii: list[tuple[float, float]],  # (R, 2)
    part: str,
    sides: int = 8,
    tip: float | None = None,
) -> Piece:
    """A tube along a path with elliptic rings and pointed ends.

    Args:
        path: (R, 3) middles of the rings.
        radii: of each ring, across (as near to z as the ring allows) and the other way.
        part: its name.
        sides: corners of a ring.
        tip: how far the ends stick out; 0.4 of the end's smaller radius if left out.
    """
    middles = np.asarray(path, dtype=np.float64)
    count = len(middles)
    along = np.gradient(middles, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True).clip(1e-9)
    # Rings of a tube along z itself take x as their first axis.
    reference = np.array([1.0, 0, 0]) if abs(along[:, 2]).mean() > 0.9 else np.array([0, 0, 1.0])
    first = reference - along * (along @ reference)[:, None]
    first /= np.linalg.norm(first, axis=1, keepdims=True).clip(1e-9)
    second = np.cross(along, first)
    angle = 2 * np.pi * np.arange(sides) / sides
    size = np.asarray(radii, dtype=np.float64)
    rings = middles[:, None] + first[:, None] * (np.cos(angle) * size[:, :1])[..., None]
    rings = rings + second[:, None] * (np.sin(angle) * size[:, 1:])[..., None]
    reach = [0.4 * size[end].min() if tip is None else tip for end in (0, -1)]
    ends = [middles[0] - reach[0] * along[0], middles[-1] + reach[1] * along[-1]]
    vertices = np.concatenate([rings.reshape(-1, 3), np.array(ends)])
    faces: list[tuple[int, int, int]] = []
    for k in range(sides):
        n = (k + 1) % sides
        for r in range(count - 1):
            a, b, c, d = r * sides + k, r * sides + n, (r + 1) * sides + n, (r + 1) * sides + k
            faces += [(a, b, c), (a, c, d)]
        last = (count - 1) * sides
        faces += [(count * sides, n, k), (count * sides + 1, last + k, last + n)]
    return Piece(vertices, np.array(faces, dtype=np.int64), part)


def bent(start: Array, end: Array, first: float, second: float, forward: bool) -> Array:
    """Joint (3,) of two rigid links between two points, bent towards +x or -x in their x-y plane.

    Links that are too short for the way are drawn straight: the joint divides it by their lengths.
    """
    way = end - start
    reach = float(np.linalg.norm(way))
    if reach >= first + second:
        return start + way * first / (first + second)
    share = (first**2 - second**2 + reach**2) / (2 * reach)
    lift = np.sqrt(max(first**2 - share**2, 0.0))
    side = np.array([way[1], -way[0], 0.0])
    side /= max(float(np.linalg.norm(side)), 1e-9)
    if (side[0] > 0) != forward:
        side = -side
    return start + way / reach * share + side * lift


def assemble(pieces: list[Piece]) -> Body:
    """Pieces as one body; a piece wound inside out is turned."""
    names = tuple(dict.fromkeys(piece.part for piece in pieces))
    faces, parts, offset = [], [], 0
    for piece in pieces:
        own = piece.faces
        a, b, c = (piece.vertices[own[:, i]] for i in range(3))
        if float((a * np.cross(b, c)).sum()) < 0:
            own = own[:, [0, 2, 1]]
        faces.append(own + offset)
        parts.append(np.full(len(own), names.index(piece.part)))
        offset += len(piece.vertices)
    vertices = np.concatenate([piece.vertices for piece in pieces])
    return Body(vertices, np.concatenate(faces), np.concatenate(parts), names)
