"""Texture atlas of the car lattice: six charts that never overlap.

The two sides are plain projections along z, so wheels stay round in the texture; the other four
charts are rectangles whose rows and columns keep their average lengths on the surface.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffrender.shape_priors.car_lattice import CHARTS, lattice

__all__ = ["car_atlas"]

Array = NDArray[np.float64]


def car_atlas(vertices: Array) -> tuple[Array, NDArray[np.int64]]:  # (V, 3)
    """Texture coordinates for a typical car of the lattice.

    Args:
        vertices: (V, 3) object frame, metres.

    Returns:
        uv (T, 2) in [0, 1] with the origin at the top-left corner, and face_uv (F, 3).
    """
    skin = lattice()
    uv: list[Array] = []
    face_uv = np.zeros_like(skin.faces)
    count = 0
    for chart, (name, (u0, v0, u1, v1)) in enumerate(CHARTS.items()):
        of_chart = skin.face_charts == chart
        used, local = np.unique(skin.faces[of_chart], return_inverse=True)
        nodes = skin.nodes[used]
        if name in ("left", "right"):
            flat = vertices[used][:, :2] * [1 if name == "right" else -1, 1]
        elif name in ("top", "bottom"):
            flat = _unrolled(vertices, nodes, (2, 0))[:, ::-1]
        else:
            flat = _unrolled(vertices, nodes, (2, 1)) * [1, -1]
        low, high = flat.min(0), flat.max(0)
        uv.append([u0, v0] + (flat - low) / (high - low) * [u1 - u0, v1 - v0])
        face_uv[of_chart] = local.reshape(-1, 3) + count
        count += len(used)
    return np.concatenate(uv), face_uv


def _unrolled(vertices: Array, nodes: NDArray[np.int64], axes: tuple[int, int]) -> Array:
    """Positions on a rectangle whose line spacings are the mean spacings on the surface."""
    index = lattice().index
    flat = np.zeros((len(nodes), 2))
    for out, axis in enumerate(axes):
        lines = nodes[:, axis]
        step = np.zeros(3, dtype=np.int64)
        step[axis] = 1
        spacing = [0.0]
        for line in range(int(lines.max())):
            here = nodes[lines == line]
            gap = vertices[index[tuple((here + step).T)]] - vertices[index[tuple(here.T)]]
            spacing.append(float(np.linalg.norm(gap, axis=1).mean()))
        flat[:, out] = np.cumsum(spacing)[lines]
    return flat
