"""A scene to trace paths in: materials of triangles, a lamp and an environment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

__all__ = ["Lamp", "Lit", "TracedScene", "microfacets", "reflected"]


@dataclass(frozen=True)
class TracedScene:
    """Triangles with materials under an environment; the lamp stands in the scene's `Light`.

    Radiance that arrives from outside is `Light.ambient` times the environment there; the lamp is
    a square far off in `Light.direction` that would light a diffuse surface facing it by
    `Light.colour` times its albedo.

    Attributes:
        vertices: (V, 3) world, metres.
        faces: (F, 3) int64.
        materials: (V, 5): albedo (3), reflectance along the normal, and roughness, all in [0, 1].
        environment: (h, w, 3) from straight up (-y) in the first row to straight down in the last,
            once around the vertical in each row.
    """

    vertices: Tensor  # (V, 3)
    faces: Tensor  # (F, 3)
    materials: Tensor  # (V, 5)
    environment: Tensor  # (h, w, 3)

    def __post_init__(self) -> None:
        check_shape("TracedScene.vertices", self.vertices, None, 3)
        check_shape("TracedScene.faces", self.faces, None, 3)
        check_shape("TracedScene.materials", self.materials, len(self.vertices), 5)
        check_shape("TracedScene.environment", self.environment, None, None, 3)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices, attributes (materials) and the environment."""
        return {
            "vertices": self.vertices,
            "attributes": self.materials,
            "environment": self.environment,
        }

    def replaced(self, name: str, value: Tensor) -> TracedScene:
        """The same content with one parameter exchanged."""
        held = {"vertices": self.vertices, "attributes": self.materials}
        held["environment"] = self.environment
        if name not in held:
            raise InputError(f"no parameter {name!r} here, expected one of {', '.join(held)}")
        held[name] = value
        return TracedScene(held["vertices"], self.faces, held["attributes"], held["environment"])


@dataclass(frozen=True)
class Lit:
    """What a path's radiance is differentiable to.

    Attributes:
        materials: (V, 5).
        environment: (h, w, 3).
        light: (3, 3) direction, colour and ambient part, as `Scene.parameters` stacks them.
    """

    materials: Tensor  # (V, 5)
    environment: Tensor  # (h, w, 3)
    light: Tensor  # (3, 3)

    def sky(self, directions: Tensor) -> Tensor:  # (R, 3)
        """(R, 3) radiance that comes against the directions from outside. Bilinear."""
        rows, columns, _ = self.environment.shape
        height = directions[:, 1].clamp(-1, 1)
        v = torch.acos(-height) / math.pi * rows - 0.5
        u = (torch.atan2(directions[:, 2], directions[:, 0]) / (2 * math.pi) + 0.5) * columns - 0.5
        row, column = v.floor(), u.floor()
        b, a = (v - row)[:, None], (u - column)[:, None]
        top, below = (row + i for i in (0, 1))
        texel = [
            self.environment[r.long().clamp(0, rows - 1), c.long() % columns]
            for r in (top, below)
            for c in (column, column + 1)
        ]
        found = (1 - b) * ((1 - a) * texel[0] + a * texel[1])
        return self.light[2] * (found + b * ((1 - a) * texel[2] + a * texel[3]))


@dataclass(frozen=True)
class Lamp:
    """A square that shines evenly towards the scene, with the power that `Light.colour` asks for.

    Attributes:
        middle: (3,) world, metres.
        sides: (2, 3) from the middle to the middles of two sides.
        distance: metres at which it lights a facing surface by `Light.colour`.
    """

    middle: Tensor  # (3,)
    sides: Tensor  # (2, 3)
    distance: float

    @classmethod
    def of(cls, light: Tensor, centre: Tensor, distance: float, half_angle: float) -> Lamp:
        """The lamp of a light (3, 3), seen from `centre` under twice `half_angle` (radians).

        Differentiable to the light's direction.
        """
        towards = torch.nn.functional.normalize(light[0], dim=0)
        helper = torch.zeros_like(towards)
        helper[int(towards.detach().abs().argmin())] = 1
        first = torch.nn.functional.normalize(torch.linalg.cross(towards, helper), dim=0)
        sides = torch.stack([first, torch.linalg.cross(towards, first)])
        return cls(centre + distance * towards, distance * math.tan(half_angle) * sides, distance)

    def points(self, square: Tensor) -> Tensor:  # (N, 2)
        """(N, 3) its points, world. Differentiable to the lamp."""
        return self.middle + square @ self.sides

    def arriving(
        self, square: Tensor, places: Tensor, light: Tensor
    ) -> tuple[Tensor, Tensor]:  # (N, 2), (N, 3), (3, 3)
        """Unit directions from places to points of the lamp (N, 3), and what comes from there.

        The latter, (N, 3), is irradiance on a surface that faces it. Differentiable to the light.
        """
        ray = self.points(square) - places
        squared = ray.square().sum(-1, keepdim=True)
        towards = ray / squared.sqrt()
        normal = torch.linalg.cross(self.sides[0], self.sides[1])
        leaning = (towards @ torch.nn.functional.normalize(normal, dim=0))[:, None].abs()
        share = leaning * self.distance**2 / squared
        return towards, math.pi * share * light[1]


def reflected(
    materials: Tensor,  # (N, 5)
    normal: Tensor,  # (N, 3)
    back: Tensor,  # (N, 3)
    towards: Tensor,  # (N, 3)
) -> Tensor:
    """(N, 3) the share of light from `towards` that leaves along `back`: f cos θ, unit vectors.

    Lambert's diffuse part under a microfacet one (GGX by Walter et al. 2007 with alpha the square
    of roughness, Smith's shadowing, Schlick's Fresnel term, which at grazing angles is 1, or 50
    times the reflectance along the normal below 0.02, so that none of it leaves a diffuse surface).
    Differentiable to all; roughness is at least 0.05.
    """
    albedo, facing, rough = materials[:, :3], materials[:, 3:4], materials[:, 4:5].clamp(min=0.05)
    cosine = (normal * towards).sum(-1, keepdim=True).clamp(min=0)
    cosine_back = (normal * back).sum(-1, keepdim=True).clamp(min=1e-4)
    half = torch.nn.functional.normalize(towards + back, dim=-1)
    squared = rough**4
    d = microfacets((normal * half).sum(-1, keepdim=True).clamp(min=0), squared)
    # Smith's terms are divided by the two cosines of D F G / (4 cos cos).
    shadowing = smith(cosine, squared) * smith(cosine_back, squared)
    grazing = (50 * facing).clamp(max=1)
    away = 1 - (half * back).sum(-1, keepdim=True).clamp(0, 1)
    fresnel = facing + (grazing - facing) * away**5
    return ((1 - fresnel) * albedo / math.pi + d * fresnel * shadowing / 4) * cosine


def microfacets(cosine: Tensor, squared: Tensor | float) -> Tensor:
    """GGX: density of normals that lean by the angle of this cosine; `squared` is alpha²."""
    return squared / (math.pi * (cosine**2 * (squared - 1) + 1) ** 2)


def smith(cosine: Tensor, squared: Tensor) -> Tensor:
    """Smith's G1 for GGX, divided by the cosine."""
    return 2 / (cosine + torch.sqrt(squared + (1 - squared) * cosine**2))
