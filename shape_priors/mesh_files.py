"""Read sets of car meshes, and turn them into the object frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["find_axes", "object_rotation", "read_mesh", "to_object_frame"]

_LARGEST_FILE = 256 * 2**20  # bytes
_MOST_VERTICES = 500_000
_AXES = {"x": 0, "y": 1, "z": 2}


def read_mesh(path: str | Path) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) float64 and faces (F, 3) int64 of an OBJ or PLY file, as they stand in it.

    Raises:
        InputError: no such file, too large, unreadable, without triangles, or with values that
            are not finite. The message names the file.
    """
    import trimesh

    path = Path(path)
    if path.suffix.lower() not in (".obj", ".ply"):
        raise InputError(f"{path}: expected an .obj or .ply mesh")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path}: larger than {_LARGEST_FILE} bytes")
    try:
        mesh: Any = trimesh.load(
            path,
            file_type=path.suffix[1:].lower(),
            process=False,
            maintain_order=True,
            skip_materials=True,
            force="mesh",
        )
        vertices = torch.as_tensor(mesh.vertices.copy(), dtype=torch.float64)
        faces = torch.as_tensor(mesh.faces.copy(), dtype=torch.int64)
    except Exception as error:  # the parsers raise whatever they stumble on
        raise InputError(f"{path}: not a readable mesh ({error})") from error
    if len(faces) == 0 or not 4 <= len(vertices) <= _MOST_VERTICES:
        raise InputError(
            f"{path}: {len(vertices)} vertices and {len(faces)} triangles, "
            f"expected a triangle mesh of 4 to {_MOST_VERTICES} vertices"
        )
    if not bool(torch.isfinite(vertices).all()):
        raise InputError(f"{path}: holds vertices that are not finite")
    if int(faces.min()) < 0 or int(faces.max()) >= len(vertices):
        raise InputError(f"{path}: a face points outside the {len(vertices)} vertices")
    return vertices, faces


def object_rotation(forward: str, up: str) -> Tensor:
    """mesh_to_object rotation (3, 3) for axes such as forward="+z", up="-y".

    Raises:
        InputError: an axis that is not one of +x, -x, +y, -y, +z, -z, or twice the same axis.
    """
    directions = []
    for name, axis in (("forward", forward), ("up", up)):
        sign, letter = axis[:-1] or "+", axis[-1:]
        if sign not in ("+", "-") or letter not in _AXES:
            raise InputError(f"{name} axis {axis!r}, expected one of +x, -x, +y, -y, +z, -z")
        direction = torch.zeros(3, dtype=torch.float64)
        direction[_AXES[letter]] = 1.0 if sign == "+" else -1.0
        directions.append(direction)
    ahead, down = directions[0], -directions[1]
    if float(ahead @ down) != 0:
        raise InputError(f"forward axis {forward!r} and up axis {up!r} are the same axis")
    return torch.stack([ahead, down, torch.linalg.cross(ahead, down)])


def find_axes(vertices: Tensor) -> tuple[str, str]:  # (V, 3)
    """Forward and up axes of a car, such as ("+z", "-y").

    A car is longest along its length and mirror-symmetric across its width; the roof is shorter
    than the floor, and lies behind the middle.
    """
    points = vertices - (vertices.amin(0) + vertices.amax(0)) / 2
    extent = points.amax(0) - points.amin(0)
    length = int(extent.argmax())
    across = min((a for a in range(3) if a != length), key=lambda a: _asymmetry(points, a))
    vertical = 3 - length - across
    height, along = points[:, vertical] / extent[vertical], points[:, length]
    reach = [
        float(along[side * height > 0.3].amax() - along[side * height > 0.3].amin())
        for side in (1, -1)
    ]
    up = 1 if reach[0] < reach[1] else -1
    roof = along[up * height > 0.25]
    forward = -1 if float(roof.amax() + roof.amin()) > 0 else 1
    letters = "xyz"
    return f"{'+-'[forward < 0]}{letters[length]}", f"{'+-'[up < 0]}{letters[vertical]}"


def _asymmetry(points: Tensor, axis: int) -> float:
    """Mean distance from each mirrored vertex to the nearest vertex."""
    some = points[:: max(1, len(points) // 1000)]
    mirrored = some.clone()
    mirrored[:, axis] *= -1
    return float(torch.cdist(mirrored, some).amin(1).mean())


def to_object_frame(
    vertices: Tensor,  # (..., V, 3)
    forward: str,
    up: str,
    scale: float = 1.0,
) -> Tensor:
    """Rotate a mesh into the object frame and put the middle of its bottom at the origin.

    Shapes: (..., V, 3) -> (..., V, 3); `scale` turns the file's units into metres.
    """
    points = vertices @ object_rotation(forward, up).to(vertices).mT * scale
    low, high = points.amin(-2, keepdim=True), points.amax(-2, keepdim=True)
    middle = (low + high) / 2
    return points - torch.cat([middle[..., :1], high[..., 1:2], middle[..., 2:]], -1)
