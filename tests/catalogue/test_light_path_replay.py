"""The path tracer: closed forms, the replayed gradient against the plain one, and Mitsuba 3."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import (
    Light,
    Scene,
    Triangles,
    as_triangles,
    find_technique,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.evaluate import Subject, check_claims
from diffrender.catalogue.light._materials import Lamp, Lit, TracedScene, reflected
from diffrender.catalogue.light.path_replay import PathReplay
from diffrender.errors import InputError
from diffrender.meshes import vertex_normals
from diffrender.raster import rasterize
from diffrender.shape_priors.free_form import icosphere

SIZE = (36, 48)


def _camera(size: tuple[int, int] = (6, 8)) -> Camera:
    """One metre above a floor's middle, looking down at it; y is down."""
    height, width = size
    intrinsics = torch.tensor(
        [[2.0 * width, 0, width / 2], [0, 2.0 * width, height / 2], [0, 0, 1]]
    )
    down = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return Camera(intrinsics, down, -down @ torch.tensor([0.0, -1, 0]), size)


def _floor(colour: float = 0.5) -> Triangles:
    corners = torch.tensor([[-3.0, 0, -3], [3, 0, -3], [3, 0, 3], [-3, 0, 3]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Triangles(corners, faces, torch.full((4, 3), colour))


def _scene(mesh: Triangles, colour: float = 0.6, ambient: float = 0.3) -> Scene:
    light = Light(torch.tensor([0.0, -1, 0.5]), torch.full((3,), colour), torch.full((3,), ambient))
    return Scene(mesh, light, torch.zeros(3))


def _with_ball() -> Triangles:
    """A ball of 0.3 m above the floor, off the middle, so that light goes to and fro."""
    directions, faces = icosphere(2)
    floor = _floor()
    ball = directions.float() * 0.3 + torch.tensor([0.2, -0.35, 0.0])
    colours = torch.tensor([0.8, 0.3, 0.1]).expand(len(ball), 3)
    return Triangles(
        torch.cat([floor.vertices, ball]),
        torch.cat([floor.faces, faces + 4]),
        torch.cat([floor.colours, colours]),
    )


def test_a_floor_under_lamp_and_sky_has_lambert_s_radiance() -> None:
    technique = PathReplay(per_axis=12, bounces=1, reflectance=0.0, lamp_angle=1e-3)
    mesh = _floor()
    drawn = technique.render(_scene(mesh, colour=0.6, ambient=0.0), _camera())
    matt = 0.5 * 0.6 / math.sqrt(1.25)
    assert drawn.image.mean().item() == pytest.approx(matt, rel=1e-3)
    assert drawn.silhouette.min() == 1
    torch.testing.assert_close(drawn.depth, torch.ones(6, 8), atol=1e-5, rtol=0.0)
    # The sky alone, seen from a plane: albedo times its radiance, by directions at the next bounce.
    under_sky = technique.render(_scene(mesh, colour=0.0, ambient=0.3), _camera())
    assert under_sky.image.mean().item() == pytest.approx(0.5 * 0.3, rel=0.03)


def _room() -> Triangles:
    """White walls all around."""
    directions, faces = icosphere(2)
    return Triangles(directions.float() * 5, faces.flip(1), torch.ones(len(directions), 3))


def test_a_closed_room_is_dark() -> None:
    drawn = PathReplay(bounces=2).render(_scene(_room()), _camera())
    assert drawn.silhouette.min() == 1 and drawn.image.abs().max() == 0


def test_a_second_bounce_adds_light_and_a_third_adds_less() -> None:
    mesh = _with_ball()
    sums = [
        PathReplay(per_axis=3, bounces=n).render(_scene(mesh), _camera((12, 16))).image.sum().item()
        for n in (1, 2, 3)
    ]
    assert sums[0] < sums[1] < sums[2]
    assert sums[2] - sums[1] < sums[1] - sums[0]


def test_the_material_is_reciprocal_and_loses_energy() -> None:
    generator = torch.Generator().manual_seed(0)
    count = 200_000
    a = 2 * math.pi * torch.rand(count, generator=generator, dtype=torch.float64)
    z = torch.rand(count, generator=generator, dtype=torch.float64)  # uniform over the half sphere
    r = (1 - z**2).sqrt()
    towards = torch.stack([r * a.cos(), r * a.sin(), z], dim=1)
    back = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64).expand_as(towards)
    normal = torch.tensor([0.0, 0, 1], dtype=torch.float64).expand_as(towards)
    for rough in (0.3, 0.7):
        row = torch.tensor([[1.0, 1, 1, 0.04, rough]], dtype=torch.float64).expand(count, 5)
        there = reflected(row, normal, back, towards)
        again = reflected(row, normal, towards, back)
        ratio = (z / 0.8)[:, None]
        seen = z > 0.01  # where the cosine's floor does not matter
        torch.testing.assert_close(there[seen], (again * ratio)[seen])
        assert 0.8 < (there * 2 * math.pi).mean().item() < 1.02


def _gradients(technique: PathReplay, scene: Scene, u: Tensor) -> dict[str, Tensor]:
    scene = technique.prepare(scene)
    held = {
        name: scene.parameters()[name].clone().requires_grad_()
        for name in ("attributes", "environment", "light")
    }
    for name, value in held.items():
        scene = scene.replaced(name, value)
    image = technique.render(scene, _camera((12, 16)).to(u.dtype)).image
    found = torch.autograd.grad((image * u).sum(), list(held.values()))
    return dict(zip(held, found, strict=True)) | {"image": image.detach()}


def _double(scene: Scene) -> Scene:
    mesh, light = as_triangles(scene), scene.light
    return Scene(
        Triangles(mesh.vertices.double(), mesh.faces, mesh.colours.double()),
        Light(light.direction.double(), light.colour.double(), light.ambient.double()),
        scene.background.double(),
    )


def _sky(scene: Scene) -> Scene:
    """The scene prepared, under a sky that is not the same everywhere."""
    prepared = PathReplay().prepare(scene)
    sky = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return prepared.replaced("environment", sky)


def test_replayed_gradients_are_those_of_plain_automatic_differentiation() -> None:
    scene = _sky(_double(_scene(_with_ball())))
    u = torch.randn(12, 16, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    replayed = _gradients(PathReplay(bounces=4), scene, u)
    plain = _gradients(PathReplay(bounces=4, replay=False), scene, u)
    for name, value in plain.items():
        assert value.norm() > 0, name
        torch.testing.assert_close(replayed[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["attributes", "environment", "light"])
def test_gradients_are_differences_of_the_same_paths(name: str) -> None:
    technique = PathReplay(bounces=3)
    scene = _sky(_double(_scene(_with_ball())))
    generator = torch.Generator().manual_seed(3)
    u = torch.randn(12, 16, 3, generator=generator, dtype=torch.float64)
    value = technique.prepare(scene).parameters()[name]
    direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)

    def loss(t: float) -> float:
        moved = technique.prepare(scene).replaced(name, value + t * direction)
        return (technique.render(moved, _camera((12, 16)).to(u.dtype)).image * u).sum().item()

    found = (_gradients(technique, scene, u)[name] * direction).sum().item()
    assert found == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-5)


def test_backward_can_be_differentiated_along_the_incoming_gradient() -> None:
    technique = PathReplay(bounces=2)
    prepared = technique.prepare(_double(_scene(_with_ball())))
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    materials = prepared.parameters()["attributes"]
    picture = technique.render(
        prepared.replaced("attributes", materials * (1 + t)), _camera().to(torch.float64)
    ).image
    u = torch.zeros_like(picture, requires_grad=True)
    (answer,) = torch.autograd.grad(picture, t, u, create_graph=True)
    (slope,) = torch.autograd.grad(answer, u)
    v = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0), dtype=u.dtype)
    (expected,) = torch.autograd.grad(picture, t, v)
    torch.testing.assert_close((slope * v).sum(), expected)


def test_memory_of_the_graph_does_not_grow_with_bounces() -> None:
    """What forward keeps: with a graph something for each bounce, replayed the same for any."""

    def kept(technique: PathReplay) -> int:
        sizes: list[int] = []
        scene = technique.prepare(_scene(_room()))  # no path leaves it
        materials = scene.parameters()["attributes"].clone().requires_grad_()

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            technique.render(scene.replaced("attributes", materials), _camera((12, 16)))
        return sum(sizes)

    replayed = [kept(PathReplay(bounces=n)) for n in (1, 4)]
    plain = [kept(PathReplay(bounces=n, replay=False)) for n in (1, 4)]
    assert replayed[0] == replayed[1]
    assert plain[1] > 1.5 * plain[0] and plain[0] > 5 * replayed[0]


def test_the_standard_scene_is_drawn_where_the_hard_one_is() -> None:
    camera, scene = standard_camera(SIZE), standard_scene()
    mesh = as_triangles(scene)
    fragments = rasterize((mesh.vertices, mesh.faces), camera)
    drawn = find_technique("path-replay").render(scene, camera)
    mask, soft = fragments.mask() > 0, drawn.silhouette > 0.5
    assert (mask & soft).sum() / (mask | soft).sum() > 0.95
    inside = mask & (drawn.silhouette == 1)
    error = (drawn.depth - fragments.depth[..., 0]).abs() / fragments.depth[..., 0]
    assert error[inside].median() < 0.01
    torch.testing.assert_close(drawn.image[0, 0], scene.background)
    again = find_technique("path-replay").render(scene, camera)
    assert torch.equal(again.image, drawn.image)  # a pure function


def test_claims_hold() -> None:
    for result in check_claims(Subject(find_technique("path-replay"), (24, 32))):
        assert result.holds, str(result)


def test_what_does_not_fit_is_refused() -> None:
    technique = PathReplay()
    with pytest.raises(InputError, match="no texture"):
        technique.prepare(standard_scene(textured=True))
    content = technique.prepare(standard_scene()).content
    assert isinstance(content, TracedScene)
    with pytest.raises(InputError, match="no parameter 'density'"):
        content.replaced("density", content.materials)
    with pytest.raises(InputError, match=r"TracedScene.materials"):
        dataclasses.replace(content, materials=content.materials[:, :4])


def test_the_sky_is_bilinear_and_wraps_around() -> None:
    environment = torch.zeros(2, 4, 3, dtype=torch.float64)
    environment[0] = 1.0  # the upper half
    lit = Lit(torch.zeros(1, 5), environment, torch.ones(3, 3, dtype=torch.float64))
    up, level, down = lit.sky(torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 1, 0]]).double())
    assert up.tolist() == [1] * 3 and down.tolist() == [0] * 3
    torch.testing.assert_close(level, torch.full_like(level, 0.5))
    environment[:, 0] = 2.0  # around -x, at the seam of azimuth
    west = lit.sky(torch.tensor([[-1.0, -1, -1e-9], [-1.0, -1, 1e-9]]).double())
    torch.testing.assert_close(west[0], west[1])


# In a process of its own: some versions of LLVM end the one that loads them.
_MITSUBA = """
import sys
import drjit as dr, mitsuba as mi, numpy as np
mi.set_variant("llvm_ad_rgb")
held = dict(np.load(sys.argv[1]))
vertices, faces = held["vertices"], held["faces"]
look = mi.Properties()
look["bsdf"] = mi.load_dict({"type": "diffuse",
    "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}})
mesh = mi.Mesh("mesh", len(vertices), len(faces), has_vertex_normals=True, props=look)
mesh.add_attribute("vertex_color", 3, held["colours"].ravel())
inside = mi.traverse(mesh)
inside["vertex_positions"] = mi.Float(vertices.ravel())
inside["vertex_normals"] = mi.Float(held["normals"].ravel())
inside["faces"] = mi.UInt32(faces.astype(np.uint32).ravel())
inside.update()
height, width = (int(n) for n in held["size"])
world = mi.load_dict({
    "type": "scene",
    "integrator": {"type": "prb", "max_depth": int(held["bounces"]) + 1, "rr_depth": 100},
    "sensor": {"type": "perspective", "fov": float(held["fov"]), "film": {"type": "hdrfilm",
        "width": width, "height": height, "rfilter": {"type": "box"}}},
    "mesh": mesh,
    "sky": {"type": "constant", "radiance": {"type": "rgb", "value": float(held["ambient"])}},
    "lamp": {"type": "rectangle", "to_world": mi.ScalarTransform4f(held["lamp"]),
        "emitter": {"type": "area", "radiance": {"type": "rgb", "value": float(held["power"])}}},
})
parameters = mi.traverse(world)
key = next(name for name in parameters.keys() if name.endswith("vertex_color"))
dr.enable_grad(parameters[key])
parameters.update()
image = mi.render(world, parameters, spp=1024)
dr.backward(dr.mean(image, axis=None))
np.savez(sys.argv[2], image=np.array(image), gradient=np.array(dr.grad(parameters[key])))
"""


@pytest.mark.slow
def test_mitsuba_agrees(tmp_path: Path) -> None:
    """Three bounces among a floor and a ball, diffuse: the picture and its derivative to albedo."""
    if importlib.util.find_spec("mitsuba") is None:
        pytest.skip("mitsuba is not installed")
    mesh, camera = _with_ball(), _camera((12, 16))
    technique = PathReplay(per_axis=18, bounces=3, reflectance=0.0, lamp_angle=math.radians(2))
    scene = dataclasses.replace(_scene(mesh), background=torch.full((3,), 0.3))
    colours = mesh.colours.clone().requires_grad_()
    image = technique.render(scene.replaced("attributes", colours), camera).image
    (gradient,) = torch.autograd.grad(image.mean(), colours)

    # Mitsuba's camera stands at the origin, x to the left and y up.
    turn = torch.diag(torch.tensor([-1.0, -1, 1])) @ camera.rotation
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    distance = 20 * (high - low).max().item()
    light = scene.parameters()["light"]
    lamp = Lamp.of(light, (low + high) / 2, distance, technique.lamp_angle)
    sides = lamp.sides @ turn.T
    facing = torch.linalg.cross(sides[0], sides[1])
    middle = turn @ (lamp.middle - camera.centre)
    if (facing @ middle) > 0:  # it shines towards the camera
        sides, facing = sides.flip(0), -facing
    matrix = torch.eye(4)
    matrix[:3] = torch.stack([*sides, facing / facing.norm(), middle], dim=1)
    area = 4 * lamp.sides[0].norm() * lamp.sides[1].norm()
    there, back = tmp_path / "scene.npz", tmp_path / "found.npz"
    np.savez(
        there,
        vertices=((mesh.vertices - camera.centre) @ turn.T).numpy(),
        normals=(vertex_normals(mesh.vertices, mesh.faces) @ turn.T).numpy(),
        faces=mesh.faces.numpy(),
        colours=mesh.colours.numpy(),
        size=camera.size,
        fov=math.degrees(2 * math.atan(0.25)),
        bounces=technique.bounces,
        ambient=0.3,
        lamp=matrix.double().numpy(),
        power=(math.pi * 0.6 * distance**2 / area).item(),
    )
    done = subprocess.run(
        [sys.executable, "-c", _MITSUBA, str(there), str(back)], capture_output=True, text=True
    )
    if done.returncode < 0 or "LLVM backend is inactive" in done.stderr:
        pytest.skip(
            "mitsuba does not get along with this LLVM (DRJIT_LIBLLVM_PATH names another): "
            f"exit code {done.returncode} {done.stderr[-200:]}"
        )
    assert done.returncode == 0, done.stderr
    found = np.load(back)
    theirs = torch.from_numpy(found["image"])
    # 324 and 1024 paths a pixel: noise of a few per cent in a pixel, far less in the mean.
    assert image.mean().item() == pytest.approx(theirs.mean().item(), rel=0.01)
    assert ((image - theirs).abs().mean() / theirs.mean()).item() < 0.03
    slope = torch.from_numpy(found["gradient"]).view_as(gradient)
    assert (gradient - slope).norm() / slope.norm() < 0.03
    floor, ball = slice(0, 4), slice(4, None)
    for part in (floor, ball):
        torch.testing.assert_close(gradient[part].sum(0), slope[part].sum(0), rtol=0.03, atol=0.0)
