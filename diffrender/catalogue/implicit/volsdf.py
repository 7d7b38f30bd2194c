"""VolSDF (Yariv et al. 2021): the density of a volume from a signed distance by a Laplace law."""

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
    absorption,
    blend_weights,
    even_edges,
    resample,
    sections,
    volume_picture,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "VolSdf", "laplace_density"]


def laplace_density(distance: Tensor, beta: float) -> Tensor:  # (...)
    """σ = Ψ(-d) / β with the Laplace distribution's Ψ(s) = 1/2 + sign(s) (1 - e^(-|s|/β)) / 2.

    Shapes: (...) metres -> (...) per metre. Differentiable. Source: Yariv et al. 2021, section 3.
    """
    half = torch.sign(-distance) * torch.expm1(-distance.abs() / beta)
    return (0.5 - 0.5 * half) / beta


@dataclass(frozen=True)
class VolSdf:
    """Emission and absorption in a volume that is dense inside the surface.

    Attributes:
        beta: scale of the Laplace law, metres; the density inside is 1/beta.
        resolution: nodes of the grid along its longest side.
        coarse: even sections that find where the weight is.
        fine: sections that are drawn, placed by that weight.
    """

    beta: float = 0.02
    resolution: int = 80
    coarse: int = 64
    fine: int = 64

    card: ClassVar[Card] = Card(
        name="volsdf",
        title="VolSDF",
        authors="Yariv, L. and Gu, J. and Kasten, Y. and Lipman, Y.",
        year=2021,
        paper="Volume Rendering of Neural Implicit Surfaces",
        venue="NeurIPS",
        arxiv="2106.12052",
        sections="paper section 3, density as transformed signed distance; after the survey. Its "
        "sampling with an error bound is replaced by one round of resampling",
        equations=(
            "σ = Ψ(-d) / β,  Ψ(s) = 1/2 + sign(s) (1 - e^(-|s|/β)) / 2",
            "C = Σ Tᵢ (1 - e^(-σᵢδᵢ)) cᵢ,  Tᵢ = e^(-Σ_{j<i} σⱼδⱼ)",
        ),
        family="implicit",
        idea=(
            "Turn the signed distance into a density: nothing far outside, 1/β inside, half of it "
            "at the surface.",
            "Draw that volume as radiance fields are drawn.",
            "Density reaches over a few β beyond the surface, so outlines are soft and have a "
            "gradient; as β shrinks the volume becomes the surface.",
        ),
        claims=(
            Claim("density", "both", "biased"),
            Claim("attributes", "both", "own"),
            Claim("pose", "silhouette", "biased"),
            Claim("intrinsics", "silhouette", "biased"),
            Claim("light", "both", "own"),
        ),
        memory="O(P S + D) for P pixels, S sections and D values of the field",
        time="O(P S)",
        limits="A ray is absorbed only after some β inside, so surfaces look a little farther and "
        "thin parts transparent. Sections are placed without derivative: the sum over them "
        "changes a little when they move, which differences of the picture see, though not those "
        "of the surface.",
        use_when="As NeuS; its density has a meaning, so that it mixes with other volumes.",
    )

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"VolSdf.beta is {self.beta}, expected metres above 0")

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
            middle, length = sections(edges, rays)
            density = laplace_density(grid.distance(rays.still().at(middle)), self.beta)
            edges = resample(edges, blend_weights(absorption(density, length)), self.fine)
        middle, length = sections(edges, rays)
        points = rays.at(middle)
        density = laplace_density(grid.distance(points), self.beta)
        weights = blend_weights(absorption(density, length))
        return volume_picture(rays, weights, middle, shade(scene, grid, points), scene.background)


TECHNIQUE = VolSdf()
