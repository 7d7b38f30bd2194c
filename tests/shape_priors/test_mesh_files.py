"""Mesh files as others write them: read as they stand in the file, or refused by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from diffrender.errors import InputError
from diffrender.shape_priors.mesh_files import read_mesh
from diffrender.tools.catalogue_mesh import mesh_scene

POINTS = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
FACES = "f 1 2 3\nf 1 3 4\nf 1 4 2\nf 2 4 3\n"
TETRAHEDRON = [[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]
ROWS = "0 0 0\n1 0 0\n0 1 0\n0 0 1\n"
LISTS = "3 0 1 2\n3 0 2 3\n3 0 3 1\n3 1 3 2\n"


def ply(body: str, faces: int = 4, name: str = "vertex_indices", axes: str = "xyz") -> str:
    columns = "".join(f"property float {axis}\n" for axis in axes)
    return (
        f"ply\nformat ascii 1.0\nelement vertex 4\n{columns}element face {faces}\n"
        f"property list uchar int {name}\nend_header\n{body}"
    )


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def glb(indices: list[int], offset: int = 0) -> bytes:
    """Four points and their triangles as binary glTF; `offset` is where the points begin."""
    data = struct.pack("<12f", *(float(x) for x in ROWS.split()))
    data += struct.pack("<12I", *indices)
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5125, "count": 12, "type": "SCALAR"},
    ]
    views = [
        {"buffer": 0, "byteOffset": offset, "byteLength": 48},
        {"buffer": 0, "byteOffset": 48, "byteLength": 48},
    ]
    tree = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}], "accessors": accessors, "bufferViews": views,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": 96}],
    }  # fmt: skip
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


@pytest.mark.parametrize(
    "text",
    [
        POINTS + FACES,
        (POINTS + FACES).replace("\n", "\r\n"),
        "\ufeff# made by hand\n" + POINTS + FACES.replace(" 3\n", " \\\n3 # third\n"),
        POINTS.replace("\n", " 0.5 0.5 0.5\n") + "vt 0 0\nvt 1 1\nvn 0 0 1\n"
        "f 1/1/1 2/2/1 3/1/1\nf 1//1 3//1 4//1\nf 1/2 4/1 2\nf 2 4 3\n",
        POINTS + "mtllib a.mtl\nusemtl b\nf 1 2 3\nusemtl a\nf 1 3 4\nusemtl b\nf 1 4 2\nf 2 4 3\n",
        POINTS + "o a\nf 1 2 3\ng b\nf 1 3 4\ns 1\nf 1 4 2\nl 1 2\no c\nf 2 4 3\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 0 0 1\nf -4 -2 -1\nf 1 -1 -3\nf 2 4 3\n",
    ],
    ids=["plain", "dos", "continued", "textured", "materials", "groups", "negative"],
)
def test_an_obj_comes_as_it_stands(tmp_path: Path, text: str) -> None:
    """No vertex is split at seams or materials; -1 is the last vertex before the face."""
    path = written(tmp_path / "one.obj", text)
    vertices, faces = read_mesh(path)
    assert vertices.flatten().tolist() == [float(x) for x in ROWS.split()]
    assert faces.tolist() == TETRAHEDRON
    assert mesh_scene(path, (12, 16))[0].content.faces.tolist() == TETRAHEDRON  # type: ignore[union-attr]


def test_polygons_are_fans_in_the_order_of_the_file(tmp_path: Path) -> None:
    points = POINTS + "v 1 1 0\nv 2 2 1\n"
    path = written(tmp_path / "one.obj", points + "f 1 2 5 3\nf 1 2 4\nf 1 2 3 4 5\n")
    fans = [[0, 1, 4], [0, 4, 2], [0, 1, 3], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert read_mesh(path)[1].tolist() == fans


def test_a_ply_comes_as_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    vertices, faces = read_mesh(written(tmp_path / "one.ply", ply(ROWS + LISTS)))
    assert vertices.flatten().tolist() == [float(x) for x in ROWS.split()]
    assert faces.tolist() == TETRAHEDRON


BROKEN = [
    ("a.obj", POINTS + "f 0 1 2\n" + FACES, "line 5 has vertex index 0, expected 1 and up"),
    ("a.obj", POINTS + "f -5 1 2\n" + FACES, "line 5 has vertex index -5, expected .* -1 to -4"),
    ("a.obj", POINTS + "f 1 2\n" + FACES, "line 5 has 2 values after f, expected 3"),
    ("a.obj", POINTS + "f 1 2 9\n", "a face points outside the 4 vertices"),
    ("a.obj", POINTS + f"f 1 2 {10**25}\n", "cannot be read as a mesh"),
    ("a.obj", "v 0 0\nv 1 0\nv 0 1\nv 1 1\nf 1 2 3\n", "line 1 has 2 values after v, expected 3"),
    ("a.ply", ply(ROWS + LISTS[:-8]), "row 4 of the 4 of element face is missing or cut off"),
    ("a.ply", ply(ROWS + LISTS[:-3]), "row 4 of the 4 of element face is missing or cut off"),
    ("a.ply", ply(ROWS + LISTS, faces=10**12), "row 5 of the 1000000000000 of element face"),
    ("a.ply", ply(ROWS + LISTS.replace("1 2", "1 9")), "outside the 4 vertices"),
    ("a.ply", ply(ROWS + LISTS, name="foo"), "element face has properties foo, expected .*indices"),
    ("a.ply", ply("0 0\n1 0\n0 1\n1 1\n" + LISTS, axes="xy"), "vertex has properties x, y, expec"),
    ("a.ply", "ply\nformat ascii 1.0\nelement vertex 4\n", "no end_header line"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN, ids=range(len(BROKEN)))
def test_broken_files_say_what_is_wrong(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    if name == "a.ply":
        pytest.importorskip("trimesh")
    path = written(tmp_path / name, content)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        read_mesh(path)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        mesh_scene(path, (12, 16))


def test_broken_binary_scenes_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    whole = [i for face in TETRAHEDRON for i in face]
    scene, _ = mesh_scene(written(tmp_path / "a.glb", glb(whole)), (12, 16))
    assert scene.content.faces.tolist() == TETRAHEDRON  # type: ignore[union-attr]
    for content in (glb([*whole[:-1], 9]), glb(whole, offset=-48), glb(whole)[:-60]):
        with pytest.raises(InputError, match=r"a\.glb: "):
            mesh_scene(written(tmp_path / "a.glb", content), (12, 16))
    with pytest.raises(InputError, match=r"absent\.glb: no such file"):
        mesh_scene(tmp_path / "absent.glb", (12, 16))


def test_a_scene_of_any_scale_is_two_metres(tmp_path: Path) -> None:
    far = POINTS.replace("1", "1e300")
    content = mesh_scene(written(tmp_path / "a.obj", far + FACES), (12, 16))[0].content
    vertices: torch.Tensor = content.vertices  # type: ignore[union-attr]
    assert float(vertices.amax() - vertices.amin()) == pytest.approx(2.0)
    wide = "v -1e308 0 0\nv 1e308 0 0\nv 0 1 0\nv 0 0 1\n"
    with pytest.raises(InputError, match=r"a\.obj: its coordinates are too large"):
        mesh_scene(written(tmp_path / "a.obj", wide + FACES), (12, 16))
