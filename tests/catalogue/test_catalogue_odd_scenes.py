"""Scenes at the edge of what can be drawn: no faces, one pixel, faces seen along their plane."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch

from diffrender.catalogue import (
    Light,
    Rendering,
    Scene,
    Triangles,
    find_technique,
    list_techniques,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.evaluate import in_double
from diffrender.catalogue.mesh.edge_sampling_shadows import EdgeSamplingShadows
from diffrender.catalogue.standard import look_at
from diffrender.errors import InputError

_OF_TRIANGLES = [
    name
    for name in list_techniques()
    if find_technique(name).card.family.startswith(("mesh", "global"))
    and name not in ("translucent-gaussians", "plateau-reduced")  # sees Gaussians, sees poses
]
_CUBE = [[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)]
_SIDES = [
    [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
    [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
]  # fmt: skip


def scene_of(vertices: list[list[float]], faces: list[list[int]]) -> Scene:
    corners = torch.tensor(vertices).view(-1, 3)
    mesh = Triangles(
        corners, torch.tensor(faces, dtype=torch.int64).view(-1, 3), torch.full_like(corners, 0.6)
    )
    light = Light(torch.tensor([-0.5, -1.0, -0.7]), torch.full((3,), 0.75), torch.full((3,), 0.35))
    return Scene(mesh, light, torch.tensor([0.1, 0.2, 0.3]))


def drawn(name: str, scene: Scene, size: tuple[int, int]) -> tuple[Rendering, torch.Tensor]:
    """The rendering along the z axis, and the gradient of its sum to the vertices."""
    technique = find_technique(name)
    camera = look_at(torch.tensor([0.0, 0.0, -4.0]), torch.zeros(3), size)
    prepared = technique.prepare(scene)
    names = prepared.parameters()
    moved = "vertices" if "vertices" in names else "attributes"
    leaf = names[moved].detach().clone().requires_grad_()
    found = technique.render(prepared.replaced(moved, leaf), camera)
    total = found.image.sum() + found.silhouette.sum() + found.depth.sum()
    gradient = torch.zeros_like(leaf)
    if total.requires_grad:
        (given,) = torch.autograd.grad(total, leaf, allow_unused=True)
        gradient = gradient if given is None else given
    return found, gradient


@pytest.mark.parametrize("name", _OF_TRIANGLES)
@pytest.mark.parametrize("vertices", [[], _CUBE[:3]])
def test_a_mesh_without_faces_is_the_background(name: str, vertices: list[list[float]]) -> None:
    scene = scene_of(vertices, [])
    found, gradient = drawn(name, scene, (6, 8))
    assert found.silhouette.abs().max() == 0 and found.depth.abs().max() == 0
    assert torch.allclose(found.image, scene.background.expand(6, 8, 3))
    assert not gradient.any()


@pytest.mark.parametrize("name", _OF_TRIANGLES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_a_picture_of_one_row_or_pixel(name: str, size: tuple[int, int]) -> None:
    # The cube's sides lie along the view, and the middle pixel's centre on their vanishing line.
    found, gradient = drawn(name, scene_of(_CUBE, _SIDES), size)
    assert found.image.shape == (*size, 3)
    for values in (found.image, found.silhouette, found.depth, gradient):
        assert torch.isfinite(values).all()


@pytest.mark.parametrize(
    "name",
    ["absorption-only", "translucent-gaussians", "soft-discs", "dvr", "deferred-neural-texture"],
)
def test_what_fills_a_mesh_asks_for_faces(name: str) -> None:
    for vertices in ([], _CUBE[:3]):
        with pytest.raises(InputError, match="the mesh has no faces to"):
            find_technique(name).prepare(scene_of(vertices, []))


@pytest.mark.parametrize("name", list_techniques())
def test_a_view_is_one_camera_of_the_scenes_dtype(name: str) -> None:
    camera, scene = standard_camera(), standard_scene()  # refused before anything is prepared
    with pytest.raises(InputError, match=r"the camera is a batch of shape \(2,\), expected one"):
        find_technique(name).render(scene, camera.expand(2))
    _, double = in_double(scene, camera)
    with pytest.raises(InputError, match=r"torch.float64 on cpu, the scene torch.float32 on cpu"):
        find_technique(name).render(scene, double)


@pytest.mark.parametrize("name", ["nerf", "hash-grid"])
def test_fields_are_fitted_in_double_too(name: str) -> None:
    technique = find_technique(name)
    fitting = dataclasses.replace(technique.fitting, steps=3, batch=30)  # type: ignore[attr-defined]
    small = dataclasses.replace(technique, fitting=fitting, resolution=12)  # type: ignore[type-var]
    camera = look_at(torch.tensor([0.0, 0.0, -4.0]), torch.zeros(3), (6, 8))
    scene, camera = in_double(scene_of(_CUBE, _SIDES), camera)
    assert small.render(scene, camera).image.dtype == torch.float64


def test_a_sheet_with_two_sides_fills_no_voxel_and_stops_nothing() -> None:
    flat = [[-1.0, 0.0, -1.0], [1.0, 0.0, -1.0], [1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    sides = [[0, 1, 2], [0, 2, 3], [2, 1, 0], [3, 2, 0]]
    found, _ = drawn("absorption-only", scene_of(flat, sides), (6, 8))
    assert torch.isfinite(found.image).all()


def test_a_scene_that_asks_for_too_many_samples_is_refused() -> None:
    camera = look_at(torch.tensor([0.0, 0.0, -4e6]), torch.zeros(3), (6, 8))
    scene = scene_of([[1e6 * v for v in corner] for corner in _CUBE], _SIDES)
    with pytest.raises(InputError, match="scale the scene down"):
        EdgeSamplingShadows().render(scene, camera)


def test_distances_need_an_extent() -> None:
    with pytest.raises(InputError, match="no extent"):
        find_technique("dvr").prepare(scene_of([[1.0, 2.0, 3.0]] * 3, [[0, 1, 2]]))


@pytest.mark.parametrize("name", ["dvr", "dist", "neus"])
def test_inference_mode_draws_the_same(name: str) -> None:
    technique = find_technique(name)
    camera = look_at(torch.tensor([0.0, 0.0, -4.0]), torch.zeros(3), (6, 8))
    with torch.no_grad():
        expected = technique.render(scene_of(_CUBE, _SIDES), camera)
    with torch.inference_mode():
        scene = scene_of(_CUBE, _SIDES)
        found = technique.render(technique.prepare(scene), camera)
        assert torch.equal(found.image, expected.image)


@pytest.mark.parametrize("faces", [[[0, 0, 1]], [[0, 0, 0]], [[0, 4, 1]], [[0, 1, 2], [0, 2, 3]]])
def test_edges_without_length_leave_the_gradient_of_overdraw_finite(faces: list[list[int]]) -> None:
    square = [[-1.0, -1, 0], [1.0, -1, 0], [1.0, 1, 0], [-1.0, 1, 0], [-1.0, -1, 0]]
    sides = [[0, 2, 1], [4, 3, 2]]
    found, gradient = drawn("edge-overdraw", scene_of(square, sides + faces), (16, 20))
    assert torch.isfinite(found.image).all()
    assert torch.isfinite(gradient).all() and gradient.any()


def test_lines_that_cross_nothing_they_show_have_no_gradient() -> None:
    """A road that passes the camera: its edges cross lines of pixels where it is not seen."""
    road = [[-2.0, 1.5, -1], [2.0, 1.5, -1], [2.0, 1.5, 24], [-2.0, 1.5, 24]]
    found, gradient = drawn("scan-line-gradient", scene_of(road, [[0, 1, 2], [0, 2, 3]]), (16, 24))
    assert torch.isfinite(found.image).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["mip-splatting", "surface-splatting", "gaussian-splatting-3d"])
def test_splats_at_the_cameras_plane_have_finite_gradients(name: str) -> None:
    technique = find_technique(name)
    camera = standard_camera((20, 27))
    for place in range(6):
        near = -8.6 - 0.13 * place
        points = torch.tensor([[-1.0, 1, near], [1, 1, near], [1, 1, 3], [-1, 1, 3]])
        points.requires_grad_()
        scene = scene_of(points.tolist(), [[0, 1, 2], [0, 2, 3]])
        content = dataclasses.replace(scene.content, vertices=points)  # type: ignore[type-var]
        technique.render(dataclasses.replace(scene, content=content), camera).image.sum().backward()
        assert points.grad is not None and torch.isfinite(points.grad).all(), near


_OF_COLOURS = [  # implicit and neural ones fit a field to the texture's colours
    name
    for name in list_techniques()
    if not find_technique(name).card.family.startswith(("implicit", "neural"))
    and name != "path-replay"  # refuses one
]


@pytest.mark.parametrize("name", _OF_COLOURS)
def test_a_texture_is_drawn_or_said_to_be_left_out(name: str) -> None:
    scene, camera = standard_scene(textured=True), standard_camera((12, 16))
    mesh = scene.content
    assert isinstance(mesh, Triangles) and mesh.texture is not None
    plain = dataclasses.replace(mesh, texture=torch.ones_like(mesh.texture))
    technique, pictures = find_technique(name), []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for content in (mesh, plain):
            there = dataclasses.replace(scene, content=content)
            pictures.append(technique.render(there, camera).image)
    left_out = any("texture is left out" in str(one.message) for one in said)
    assert left_out == torch.equal(*pictures)
