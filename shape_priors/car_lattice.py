"""The one topology of every procedural car: a box lattice, its faces, parts and texture atlas.

The surface is the skin of a box of NX x NY x NZ cells. Stations i count from the tail to the
nose, rows j from the bottom edge to the roof edge, columns k from the car's right side (z < 0) to
its left. Every node has a meaning that is the same for a van and for a coupé (station 10 is always
the top of the windscreen), so averages and principal components of cars are cars.

    station  0 tail edge, 2 foot and 5 top of the rear window, 10 top and 13 foot of the
             windscreen, 19 nose; below, 2..6 and 13..17 carry the wheels
    row      0 bottom edge, 1 hub, 2 top of the tyre, 3 shoulder, 4 foot and 5 top of the side
             windows, 6 edge of roof, bonnet and boot
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NX",
    "NY",
    "NZ",
    "PART_NAMES",
    "REAR_GLASS",
    "REAR_WHEEL",
    "WINDSCREEN",
    "FRONT_WHEEL",
    "Lattice",
    "lattice",
]

NX, NY, NZ = 19, 6, 6
REAR_WHEEL, FRONT_WHEEL = (2, 6), (13, 17)  # first and last station
REAR_GLASS, WINDSCREEN = (2, 5), (10, 13)

PART_NAMES = (
    "body",
    "glass",
    "wheel",
    "head_light",
    "tail_light",
    "grille",
    "bumper",
    "underside",
)
_PART = {name: index for index, name in enumerate(PART_NAMES)}

# Rectangles (u0, v0, u1, v1) of the six charts in the atlas; the gaps keep bilinear lookups apart.
CHARTS = {
    "right": (0.01, 0.01, 0.99, 0.24),
    "left": (0.01, 0.26, 0.99, 0.49),
    "top": (0.01, 0.51, 0.99, 0.73),
    "bottom": (0.01, 0.75, 0.99, 0.85),
    "front": (0.01, 0.87, 0.49, 0.99),
    "rear": (0.51, 0.87, 0.99, 0.99),
}


@dataclass(frozen=True)
class Lattice:
    """Topology shared by all cars.

    Attributes:
        nodes: (V, 3) lattice indices (station, row, column) of each vertex.
        index: (NX + 1, NY + 1, NZ + 1) vertex number, -1 inside the box.
        faces: (F, 3) counter-clockwise from outside, in the object frame (y down).
        face_parts: (F,) into PART_NAMES.
        face_charts: (F,) chart of each face, in the order of CHARTS.
        mirror: (V,) the vertex on the other side of the plane z = 0.
    """

    nodes: NDArray[np.int64]
    index: NDArray[np.int64]
    faces: NDArray[np.int64]
    face_parts: NDArray[np.int64]
    face_charts: NDArray[np.int64]
    mirror: NDArray[np.int64]


@lru_cache(maxsize=1)
def lattice() -> Lattice:
    """Build the topology (about 530 vertices and 1056 faces)."""
    grid = np.stack(
        np.meshgrid(np.arange(NX + 1), np.arange(NY + 1), np.arange(NZ + 1), indexing="ij"), -1
    )
    last = np.array([NX, NY, NZ])
    on_skin = ((grid == 0) | (grid == last)).any(-1)
    nodes = grid[on_skin]
    index = np.full(on_skin.shape, -1, dtype=np.int64)
    index[on_skin] = np.arange(len(nodes))

    mirror = index[nodes[:, 0], nodes[:, 1], NZ - nodes[:, 2]]
    names = list(CHARTS)
    faces: list[tuple[int, int, int]] = []
    parts: list[int] = []
    charts: list[int] = []
    # Only the half z < 0 is listed: the other half mirrors it, diagonals and all.
    for chart, corners, part in _half_quads():
        a, b, c, d = (int(index[corner]) for corner in corners)
        for triangle in ((a, b, c), (a, c, d)):
            p, q, r = (int(mirror[v]) for v in triangle)
            faces += [triangle, (p, r, q)]
            parts += [_PART[part]] * 2
            charts += [names.index(chart), names.index("left" if chart == "right" else chart)]
    return Lattice(nodes, index, np.array(faces), np.array(parts), np.array(charts), mirror)


Node = tuple[int, int, int]


def _half_quads() -> Iterator[tuple[str, tuple[Node, Node, Node, Node], str]]:
    """Chart, corners (counter-clockwise from outside) and part of each cell with z < 0.

    In the object frame x is forward, y down (rows count upwards, against y) and z to the side.
    """
    for i in range(NX):
        for j in range(NY):
            yield "right", ((i, j, 0), (i + 1, j, 0), (i + 1, j + 1, 0), (i, j + 1, 0)), _side(i, j)
        for k in range(NZ // 2):
            low, high = (i, 0, k), (i, NY, k)
            yield "bottom", (low, (i, 0, k + 1), (i + 1, 0, k + 1), (i + 1, 0, k)), _bottom(i, k)
            yield "top", (high, (i + 1, NY, k), (i + 1, NY, k + 1), (i, NY, k + 1)), _top(i, k)
    for j in range(NY):
        for k in range(NZ // 2):
            up, side, both = (j + 1, k), (j, k + 1), (j + 1, k + 1)
            yield "front", ((NX, j, k), (NX, *side), (NX, *both), (NX, *up)), _front(j, k)
            yield "rear", ((0, j, k), (0, *up), (0, *both), (0, *side)), _rear(j, k)


def _on_wheel(i: int) -> bool:
    return any(first <= i < last for first, last in (REAR_WHEEL, FRONT_WHEEL))


def _side(i: int, j: int) -> str:
    if j < 2 and _on_wheel(i):
        return "wheel"
    if j == 4 and REAR_GLASS[1] - 1 <= i < WINDSCREEN[1] - 1:
        return "glass"
    if j in (3, 4) and i == NX - 1:
        return "head_light"
    if j in (3, 4) and i == 0:
        return "tail_light"
    return "bumper" if j < 2 and i in (0, 1, NX - 2, NX - 1) else "body"


def _top(i: int, k: int) -> str:
    if WINDSCREEN[0] <= i < WINDSCREEN[1]:
        return "glass"
    if REAR_GLASS[0] <= i < REAR_GLASS[1] and k > 0:
        return "glass"
    return "body"


def _bottom(i: int, k: int) -> str:
    return "wheel" if _on_wheel(i) and k < 2 else "underside"


def _front(j: int, k: int) -> str:
    if j in (3, 4) and k == 0:
        return "head_light"
    if j in (2, 3) and k > 0:
        return "grille"
    return "bumper" if j < 2 else "body"


def _rear(j: int, k: int) -> str:
    if j in (3, 4) and k == 0:
        return "tail_light"
    return "bumper" if j < 2 else "body"
