"""Radiance fields as flat weights: fitting them to a scene, and drawing them."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.implicit._rays import camera_rays
from diffrender.catalogue.implicit._sdf import SdfGrid, as_sdf, sdf_scene, shade
from diffrender.catalogue.implicit._volume import (
    absorption,
    blend_weights,
    even_edges,
    resample,
    sections,
    volume_picture,
)
from diffrender.catalogue.scene import Rendering, Scene
from diffrender.errors import InputError, check_shape

__all__ = [
    "Architecture",
    "Fitting",
    "RadianceField",
    "apply_layers",
    "draw_field",
    "field_scene",
    "initial_layers",
]


_SOFT = 0.2  # voxels over which the fitted density rises
_COLOUR = 10.0  # weight of the colours' squared error beside the density's cross-entropy


class Architecture(Protocol):
    """What the numbers of a field mean."""

    def initial(self, generator: torch.Generator) -> Tensor:
        """(K,) float32 weights to start from."""
        ...

    def evaluate(self, weights: Tensor, points: Tensor) -> Tensor:  # (K,), (N, 3)
        """Raw density and colour at points of [-1, 1]³: (N, 4), before their sigmoids."""
        ...


@dataclass(frozen=True)
class Fitting:
    """How a field is fitted in `prepare`, straight to densities and colours, not to pictures.

    Attributes:
        steps: of Adam.
        batch: points a step, a third of them near the surface.
        rate: Adam's step size at first; it falls to a tenth along a cosine.
        seed: of the weights and of the points.
    """

    steps: int
    batch: int
    rate: float
    seed: int = 0


@dataclass(frozen=True)
class RadianceField:
    """A field of density and radiance within a box.

    Density is `peak` sigmoid(·) and radiance sigmoid(·) of what the architecture gives.

    Attributes:
        weights: (K,) all weights of the field, in the architecture's order.
        architecture: what they mean.
        low, high: (3,) the box, world.
        peak: the largest density, per metre.
    """

    weights: Tensor  # (K,)
    architecture: Architecture
    low: Tensor  # (3,)
    high: Tensor  # (3,)
    peak: float

    def __post_init__(self) -> None:
        check_shape("RadianceField.weights", self.weights, None)

    def parameters(self) -> dict[str, Tensor]:
        """Density: the field's weights, which colours depend on too."""
        return {"density": self.weights}

    def replaced(self, name: str, value: Tensor) -> RadianceField:
        """The same field with other weights."""
        if name != "density":
            raise InputError(f"no parameter {name!r} here, expected density")
        return dataclasses.replace(self, weights=value)

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:  # (..., 3)
        """Density (...) per metre and radiance (..., 3) at points, world. Differentiable."""
        half = (self.high - self.low).max() / 2
        unit = ((points - (self.low + self.high) / 2) / half).reshape(-1, 3)
        raw = self.architecture.evaluate(self.weights, unit)
        raw = torch.sigmoid(raw).reshape(*points.shape[:-1], 4)
        return self.peak * raw[..., 0], raw[..., 1:]


def apply_layers(weights: Tensor, widths: tuple[int, ...], x: Tensor) -> Tensor:  # (K,), (N, C)
    """A perceptron with ReLU between its layers, its weights and biases read from a flat tensor."""
    start = 0
    for layer, (wide, narrow) in enumerate(itertools.pairwise(widths)):
        matrix = weights[start : start + wide * narrow].reshape(narrow, wide)
        start += wide * narrow
        x = torch.nn.functional.linear(x, matrix, weights[start : start + narrow])
        start += narrow
        if layer < len(widths) - 2:
            x = torch.relu(x)
    return x


def initial_layers(widths: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """(K,) weights for `apply_layers`, by He's rule, biases 0."""
    rows = []
    for wide, narrow in itertools.pairwise(widths):
        drawn = torch.randn(narrow * wide, generator=generator)
        rows += [drawn * (2 / wide) ** 0.5, torch.zeros(narrow)]
    return torch.cat(rows)


@torch.inference_mode(False)  # it is fitted, whoever asks
def field_scene(
    scene: Scene, architecture: Architecture, fitting: Fitting, resolution: int
) -> Scene:
    """The scene with its triangles as a fitted radiance field.

    Targets are a density from the signed distance, and the radiance of the nearest surface under
    the scene's light, which is baked in. Deterministic; not differentiable to the triangles.
    A scene that holds a field already is returned as it is.
    """
    if isinstance(scene.content, RadianceField):
        return scene
    scene = sdf_scene(scene, resolution)
    grid = as_sdf(scene)
    generator = torch.Generator().manual_seed(fitting.seed)
    weights = architecture.initial(generator).to(grid.values).requires_grad_()
    field = RadianceField(weights, architecture, grid.low, grid.high, 4 / grid.spacing)
    points, occupied, radiance, surface = _targets(scene, grid, generator, fitting)
    adam = torch.optim.Adam([weights], lr=fitting.rate, eps=1e-12)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, fitting.steps, fitting.rate / 10)
    with torch.enable_grad():
        for step in range(fitting.steps):
            density, colour = field(points[step].to(grid.low))
            share = (density / field.peak).clamp(1e-6, 1 - 1e-6)
            loss = torch.nn.functional.binary_cross_entropy(share, occupied[step])
            # Colours matter where something is seen.
            wrong = (colour - radiance[step]).square().sum(-1)
            loss = loss + _COLOUR * (wrong * surface[step]).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            falling.step()
    fitted = dataclasses.replace(field, weights=weights.detach())
    return dataclasses.replace(scene, content=fitted)


def draw_field(scene: Scene, camera: Camera, coarse: int, fine: int) -> Rendering:
    """Emission and absorption along the rays, with one round of resampling.

    Args:
        coarse: even sections that find where the weight is.
        fine: sections that are drawn, placed by that weight.
    """
    field = scene.content
    assert isinstance(field, RadianceField)
    rays = camera_rays(camera, field.low, field.high)
    with torch.no_grad():
        edges = even_edges(rays, coarse)
        middle, length = sections(edges, rays)
        density, _ = field(rays.still().at(middle))
        edges = resample(edges, blend_weights(absorption(density, length)), fine)
    middle, length = sections(edges, rays)
    density, radiance = field(rays.at(middle))
    weights = blend_weights(absorption(density, length))
    return volume_picture(rays, weights, middle, radiance, scene.background)


@torch.no_grad()
def _targets(
    scene: Scene, grid: SdfGrid, generator: torch.Generator, fitting: Fitting
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points (steps, batch, 3), their occupancy (steps, batch), radiance (steps, batch, 3), and
    whether they are within a voxel of the surface (steps, batch)."""
    count = fitting.steps * fitting.batch
    anywhere = torch.rand(count - count // 3, 3, generator=generator).to(grid.low)
    anywhere = grid.low + (grid.high - grid.low) * anywhere
    near = (grid.values.abs() < 1.5 * grid.spacing).nonzero()
    chosen = near[torch.randint(len(near), (count // 3,), generator=generator)].flip(1)
    aside = torch.rand(count // 3, 3, generator=generator).to(grid.low) - 0.5
    points = torch.cat([anywhere, grid.low + grid.spacing * (chosen + aside)])
    points = points[torch.randperm(count, generator=generator)]
    distance = grid.distance(points) / grid.spacing
    occupied, surface = torch.sigmoid(-distance / _SOFT), (distance.abs() < 1).to(distance)
    radiance = shade(scene, grid, points).clamp(0, 1)
    shape = (fitting.steps, fitting.batch)
    return (
        points.reshape(*shape, 3),
        occupied.reshape(shape),
        radiance.reshape(*shape, 3),
        surface.reshape(shape),
    )
