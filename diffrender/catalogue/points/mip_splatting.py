"""Mip-Splatting (Yu et al. 2024): Gaussians that keep their light when a pixel blurs them.

3D Gaussian splatting adds a fixed variance on the screen and leaves the opacity at the centre, so
that what is smaller than a pixel grows. Here the opacity falls as the area grows. The paper's other
filter, which limits how fine Gaussians may become while they are fitted, belongs to training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._ellipses import blend_ellipses
from diffrender.catalogue.points._splats import as_splats, make_splats, project_splats
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "MipSplatting"]


@dataclass(frozen=True)
class MipSplatting:
    """3D Gaussian splatting with a filter that keeps what each Gaussian covers in all.

    Attributes:
        spacing: of the Gaussians made from triangles, metres.
        spread: their standard deviation, in that of the piece of surface that each stands for.
        opacity: of each at its centre, before the filter.
        low_pass: variance of a pixel, px².
    """

    spacing: float = 0.12
    spread: float = 2.0
    opacity: float = 0.95
    low_pass: float = 0.1

    card: ClassVar[Card] = Card(
        name="mip-splatting",
        title="Mip-Splatting",
        authors="Yu, Z. and Chen, A. and Huang, B. and Sattler, T. and Geiger, A.",
        year=2024,
        paper="Mip-Splatting: Alias-free 3D Gaussian Splatting",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        arxiv="2311.16493",
        sections="the paper's 2D Mip filter, restated from memory; after the survey",
        equations=(
            "Σ' = J W Σ Wᵀ Jᵀ, Σ'' = Σ' + s I",
            "α = o √(|Σ'| / |Σ''|) exp(-½ dᵀ Σ''⁻¹ d), ended as in 3D Gaussian splatting",
        ),
        family="points",
        idea=(
            "A pixel sees a Gaussian through its own extent, which blurs it.",
            "A blurred Gaussian is wider and as much fainter, so that what it covers in all stays "
            "the same; splatting with a fixed widening alone makes far surfaces grow.",
            "Blending and gradients are those of 3D Gaussian splatting.",
        ),
        claims=(
            Claim("vertices", "interior", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "silhouette", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(N + M) for N Gaussians and M pairs of a Gaussian and a pixel under it",
        time="O(N log N + M log M)",
        limits="Opacity scaled for one Gaussian is not right for many that overlap: a surface far "
        "away gets a little transparent, and flat Gaussians seen from the edge vanish. The picture "
        "jumps where the order changes, as in 3D Gaussian splatting.",
        use_when="Scenes seen at other distances than those they were fitted at.",
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
        widened = covariance + self.low_pass * torch.eye(2).to(covariance)
        # No less than this, where a flat Gaussian is a line and the root's slope has no bound.
        area = torch.linalg.det(covariance).clamp(min=1e-8)
        kept = (area / torch.linalg.det(widened)).sqrt()
        seen = pixels, depth, widened
        return blend_ellipses(
            seen, splats.opacities * kept, splats.colours, scene.background, camera.size
        )


TECHNIQUE = MipSplatting()
