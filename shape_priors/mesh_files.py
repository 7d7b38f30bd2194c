"""Read sets of car meshes, and turn them into the object frame."""

from __future__ import annotations

from array import array
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from diffrender.errors import InputError, require

__all__ = [
    "check_solid",
    "check_triangles",
    "find_axes",
    "load_triangles",
    "object_rotation",
    "read_mesh",
    "to_object_frame",
]

_LARGEST_FILE = 256 * 2**20  # bytes
_MOST_VERTICES = 500_000
_PLY_NAMES = {
    "vertex": ({b"x"}, {b"y"}, {b"z"}),
    "face": ({b"vertex_index", b"vertex_indices"},),
}
_LONGEST_LINE, _MOST_HEADER = 4096, 1000  # bytes and lines of a PLY file's header
_AXES = {"x": 0, "y": 1, "z": 2}


def read_mesh(path: str | Path) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) float64 and faces (F, 3) int64 of an OBJ or PLY file, as they stand in it.

    Raises:
        InputError: as `load_triangles`, or another suffix, or too few or too many vertices.
        MissingExtraError: a PLY file, and trimesh is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in (".obj", ".ply"):
        raise InputError(f"{path}: expected an .obj or .ply mesh")
    vertices, faces = load_triangles(path)
    if not 4 <= len(vertices) <= _MOST_VERTICES:
        raise InputError(
            f"{path}: {len(vertices)} vertices and {len(faces)} triangles, "
            f"expected a triangle mesh of 4 to {_MOST_VERTICES} vertices"
        )
    return vertices, faces


def load_triangles(path: Path) -> tuple[Tensor, Tensor]:
    """Vertices (V, 3) float64 and faces (F, 3) int64 of a file in any format that trimesh reads.

    Vertices and faces of OBJ and PLY files stand in the file's order, none split or left out;
    larger polygons are cut into fans.

    Raises:
        InputError: no such file, too large, unreadable, without triangles, or with values that
            are not finite. The message names the file.
        MissingExtraError: not an OBJ file, and trimesh is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path}: larger than {_LARGEST_FILE} bytes")
    kind = path.suffix[1:].lower()
    trimesh = None if kind == "obj" else require("trimesh", "trimesh")
    try:
        vertices, faces = _read_obj(path) if trimesh is None else _by_trimesh(trimesh, path, kind)
    except InputError as error:
        raise InputError(f"{path}: cannot be read as a mesh: {error}") from error
    except Exception as error:  # the parsers raise whatever they stumble on
        what = f"{type(error).__name__} {error}"
        raise InputError(f"{path}: cannot be read as a mesh ({what}); is it damaged?") from error
    check_triangles(str(path), vertices, faces)
    return vertices, faces


def check_triangles(name: str, vertices: Tensor, faces: Tensor) -> None:  # (V, 3), (F, 3)
    """Raise InputError, which begins with `name`, unless faces join vertices that are finite."""
    if not len(faces):
        raise InputError(f"{name}: holds no triangle, expected a triangle mesh")
    if vertices.shape[1:] != (3,) or faces.shape[1:] != (3,):
        raise InputError(
            f"{name}: vertices {tuple(vertices.shape)} and faces {tuple(faces.shape)}, expected "
            f"three coordinates and three corners each"
        )
    if not bool(torch.isfinite(vertices).all()):
        raise InputError(f"{name}: holds vertices that are not finite")
    if int(faces.min()) < 0 or int(faces.max()) >= len(vertices):
        raise InputError(f"{name}: a face points outside the {len(vertices)} vertices")


def check_solid(name: str, vertices: Tensor) -> None:  # (V, 3)
    """Raise InputError, which begins with `name`, unless the vertices extend along every axis."""
    extent = vertices.amax(0) - vertices.amin(0)
    if not bool((extent > 0).all()):
        across = " x ".join(f"{side:.3g}" for side in extent.tolist())
        raise InputError(f"{name}: a flat mesh ({across}), expected a solid one; leave it out")


def _by_trimesh(trimesh: ModuleType, path: Path, kind: str) -> tuple[Tensor, Tensor]:
    options: dict[str, bool] = {}
    if kind == "ply":
        _check_rows(path)
        options = {"skip_materials": True, "fix_texture": False}  # which would split vertices
    mesh: Any = trimesh.load(path, file_type=kind, process=False, force="mesh", **options)
    vertices = torch.as_tensor(mesh.vertices.copy(), dtype=torch.float64)
    return vertices, torch.as_tensor(mesh.faces.copy(), dtype=torch.int64)


def _read_obj(path: Path) -> tuple[Tensor, Tensor]:
    """The v and f lines of an OBJ file; trimesh counts negative indices from the file's end."""
    vertices, faces = array("d"), array("q")
    with path.open("rb") as file:
        encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with path.open(encoding=encoding, errors="replace") as lines:
        begun = ""
        for number, line in enumerate(chain(lines, [""]), 1):
            if begun or line.endswith("\\\n"):
                begun += line.removesuffix("\\\n") + " "
                if line.endswith("\\\n"):
                    continue
                line, begun = begun, ""
            fields = line.split() if "#" not in line else line.partition("#")[0].split()
            if not fields or fields[0] not in ("v", "f"):
                continue
            if len(fields) < 4:
                raise InputError(
                    f"line {number} has {len(fields) - 1} values after {fields[0]}, expected 3 or "
                    f"more"
                )
            if fields[0] == "v":
                vertices.extend(map(float, fields[1:4]))
                continue
            del fields[0]
            corners = list(
                map(int, [f.partition("/")[0] for f in fields] if "/" in line else fields)
            )
            if min(corners) < 1:
                corners = _counted(corners, len(vertices) // 3, number)
            if len(corners) == 3:
                faces.extend(corners)
                continue
            for i in range(1, len(corners) - 1):
                faces.extend((corners[0], corners[i], corners[i + 1]))
    return (
        torch.tensor(vertices, dtype=torch.float64).reshape(-1, 3),
        torch.tensor(faces, dtype=torch.int64).reshape(-1, 3) - 1,
    )


def _counted(corners: list[int], count: int, line: int) -> list[int]:
    """A face's indices from 1 on; negative ones count back from the last of `count` vertices."""
    for index in corners:
        if index == 0 or index < -count:
            raise InputError(
                f"line {line} has vertex index {index}, expected 1 and up, or -1 to -{count} "
                f"counted back from the last vertex before it"
            )
    return [index if index > 0 else count + 1 + index for index in corners]


def _check_rows(path: Path) -> None:
    """Raise InputError if a text PLY file has fewer rows, or shorter ones, than its header says."""
    with path.open("rb") as file:
        header: list[list[bytes]] = []
        while not header or header[-1] != [b"end_header"]:
            line = file.readline(_LONGEST_LINE)
            if not line or len(header) > _MOST_HEADER:
                raise InputError("its header has no end_header line")
            header.append(line.split())
        if [b"format", b"ascii"] not in [fields[:2] for fields in header]:
            return  # trimesh compares a binary file's size
        rows = filter(None, (line.split() for line in file))
        elements = [i for i, fields in enumerate(header) if fields[:1] == [b"element"]]
        for first, last in zip(elements, [*elements[1:], len(header)], strict=True):
            _, name, length = (field.decode() for field in header[first])
            properties = [f for f in header[first + 1 : last] if f[:1] == [b"property"]]
            names, lists = {f[-1] for f in properties}, [f[1] == b"list" for f in properties]
            if not all(names & choice for choice in _PLY_NAMES.get(name, ())):
                raise InputError(
                    f"element {name} has properties {', '.join(n.decode() for n in sorted(names))}"
                    f", expected x, y and z of a vertex, and vertex_indices of a face"
                )
            for number in range(int(length)):
                row, at = next(rows, []), 0
                for is_list in lists:
                    at += 1 + (int(row[at]) if is_list and at < len(row) else 0)
                if not row or at > len(row):
                    raise InputError(
                        f"row {number + 1} of the {length} of element {name} is missing or cut "
                        f"off; was the file written to its end?"
                    )


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

    Raises:
        InputError: a flat mesh.
    """
    check_solid("the mesh whose axes are to be found", vertices)
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
