"""A mesh file as a scene of the catalogue, with a camera that sees all of it."""

from __future__ import annotations

from pathlib import Path

import torch

from diffrender.cameras import Camera
from diffrender.catalogue import Scene, Triangles, standard_scene
from diffrender.catalogue.standard import look_at
from diffrender.errors import InputError
from diffrender.shape_priors.mesh_files import load_triangles

__all__ = ["mesh_scene"]

_SUFFIXES = (".obj", ".ply", ".off", ".stl", ".glb")


def mesh_scene(path: Path, size: tuple[int, int]) -> tuple[Scene, Camera]:
    """Triangles of a file, two metres across around the origin, grey, seen from above the front.

    The file's axes are taken as y up (glTF, most OBJ) and turned to y down.

    Raises:
        InputError: the file is not there, is not one of the formats, is too large, is damaged, or
            holds no triangle or a coordinate that is not finite.
        MissingExtraError: trimesh, which all formats but OBJ need, is not installed.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{path.name}: expected a mesh file of {', '.join(_SUFFIXES)}")
    vertices, faces = load_triangles(path)
    low, high = vertices.amin(0), vertices.amax(0)
    reach = (high - low).max().clamp(min=1e-12)
    if not torch.isfinite(reach):
        raise InputError(f"{path.name}: its coordinates are too large to be drawn; scale them down")
    turned = vertices.new_tensor([1.0, -1.0, -1.0])
    placed = ((vertices - (low / 2 + high / 2)) / reach * 2 * turned).float()
    standard = standard_scene()
    scene = Scene(
        Triangles(placed, faces, torch.full_like(placed, 0.6)), standard.light, standard.background
    )
    return scene, look_at(torch.tensor([1.6, -1.9, -4.2]), torch.zeros(3), size)
