"""The path tracer: closed forms, and the replayed gradient against the plain one."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from traced_scenes import camera_above, floor_and_ball, grey_floor, lit_scene

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
from diffrender.catalogue.light._materials import Lit, TracedScene, reflected
from diffrender.catalogue.light.path_replay import PathReplay
from diffrender.errors import InputError
from diffrender.raster import rasterize
from diffrender.shape_priors.free_form import icosphere

SIZE = (36, 48)


def test_a_floor_under_lamp_and_sky_has_lambert_s_radiance() -> None:
    technique = PathReplay(per_axis=12, bounces=1, reflectance=0.0, lamp_angle=1e-3)
    mesh = grey_floor()
    drawn = technique.render(lit_scene(mesh, colour=0.6, ambient=0.0), camera_above())
    matt = 0.5 * 0.6 / math.sqrt(1.25)
    assert drawn.image.mean().item() == pytest.approx(matt, rel=1e-3)
    assert drawn.silhouette.min() == 1
    torch.testing.assert_close(drawn.depth, torch.ones(6, 8), atol=1e-5, rtol=0.0)
    # The sky alone, seen from a plane: albedo times its radiance, by directions at the next bounce.
    under_sky = technique.render(lit_scene(mesh, colour=0.0, ambient=0.3), camera_above())
    assert under_sky.image.mean().item() == pytest.approx(0.5 * 0.3, rel=0.03)


def _room() -> Triangles:
    """White walls all around."""
    directions, faces = icosphere(2)
    return Triangles(directions.float() * 5, faces.flip(1), torch.ones(len(directions), 3))


def test_a_closed_room_is_dark() -> None:
    drawn = PathReplay(bounces=2).render(lit_scene(_room()), camera_above())
    assert drawn.silhouette.min() == 1 and drawn.image.abs().max() == 0


def test_a_second_bounce_adds_light_and_a_third_adds_less() -> None:
    mesh = floor_and_ball()
    sums = [
        PathReplay(per_axis=3, bounces=n)
        .render(lit_scene(mesh), camera_above((12, 16)))
        .image.sum()
        .item()
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
    image = technique.render(scene, camera_above((12, 16)).to(u.dtype)).image
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
    scene = _sky(_double(lit_scene(floor_and_ball())))
    u = torch.randn(12, 16, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    replayed = _gradients(PathReplay(bounces=4), scene, u)
    plain = _gradients(PathReplay(bounces=4, replay=False), scene, u)
    for name, value in plain.items():
        assert value.norm() > 0, name
        torch.testing.assert_close(replayed[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["attributes", "environment", "light"])
def test_gradients_are_differences_of_the_same_paths(name: str) -> None:
    technique = PathReplay(bounces=3)
    scene = _sky(_double(lit_scene(floor_and_ball())))
    generator = torch.Generator().manual_seed(3)
    u = torch.randn(12, 16, 3, generator=generator, dtype=torch.float64)
    value = technique.prepare(scene).parameters()[name]
    direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)

    def loss(t: float) -> float:
        moved = technique.prepare(scene).replaced(name, value + t * direction)
        return (technique.render(moved, camera_above((12, 16)).to(u.dtype)).image * u).sum().item()

    found = (_gradients(technique, scene, u)[name] * direction).sum().item()
    assert found == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-5)


def test_backward_can_be_differentiated_along_the_incoming_gradient() -> None:
    technique = PathReplay(bounces=2)
    prepared = technique.prepare(_double(lit_scene(floor_and_ball())))
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    materials = prepared.parameters()["attributes"]
    picture = technique.render(
        prepared.replaced("attributes", materials * (1 + t)), camera_above().to(torch.float64)
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
        scene = technique.prepare(lit_scene(_room()))  # no path leaves it
        materials = scene.parameters()["attributes"].clone().requires_grad_()

        def pack(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            technique.render(scene.replaced("attributes", materials), camera_above((12, 16)))
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
