"""GLB and OBJ, read back by another library."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from scene_fixture import car_mesh, make_object, make_scene, small_camera

from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.reconstruct.export import object_glb, save_scene, scene_glb
from diffrender.reconstruct.ground import ground_of
from diffrender.reconstruct.scene import Pose
from diffrender.reconstruct.surfaces import linear_to_srgb, make_surface
from diffrender.reconstruct.wavefront import write_obj

FLIP = np.diag([1.0, -1.0, -1.0])
POSE = Pose((1.0, 1.65, 12.0), (4.0, 1.6, 1.5), 0.7)


def load(data: bytes) -> trimesh.Scene:
    return trimesh.load(io.BytesIO(data), file_type="glb")


def tree_of(data: bytes) -> dict[str, Any]:
    magic, version, total = struct.unpack_from("<4sII", data)
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON")
    return json.loads(data[20 : 20 + length])


def quad(**looks: Any) -> Mesh:
    """A unit square standing upright (y down), seen from -z; top-left vertex first."""
    vertices = torch.tensor([[0.0, -1, 0], [1, -1, 0], [1, 0, 0], [0, 0, 0]])
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), **looks)


def quadrants() -> tuple[torch.Tensor, np.ndarray]:
    """A texture of four colours (top row: 10, 20; bottom row: 30, 40 in red) and its bytes."""
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4, :4, 0], pixels[:4, 4:, 0] = 10, 20
    pixels[4:, :4, 0], pixels[4:, 4:, 0] = 30, 40
    pixels[..., 1] = 200
    return torch.from_numpy(pixels).double() / 255, pixels


def sampled_at(mesh: trimesh.Trimesh, place: np.ndarray) -> int:
    """Red value that trimesh finds at the vertex nearest `place` (its v counts from below)."""
    vertex = int(np.argmin(np.linalg.norm(mesh.vertices - place, axis=1)))
    u, v = mesh.visual.uv[vertex]
    material = mesh.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    picture = np.asarray(image.convert("RGB"))
    row = int(np.clip((1 - v) * picture.shape[0], 0, picture.shape[0] - 1))
    column = int(np.clip(u * picture.shape[1], 0, picture.shape[1] - 1))
    return int(picture[row, column, 0])


def test_convention_nodes_place_vertices_where_the_poses_do() -> None:
    scene = make_scene()
    loaded = load(scene_glb(scene))
    for item, name in zip(scene.objects, ["car_1", "car_2"], strict=True):
        matrix, geometry = loaded.graph[name]
        mesh = loaded.geometry[geometry]
        found = trimesh.transform_points(mesh.vertices, matrix)
        rotation = item.pose.object_to_world_rotation.numpy()
        world = item.mesh.vertices.numpy() @ rotation.T + np.array(item.pose.location)
        expected = world @ FLIP
        distance = np.linalg.norm(expected[:, None] - found[None], axis=-1)
        assert distance.min(axis=1).max() < 1e-4
        assert distance.min(axis=0).max() < 1e-4


def test_convention_windings_and_normals_point_outwards() -> None:
    item = make_scene().objects[0]
    surface = make_surface(item.mesh)
    mesh = trimesh.Trimesh(surface.positions, surface.indices, process=True)
    assert mesh.is_watertight
    assert mesh.volume > 0
    a, b, c = (surface.positions[surface.indices[:, k]] for k in range(3))
    outward = np.cross(b - a, c - a)
    for corner in range(3):
        assert ((outward * surface.normals[surface.indices[:, corner]]).sum(axis=1) > 0).all()
    assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1, atol=1e-5)


def test_normals_are_smooth_on_a_sphere_and_sharp_on_a_box() -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    smooth = make_surface(Mesh(torch.tensor(ball.vertices), torch.tensor(ball.faces)))
    assert len(smooth.positions) == len(ball.vertices)
    assert (smooth.normals * smooth.positions).sum(axis=1).min() > 0.999
    box = trimesh.creation.box()
    sharp = make_surface(Mesh(torch.tensor(box.vertices), torch.tensor(box.faces)))
    assert len(sharp.positions) == 24
    assert np.allclose(np.abs(sharp.normals).max(axis=1), 1)


def test_camera_node_matches_the_camera() -> None:
    scene = make_scene()
    data = scene_glb(scene)
    loaded, tree = load(data), tree_of(data)
    (height, width), focal = scene.camera.size, 190.0
    fields = np.degrees(2 * np.arctan(np.array([width, height]) / (2 * focal)))
    # yfov and aspectRatio are what the format stores; the horizontal field follows from both.
    lens = tree["cameras"][0]["perspective"]
    across = np.degrees(2 * np.arctan(np.tan(lens["yfov"] / 2) * lens["aspectRatio"]))
    assert np.allclose([across, np.degrees(lens["yfov"])], fields)
    matrix = loaded.camera_transform
    assert np.allclose(matrix[:3, 3], scene.camera.centre.numpy() @ FLIP)
    assert np.allclose(matrix[:3, :3], np.eye(3))
    node = next(n for n in tree["nodes"] if n["name"] == "camera")
    assert np.allclose(node["extras"]["intrinsics"], scene.camera.intrinsics)
    assert (node["extras"]["height"], node["extras"]["width"]) == scene.camera.size


def test_turned_camera_looks_along_minus_z() -> None:
    turn = torch.tensor([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]], dtype=torch.float64)
    scene = make_scene()
    camera = dataclasses.replace(
        scene.camera, rotation=turn, translation=torch.tensor([0.5, 0.2, 0.1], dtype=torch.float64)
    )
    loaded = load(scene_glb(dataclasses.replace(scene, camera=camera)))
    ahead = camera.camera_to_world(torch.tensor([[0.0, 0, 7]], dtype=torch.float64)).numpy()
    found = trimesh.transform_points([[0, 0, -7]], loaded.camera_transform)
    assert np.allclose(found, ahead @ FLIP)


def test_extras_keep_class_score_and_pose() -> None:
    scene = make_scene()
    tree = tree_of(scene_glb(scene))
    node = next(n for n in tree["nodes"] if n["name"] == "car_2")
    extras = node["extras"]
    assert extras["class"] == "Car"
    assert extras["score"] == pytest.approx(0.8125)
    assert extras["pose"]["yaw"] == pytest.approx(2.6)
    assert extras["pose"]["size"] == pytest.approx([4.2, 1.7, 1.6])
    assert node["translation"] == pytest.approx([3.0, -1.65, -14.0])
    names = {n["name"] for n in tree["nodes"]}
    assert names == {"car_1", "car_2", "ground", "camera", "camera_frustum"}


def test_buffers_are_aligned_and_within_bounds() -> None:
    tree = tree_of(scene_glb(make_scene()))
    sizes = {5126: 4, 5125: 4}
    counts = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}
    end = tree["buffers"][0]["byteLength"]
    for accessor in tree["accessors"]:
        view = tree["bufferViews"][accessor["bufferView"]]
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= end
        each = sizes[accessor["componentType"]] * counts[accessor["type"]]
        assert accessor["count"] * each == view["byteLength"]


def test_objects_named_like_the_other_nodes_keep_their_places() -> None:
    scene = make_scene(("camera", "world"))
    loaded = load(scene_glb(scene))
    for item, node in zip(scene.objects, ("camera_2", "world_2"), strict=True):
        matrix, _ = loaded.graph[node]
        assert np.allclose(matrix[:3, 3] * [1, -1, -1], item.pose.location, atol=1e-6)
    assert np.allclose(loaded.camera_transform[:3, 3], scene.camera.centre.numpy() @ FLIP)


def test_ground_lies_under_the_wheels_and_faces_up() -> None:
    scene = make_scene()
    mesh = load(scene_glb(scene)).geometry["ground"]
    assert np.allclose(mesh.vertices[:, 1], -1.65)
    assert np.allclose(mesh.face_normals, [0, 1, 0])
    uphill = [dataclasses.replace(POSE, location=(0.0, 1.65 - 0.02 * z, z)) for z in (10.0, 30.0)]
    objects = [make_object(f"{i}", p, scene.camera, (0, 0, 0)) for i, p in enumerate(uphill)]
    ground = ground_of(dataclasses.replace(scene, objects=objects))
    assert ground.slope == pytest.approx(-0.02)
    assert ground.y(20.0) == pytest.approx(1.25)


def test_ground_passes_below_the_camera_by_the_height_of_the_run() -> None:
    poses = [dataclasses.replace(POSE, location=(0.0, 1.2, z)) for z in (10.0, 30.0)]
    scene = make_scene()
    objects = [make_object(f"{i}", p, scene.camera, (0, 0, 0)) for i, p in enumerate(poses)]
    low = dataclasses.replace(scene, objects=objects, settings={"camera_height": 1.2})
    ground = ground_of(low)
    assert (ground.height, ground.slope) == (1.2, 0.0)


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_convention_texture_is_not_flipped(kind: str, tmp_path: Path) -> None:
    texture, pixels = quadrants()
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    mesh = quad(uv=uv, face_uv=torch.tensor([[0, 1, 2], [0, 2, 3]]), texture=texture)
    item = make_object("quad", POSE, small_camera(), (0, 0, 0), mesh=mesh)
    if kind == "glb":
        (read,) = load(object_glb(item)).geometry.values()
    else:
        write_obj(mesh, tmp_path / "quad.obj")
        read = trimesh.load(tmp_path / "quad.obj", force="mesh", process=False)
    # Vertices are y-up now: the square's top is at y = +1.
    found = [sampled_at(read, np.array([x, y, 0.0])) for y in (1, 0) for x in (0, 1)]
    assert found == [10, 20, 30, 40]
    material = read.visual.material
    image = getattr(material, "baseColorTexture", None) or material.image
    assert np.array_equal(np.asarray(image.convert("RGB")), pixels)


def test_seams_split_vertices_in_the_glb_only(tmp_path: Path) -> None:
    texture, _ = quadrants()
    uv = torch.tensor([[0.0, 0], [0.5, 0], [0.5, 0.5], [1, 1], [0.5, 1], [0.6, 0.5]])
    mesh = quad(uv=uv, face_uv=torch.tensor([[0, 1, 2], [3, 4, 5]]), texture=texture)
    surface = make_surface(mesh)
    assert len(surface.positions) == 6
    corners = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert surface.uv is not None
    assert np.allclose(surface.uv[surface.indices], uv[corners])
    write_obj(mesh, tmp_path / "q.obj")
    text = (tmp_path / "q.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in text) == 4
    assert [line for line in text if line.startswith("f ")] == ["f 1/1 2/2 3/3", "f 1/4 3/5 4/6"]


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_vertex_colours_come_back_within_one_step(kind: str, tmp_path: Path) -> None:
    colours = torch.tensor([[1.0, 0, 0], [0, 0.5, 0], [0.25, 0.5, 0.75], [0.01, 0.2, 1]])
    mesh = quad(colours=colours)
    item = make_object("quad", POSE, small_camera(), (0, 0, 0), mesh=mesh)
    expected = colours.numpy()
    if kind == "glb":  # linear, as glTF wants it
        (read,) = load(object_glb(item)).geometry.values()
        found = np.asarray(read.visual.vertex_attributes["color"])
    else:  # sRGB, as readers of coloured OBJ take it
        write_obj(mesh, tmp_path / "q.obj")
        read = trimesh.load(tmp_path / "q.obj", process=False)
        found = np.asarray(read.visual.vertex_colors)[:, :3] / 255
        expected = linear_to_srgb(expected)
        assert not (tmp_path / "q.mtl").exists()
    order = [
        int(np.argmin(np.linalg.norm(read.vertices - p, axis=1)))
        for p in mesh.vertices.numpy() @ FLIP
    ]
    assert np.abs(found[order] - expected).max() <= 1 / 255


def test_object_files_are_canonical(tmp_path: Path) -> None:
    scene = make_scene()
    save_scene(scene, tmp_path)
    length, width, height = scene.objects[0].pose.size
    expected = np.array([[-length / 2, 0, -width / 2], [length / 2, height, width / 2]])
    for suffix in ("glb", "obj"):
        read = trimesh.load(tmp_path / "objects" / f"car_1.{suffix}", force="mesh")
        assert np.allclose(read.bounds, expected, atol=1e-4)
    assert "car_1.png" in (tmp_path / "objects" / "car_1.mtl").read_text()


def test_srgb_encoding_agrees_with_the_standards_points() -> None:
    # IEC 61966-2-1: the two branches meet at 0.0031308; 18 % grey encodes to 0.4613.
    assert linear_to_srgb(np.array([0.0, 1.0])) == pytest.approx([0.0, 1.0])
    assert float(linear_to_srgb(np.array(0.18))) == pytest.approx(0.4614, abs=2e-4)
    assert float(linear_to_srgb(np.array(0.0031308))) == pytest.approx(0.04045, abs=1e-5)


def test_a_broken_mesh_is_refused_with_the_reason() -> None:
    mesh = car_mesh((4.0, 1.6, 1.5), (1, 0, 0))
    vertices = mesh.vertices.clone()
    vertices[0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN or infinite"):
        make_surface(dataclasses.replace(mesh, vertices=vertices))
    with pytest.raises(InputError, match=r"Mesh\.faces is empty"):
        make_surface(Mesh(mesh.vertices, mesh.faces[:0]))
    with pytest.raises(InputError, match=r"Mesh\.vertices reaches .*e\+39.*within float32"):
        make_surface(Mesh(mesh.vertices.double() * 1e39, mesh.faces))
    texture, _ = quadrants()
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [float("nan"), 1]])
    seamed = quad(uv=uv, face_uv=torch.tensor([[0, 1, 2], [0, 2, 3]]), texture=texture)
    with pytest.raises(InputError, match=r"Mesh\.uv holds NaN"):
        make_surface(seamed)


def test_a_broken_mesh_leaves_no_obj(tmp_path: Path) -> None:
    vertices = quad().vertices
    vertices[1, 2] = float("inf")
    with pytest.raises(InputError, match=r"Mesh\.vertices holds NaN or infinite"):
        write_obj(Mesh(vertices, quad().faces), tmp_path / "a.obj")
    texture, _ = quadrants()
    uv, faces = torch.full((4, 2), float("nan")), quad().faces
    with pytest.raises(InputError, match=r"Mesh\.uv holds NaN"):
        write_obj(quad(uv=uv, face_uv=faces, texture=texture), tmp_path / "a.obj")
    assert not list(tmp_path.iterdir())
    colours = torch.tensor([[float("nan"), 1, 0]]).expand(4, 3)
    (path,) = write_obj(quad(colours=colours), tmp_path / "a.obj")
    assert "nan" not in path.read_text()


def test_colours_of_half_precision_are_written() -> None:
    colours = torch.tensor([[0.0, 0.5, 1.0]]).expand(4, 3)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        surface = make_surface(quad(colours=colours.to(dtype)))
        assert surface.colours is not None and surface.colours.dtype == np.float32
        assert np.array_equal(surface.colours, colours.numpy())
    texture, _ = quadrants()
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.bfloat16)
    made = make_surface(quad(uv=uv, face_uv=quad().faces, texture=texture.bfloat16()))
    assert made.uv is not None and np.array_equal(np.unique(made.uv), [0, 1])
