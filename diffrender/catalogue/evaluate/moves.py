"""Directions in which a scene or a camera is moved, one scalar each, to ask for a derivative."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Parameter
from diffrender.catalogue.scene import Light, Scene, Triangles
from diffrender.errors import InputError

__all__ = ["Move", "in_double", "moves_of", "pixels_per_step", "within_bounds"]

Moved = tuple[Scene, Camera]

# These carry the scene over the image; the others change colours in place.
MOTIONS: tuple[Parameter, ...] = ("vertices", "pose", "intrinsics")
_SEED = 20200612  # of the directions without a geometric meaning


@dataclass(frozen=True)
class Move:
    """One direction in one parameter.

    Attributes:
        name: such as "pose, turned about the vertical".
        parameter: whose direction it is.
        apply: (scene, camera, t) to what they are at the scalar t; nothing changes at t = 0.
            Differentiable to t.
    """

    name: str
    parameter: Parameter
    apply: Callable[[Scene, Camera, Tensor], Moved]


def moves_of(parameter: Parameter, scene: Scene) -> tuple[Move, ...]:
    """The directions by which claims about a parameter are checked.

    pose: a metre along x, and a radian about the vertical through the origin. intrinsics: the
    logarithm of the focal length. vertices: a smooth field over space, the same for triangles,
    points and other primitives. attributes: a smooth field for colours at vertices. light: its
    direction, colour and ambient part together. Everything else: fixed random numbers, as large
    as the values are.

    Args:
        scene: triangles, or what a technique prepared; it must hold the parameter.

    Raises:
        InputError: the scene holds no such parameter.
    """
    if parameter == "pose":
        return (
            Move("pose, shifted along x", parameter, _shifted),
            Move("pose, turned about the vertical", parameter, _turned),
        )
    if parameter == "intrinsics":
        return (Move("intrinsics, focal length", parameter, _zoomed),)
    if parameter == "light":
        return (Move("light, turned and coloured", parameter, _lit),)
    held = scene.parameters()
    if parameter not in held:
        raise InputError(
            f"the scene's {type(scene.content).__name__} holds no {parameter!r}, "
            f"it holds {', '.join(held)}"
        )
    direction = _direction(parameter, held)

    def apply(scene: Scene, camera: Camera, t: Tensor) -> Moved:
        value = scene.parameters()[parameter]
        return scene.replaced(parameter, value + t.to(value) * direction.to(value)), camera

    words = {"vertices": "a smooth field", "attributes": "a pattern", "texture": "a pattern"}
    return (Move(f"{parameter}, {words.get(parameter, 'random')}", parameter, apply),)


def within_bounds(prepared: Scene) -> Scene:
    """The scene with a density that is nowhere negative taken a little inside its bounds.

    At 0 and at 1 an occupancy or opacity has no two-sided derivative, and most of them are one or
    the other. Between 2 and 98 % of the largest value, no two alike; a density with negative
    values (a signed distance, a field's weights) stays as it is.
    """
    value = prepared.parameters().get("density")
    if value is None or value.min() < 0:
        return prepared
    generator = torch.Generator().manual_seed(_SEED + 1)
    drawn = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value)
    return prepared.replaced("density", 0.9 * value + (0.02 + 0.06 * drawn) * value.detach().max())


def pixels_per_step(move: Move, scene: Scene, camera: Camera) -> float:
    """How far, in pixels, a step of 1 carries the triangles: the 90th percentile of vertices.

    Raises:
        InputError: the parameter carries nothing over the image.
    """
    if move.parameter not in MOTIONS or not isinstance(scene.content, Triangles):
        raise InputError(f"a step in {move.parameter} has no length in pixels")
    tiny = 1e-3
    ends = []
    for t in (-tiny, tiny):
        there, seen_by = move.apply(scene, camera, torch.tensor(t))
        assert isinstance(there.content, Triangles)
        ends.append(seen_by.project(there.content.vertices)[0])
    return torch.linalg.vector_norm(ends[1] - ends[0], dim=-1).quantile(0.9).item() / (2 * tiny)


def in_double(scene: Scene, camera: Camera) -> Moved:
    """Triangles and camera in float64, for finite differences with small steps."""
    if not isinstance(scene.content, Triangles):
        raise InputError("expected a scene of triangles, from before `prepare`")
    mesh, light = scene.content, scene.light
    double = Triangles(
        mesh.vertices.double(),
        mesh.faces,
        mesh.colours.double(),
        None if mesh.uv is None else mesh.uv.double(),
        None if mesh.texture is None else mesh.texture.double(),
    )
    lit = Light(light.direction.double(), light.colour.double(), light.ambient.double())
    return Scene(double, lit, scene.background.double()), dataclasses.replace(
        camera,
        intrinsics=camera.intrinsics.double(),
        rotation=camera.rotation.double(),
        translation=camera.translation.double(),
    )


def _shifted(scene: Scene, camera: Camera, t: Tensor) -> Moved:
    along = camera.rotation[:, 0] * t.to(camera.rotation)
    return scene, dataclasses.replace(camera, translation=camera.translation + along)


def _turned(scene: Scene, camera: Camera, t: Tensor) -> Moved:
    angle = t.to(camera.rotation)
    one, none = torch.ones_like(angle), torch.zeros_like(angle)
    turn = torch.stack([
        angle.cos(), none, angle.sin(), none, one, none, -angle.sin(), none, angle.cos()
    ]).view(3, 3)  # fmt: skip
    return scene, dataclasses.replace(camera, rotation=camera.rotation @ turn)


def _zoomed(scene: Scene, camera: Camera, t: Tensor) -> Moved:
    which = torch.zeros_like(camera.intrinsics)
    which[0, 0] = which[1, 1] = 1
    scale = 1 + which * torch.expm1(t.to(which))
    return scene, dataclasses.replace(camera, intrinsics=camera.intrinsics * scale)


def _lit(scene: Scene, camera: Camera, t: Tensor) -> Moved:
    light = scene.parameters()["light"]
    change = light.new_tensor([[0.8, 0.0, -0.5], [0.3, 0.2, 0.1], [0.05, 0.1, 0.2]])
    return scene.replaced("light", light + t.to(light) * change), camera


def _direction(parameter: Parameter, held: dict[str, Tensor]) -> Tensor:
    value = held[parameter].detach()
    places = held.get("vertices")
    if parameter == "vertices":
        return _waves(value)
    if parameter == "attributes" and places is not None and value.shape == places.shape:
        return 0.5 * _waves(places.detach().roll(1, dims=-1))
    if parameter == "texture" and value.ndim == 3:
        rows, columns = (torch.arange(n, dtype=torch.float64) for n in value.shape[:2])
        wave = torch.cos(0.4 * rows)[:, None] * torch.cos(0.3 * columns)
        phase = torch.arange(value.shape[2], dtype=torch.float64)
        return 0.5 * (wave[..., None] * torch.cos(phase)).to(value)
    generator = torch.Generator().manual_seed(_SEED)
    scale = value.double().pow(2).mean().sqrt().clamp(min=1e-3)
    drawn = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    return (scale * drawn).to(value)


def _waves(places: Tensor) -> Tensor:  # (N, 3)
    """A displacement of up to a metre that changes over a few metres. (N, 3)."""
    x, y, z = places.unbind(-1)
    return torch.stack([
        torch.sin(1.1 * z + 0.7 * y + 0.3),
        torch.cos(0.9 * x - 0.8 * z),
        torch.sin(0.8 * x + 1.3 * y + math.pi / 5),
    ], dim=-1)  # fmt: skip
