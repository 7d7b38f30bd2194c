"""Foliage of synthetic streets: crowns of trees and bushes, as ragged leaf triangles."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from diffrender.datasets.synthetic_geometry import grid_strip, turned

__all__ = ["cloud", "crown_template"]


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
