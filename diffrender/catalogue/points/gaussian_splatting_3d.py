"""3D Gaussian splatting (Kerbl et al. 2023): Gaussians projected, sorted, blended front to back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._ellipses import blend_ellipses
from diffrender.catalogue.points._splats import as_splats, make_splats, project_splats
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "GaussianSplatting3d"]


@dataclass(frozen=True)
class GaussianSplatting3d:
    """Each Gaussian is an ellipse on the screen; ellipses are blended in the order of depth.

    Attributes:
        spacing: of the Gaussians made from triangles, metres.
        spread: their standard deviation, in that of the piece of surface that each stands for.
        opacity: of each at its centre.
        low_pass: added to the variance on the screen, px².
    """

    spacing: float = 0.12
    spread: float = 2.0
    opacity: float = 0.95
    low_pass: float = 0.3

    card: ClassVar[Card] = Card(
        name="gaussian-splatting-3d",
        title="3D Gaussian splatting",
        authors="Kerbl, B. and Kopanas, G. and Leimkühler, T. and Drettakis, G.",
        year=2023,
        paper="3D Gaussian Splatting for Real-Time Radiance Field Rendering",
        venue="ACM Transactions on Graphics 42(4)",
        arxiv="2308.04079",
        sections="the paper's sections on differentiable Gaussians and the rasterizer, without "
        "tiles, spherical harmonics and densification; after the survey",
        equations=(
            "Σ' = J W Σ Wᵀ Jᵀ + 0.3 I",
            "α = max(0, min(0.99, o exp(-½ dᵀ Σ'⁻¹ d)) - 1/255); published: dropped below 1/255",
            "C = Σ_i c_i α_i T_i, T_i = Π_{j<i} (1 - α_j)",
        ),
        family="points",
        idea=(
            "The scene is a set of Gaussians with a colour and an opacity.",
            "Each is projected to an ellipse by linearising the camera at its centre, and a pixel "
            "blends the ellipses over it from front to back.",
            "Every ellipse reaches beyond its centre, so the picture is smooth in all parameters "
            "but the order of depth.",
        ),
        claims=(
            Claim("vertices", "interior", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "interior", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(N + M) for N Gaussians and M pairs of a Gaussian and a pixel under it",
        time="O(N log N + M log M)",
        limits="The picture jumps where two Gaussians exchange their order, which no derivative "
        "sees; at edges between colours that is enough to spoil the comparison, so positions and "
        "pose are claimed inside surfaces only. Ellipses are wrong off the centre under strong "
        "perspective; the filter on the screen thickens what is far away.",
        use_when="New views of a photographed scene, fast; geometry comes second.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as flat Gaussians of baked radiance; differentiable to the triangles."""
        return make_splats(scene, self.spacing, self.spread, self.opacity)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Blended from front to back; depth is the blended depth of the centres.

        Raises:
            InputError: the camera has a lens.
        """
        check_view(scene, camera)
        scene = self.prepare(scene)
        splats = as_splats(scene)
        pixels, depth, covariance = project_splats(splats, camera)
        covariance = covariance + self.low_pass * torch.eye(2).to(covariance)
        seen = pixels, depth, covariance
        return blend_ellipses(seen, splats.opacities, splats.colours, scene.background, camera.size)


TECHNIQUE = GaussianSplatting3d()
