"""Meshes as viewers want them: one index per corner, normals split at creases, PNG textures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from diffrender.errors import InputError
from diffrender.meshes import Mesh

__all__ = [
    "Y_UP",
    "Surface",
    "encode_png",
    "finite_values",
    "linear_to_srgb",
    "make_surface",
    "texture_bytes",
]

# OpenCV axes (x right, y down, z forward) to glTF and OBJ axes (x right, y up, z backward):
# half a turn about x, so it keeps windings and is its own inverse.
Y_UP = np.diag([1.0, -1.0, -1.0])

CREASE = math.cos(math.radians(40.0))


@dataclass(frozen=True)
class Surface:
    """A mesh in y-up axes with one index buffer.

    Attributes:
        positions: (N, 3) float32 metres.
        normals: (N, 3) float32, unit.
        uv: (N, 2) float32, origin at the texture's top-left corner, or None.
        colours: (N, 3) float32 linear RGB, or None.
        indices: (F, 3) uint32, counter-clockwise from outside.
        texture_png: the sRGB texture, or None.
    """

    positions: np.ndarray  # (N, 3)
    normals: np.ndarray  # (N, 3)
    indices: np.ndarray  # (F, 3)
    uv: np.ndarray | None = None  # (N, 2)
    colours: np.ndarray | None = None  # (N, 3)
    texture_png: bytes | None = None


def encode_png(image: np.ndarray) -> bytes:  # (H, W, 3)
    """PNG bytes of a uint8 RGB image."""
    import cv2

    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise RuntimeError(f"PNG encoding failed for an image of shape {image.shape}")
    return bytes(data.tobytes())


def texture_bytes(mesh: Mesh) -> np.ndarray | None:
    """The mesh's texture as (H, W, 3) uint8 sRGB, or None without texture or coordinates."""
    if mesh.texture is None or mesh.uv is None:
        return None
    texture = mesh.texture.detach().cpu().double().numpy()
    return np.rint(np.clip(np.nan_to_num(texture), 0, 1) * 255).astype(np.uint8)


def finite_values(name: str, values: Tensor) -> np.ndarray:
    """The tensor as float64.

    Raises:
        InputError: it holds NaN or infinite values (no viewer could show them).
    """
    array = values.detach().cpu().double().numpy()
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinite values and cannot be exported")
    return array


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """sRGB encoding (IEC 61966-2-1) of linear values in [0, 1]."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def make_surface(mesh: Mesh) -> Surface:
    """Turn a mesh of the object frame to y-up axes and split it at texture seams and creases.

    A texture wins over vertex colours: glTF would multiply the two.

    Raises:
        InputError: there is no face, a vertex or texture coordinate is not finite, or a vertex
            lies farther out than float32 reaches.
    """
    vertices = finite_values("Mesh.vertices", mesh.vertices)
    if not len(mesh.faces):
        raise InputError("Mesh.faces is empty, expected a face: glTF has no mesh without any")
    if np.abs(vertices).max() > np.finfo(np.float32).max:
        raise InputError(
            f"Mesh.vertices reaches {np.abs(vertices).max():.3g}, expected coordinates within "
            f"float32, which glTF holds; they should be metres"
        )
    faces = mesh.faces.cpu().numpy()
    positions = vertices @ Y_UP.T
    normals = _corner_normals(positions, faces)  # (F, 3, 3)

    texture = texture_bytes(mesh)
    textured = texture is not None and mesh.uv is not None and mesh.face_uv is not None
    face_uv = mesh.face_uv.cpu().numpy() if textured and mesh.face_uv is not None else faces * 0
    key = np.concatenate(
        [
            faces.reshape(-1, 1),
            face_uv.reshape(-1, 1),
            np.rint(normals.reshape(-1, 3) * 1000).astype(np.int64),
        ],
        axis=1,
    )
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    owner = faces.reshape(-1)[first]
    colours = None
    if mesh.colours is not None and not textured:
        linear = mesh.colours.detach().cpu().double().numpy()[owner]
        colours = np.clip(np.nan_to_num(linear), 0, 1).astype(np.float32)
    uv = None
    if textured and mesh.uv is not None:
        uv = finite_values("Mesh.uv", mesh.uv)[face_uv.reshape(-1)[first]].astype(np.float32)
    return Surface(
        positions=positions[owner].astype(np.float32),
        normals=normals.reshape(-1, 3)[first].astype(np.float32),
        indices=inverse.reshape(-1, 3).astype(np.uint32),
        uv=uv,
        colours=colours,
        texture_png=encode_png(texture) if textured and texture is not None else None,
    )


def _corner_normals(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals per corner: area-weighted over the faces at the vertex within the crease."""
    a, b, c = (positions[faces[:, i]] for i in range(3))
    weighted = np.cross(b - a, c - a)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    unit = np.where(length > 0, weighted / np.maximum(length, 1e-30), [0.0, 1.0, 0.0])

    # All ordered pairs of corners that share a vertex, built from the runs of a sorted list.
    corner_vertex = faces.reshape(-1)
    order = np.argsort(corner_vertex, kind="stable")
    counts = np.bincount(corner_vertex, minlength=len(positions))
    start = np.concatenate([[0], np.cumsum(counts)[:-1]])
    repeats = counts[corner_vertex]
    mine = np.repeat(np.arange(len(corner_vertex)), repeats)
    within = np.arange(len(mine)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    other = order[start[corner_vertex[mine]] + within]

    smooth = (unit[mine // 3] * unit[other // 3]).sum(axis=1) > CREASE
    total = np.zeros((len(corner_vertex), 3))
    np.add.at(total, mine[smooth], weighted[other[smooth] // 3])
    norm = np.linalg.norm(total, axis=1, keepdims=True)
    fallback = np.repeat(unit, 3, axis=0)
    result = np.where(norm > 0, total / np.maximum(norm, 1e-30), fallback)
    return result.reshape(-1, 3, 3)
