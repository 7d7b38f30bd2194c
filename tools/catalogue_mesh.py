"""A mesh file as a scene of the catalogue, with a camera that sees all of it."""

from __future__ import annotations

from pathlib import Path

import torch

from diffrender.cameras import Camera
from diffrender.catalogue import Scene, Triangles, standard_scene
from diffrender.catalogue.standard import look_at
from diffrender.errors import InputError, require

__all__ = ["mesh_scene"]

_MOST_BYTES = 256 * 2**20
_SUFFIXES = (".obj", ".ply", ".off", ".stl", ".glb")


def mesh_scene(path: Path, size: tuple[int, int]) -> tuple[Scene, Camera]:
    """Triangles of a file, two metres across around the origin, grey, seen from above the front.

    The file's axes are taken as y up (glTF, most OBJ) and turned to y down.

    Raises:
        InputError: the file is not there, is not one of the formats, is too large, or holds no
            triangle or a coordinate that is not finite.
        MissingExtraError: trimesh is not installed.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path.name}: expected a mesh file of {', '.join(_SUFFIXES)}")
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path.name} has {path.stat().st_size} bytes, expected at most 256 MiB")
    trimesh = require("trimesh", "trimesh")
    try:
        mesh = trimesh.load(path, force="mesh", process=False)
        vertices = torch.tensor(mesh.vertices, dtype=torch.float32).reshape(-1, 3)
        faces = torch.tensor(mesh.faces, dtype=torch.int64).reshape(-1, 3)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(f"{path.name} cannot be read as a mesh: {error}") from error
    if not len(faces) or not torch.isfinite(vertices).all():
        raise InputError(f"{path.name} holds no triangle, or a vertex that is not finite")
    low, high = vertices.amin(0), vertices.amax(0)
    reach = (high - low).max().clamp(min=1e-12)
    placed = (vertices - (low + high) / 2) / reach * 2 * torch.tensor([1.0, -1.0, -1.0])
    standard = standard_scene()
    scene = Scene(
        Triangles(placed, faces, torch.full_like(placed, 0.6)), standard.light, standard.background
    )
    return scene, look_at(torch.tensor([1.6, -1.9, -4.2]), torch.zeros(3), size)
