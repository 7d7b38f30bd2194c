"""NeuS (Wang et al. 2021): volume rendering whose weights peak at the zero of a signed distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._rays import camera_rays
from diffrender.catalogue.implicit._sdf import as_sdf, sdf_scene, shade
from diffrender.catalogue.implicit._volume import (
    blend_weights,
    even_edges,
    resample,
    sections,
    volume_picture,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "NeuS", "section_opacity"]


def section_opacity(values: Tensor, width: float) -> Tensor:  # (P, S + 1)
    """α_i = max((Φ(f_i) - Φ(f_{i+1})) / Φ(f_i), 0), Φ(f) = sigmoid(f / width).

    Shapes: distances at the ends of sections (P, S + 1) -> (P, S). Differentiable.
    Source: Wang et al. 2021, the section on discretization.
    """
    # In logarithms: deep inside Φ vanishes, and its quotients do not.
    passed = torch.nn.functional.logsigmoid(values / width).diff(dim=1)
    return -torch.expm1(passed.clamp(max=0))


@dataclass(frozen=True)
class NeuS:
    """A ray is absorbed by the fall of a sigmoid of the signed distance.

    Attributes:
        width: of the sigmoid, metres (the paper's 1/s): surfaces are soft over a few of it.
        resolution: nodes of the grid along its longest side.
        coarse: even sections that find where the weight is.
        fine: sections that are drawn, placed by that weight.
    """

    width: float = 0.012
    resolution: int = 80
    coarse: int = 64
    fine: int = 64

    card: ClassVar[Card] = Card(
        name="neus",
        title="NeuS",
        authors="Wang, P. and Liu, L. and Liu, Y. and Theobalt, C. and Komura, T. and Wang, W.",
        year=2021,
        paper="NeuS: Learning Neural Implicit Surfaces by Volume Rendering for Multi-view "
        "Reconstruction",
        venue="NeurIPS",
        arxiv="2106.10689",
        sections="paper, the sections on unbiased and occlusion-aware weights and on "
        "discretization; after the survey. Its network and the eikonal term are left out",
        equations=(
            "Φ(f) = 1 / (1 + e^(-f/s))",
            "αᵢ = max((Φ(fᵢ) - Φ(fᵢ₊₁)) / Φ(fᵢ), 0)",
            "C = Σ Tᵢ αᵢ cᵢ,  Tᵢ = Π_{j<i} (1 - αⱼ)",
        ),
        family="implicit",
        idea=(
            "Let Φ, a sigmoid of the signed distance, be what is left of a ray where the distance "
            "falls.",
            "A section absorbs the share by which Φ falls, so the weight peaks where the distance "
            "is zero and the first surface hides the second.",
            "Rays that pass near the shape are absorbed a little: the outline is soft and has a "
            "gradient on both sides.",
        ),
        claims=(
            Claim("density", "both", "biased"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "both", "own"),
        ),
        memory="O(P S + D) for P pixels, S sections and D values of the field",
        time="O(P S)",
        limits="Soft by the width: thin parts that are thinner turn transparent. Distances are "
        "read at the ends of sections; the authors' code estimates them from the middle and the "
        "slope instead. Sections are placed "
        "without derivative, as all radiance fields do: the sum over them changes when they move, "
        "which differences of the picture see, though not those of the surface.",
        use_when="Surfaces from many views without masks; start wide and let the width shrink.",
    )

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise InputError(f"NeuS.width is {self.width}, expected metres above 0")

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances and colours on a grid; not differentiable to the triangles."""
        return sdf_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Shaded samples, weighted; soft outlines."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        grid = as_sdf(scene)
        rays = camera_rays(camera, grid.low, grid.high)
        with torch.no_grad():
            edges = even_edges(rays, self.coarse)
            opacity = section_opacity(grid.distance(rays.still().at(edges)), self.width)
            edges = resample(edges, blend_weights(opacity), self.fine)
        weights = blend_weights(section_opacity(grid.distance(rays.at(edges)), self.width))
        middle = sections(edges, rays).middle
        radiance = shade(scene, grid, rays.at(middle))
        return volume_picture(rays, weights, middle, radiance, scene.background)


TECHNIQUE = NeuS()
