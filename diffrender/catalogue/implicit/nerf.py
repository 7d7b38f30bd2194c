"""NeRF (Mildenhall et al. 2020): a scene as a small network, drawn by emission and absorption."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._fields import (
    Fitting,
    apply_layers,
    draw_field,
    field_scene,
    initial_layers,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "EncodedNetwork", "Nerf", "encode"]


def encode(points: Tensor, octaves: int) -> Tensor:  # (N, 3)
    """γ(x) = (x, sin 2^k πx, cos 2^k πx), k = 0 ... octaves - 1. (N, 3) -> (N, 3 + 6 octaves)."""
    scale = math.pi * 2 ** torch.arange(octaves).to(points)
    angles = (points[:, None] * scale[:, None]).flatten(1)
    return torch.cat([points, angles.sin(), angles.cos()], dim=1)


@dataclass(frozen=True)
class EncodedNetwork:
    """A perceptron over the encoded position.

    Attributes:
        octaves: of the encoding.
        width: of the hidden layers.
        hidden: how many there are.
    """

    octaves: int = 5
    width: int = 64
    hidden: int = 2

    @property
    def widths(self) -> tuple[int, ...]:
        """Of all layers."""
        return (3 + 6 * self.octaves, *[self.width] * self.hidden, 4)

    def initial(self, generator: torch.Generator) -> Tensor:
        """(K,) float32 weights to start from."""
        return initial_layers(self.widths, generator)

    def evaluate(self, weights: Tensor, points: Tensor) -> Tensor:  # (K,), (N, 3)
        """Raw density and colour, (N, 4)."""
        return apply_layers(weights, self.widths, encode(points, self.octaves))


_FITTING = Fitting(steps=450, batch=3000, rate=1e-2)


@dataclass(frozen=True)
class Nerf:
    """A network fitted in `prepare`, then drawn along rays.

    Attributes:
        network: its shape.
        fitting: how it is fitted.
        coarse: even sections that find where the weight is.
        fine: sections that are drawn, placed by that weight.
        resolution: nodes along the longest side of the grid of distances that it is fitted to.
    """

    network: EncodedNetwork = EncodedNetwork()
    fitting: Fitting = _FITTING
    coarse: int = 48
    fine: int = 48
    resolution: int = 64

    card: ClassVar[Card] = Card(
        name="nerf",
        title="Neural radiance field (NeRF)",
        authors="Mildenhall, B. and Srinivasan, P. P. and Tancik, M. and Barron, J. T. and "
        "Ramamoorthi, R. and Ng, R.",
        year=2020,
        paper="NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis",
        venue="ECCV",
        arxiv="2003.08934",
        sections="paper, the sections on volume rendering, positional encoding and hierarchical "
        "sampling; survey section 2.4. No dependence on the view direction, one network for both "
        "rounds, and fitted to densities and colours instead of pictures",
        equations=(
            "C = Σ Tᵢ αᵢ cᵢ,  αᵢ = 1 - e^(-σᵢδᵢ),  Tᵢ = e^(-Σ_{j<i} σⱼδⱼ)",
            "γ(x) = (sin 2ᵏπx, cos 2ᵏπx)",
        ),
        family="implicit",
        idea=(
            "A network gives density and radiance at every point of space.",
            "Rays are cut into sections; each emits its radiance and absorbs what comes from "
            "behind it.",
            "Every pixel is a smooth function of all weights, so that pictures alone teach shape "
            "and colour.",
        ),
        claims=(
            Claim("density", "both", "biased"),
            Claim("pose", "silhouette", "biased"),
            Claim("intrinsics", "both", "biased"),
        ),
        memory="O(P S W) for P pixels, S samples and W activations of the network at each",
        time="O(P S K) for K weights",
        limits="Slow; a volume, not a surface; light is baked into the radiance. This one is small "
        "and fitted for a few seconds: edges are round and the tiles faint. Sections are placed "
        "without derivative.",
        use_when="View synthesis from posed pictures, where a mesh is not asked for.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """A fitted field, in some seconds; not differentiable to the triangles."""
        return field_scene(scene, self.network, self.fitting, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Emission and absorption along the rays."""
        check_view(scene, camera)
        return draw_field(self.prepare(scene), camera, self.coarse, self.fine)


TECHNIQUE = Nerf()
