"""Edge sampling (Li et al. 2018): the boundary term of the pixel integral by Monte Carlo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._edge_samples import add_jumps, sample_edges
from diffrender.catalogue.mesh._outlines import facing_camera, find_outlines
from diffrender.catalogue.mesh._view import View, rendering_of
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "EdgeSampling"]


@dataclass(frozen=True)
class EdgeSampling:
    """Interior by autograd at the hits, boundaries by samples on the edges.

    Attributes:
        per_axis: samples of the picture along each side of a pixel.
        edge_samples: samples for a pixel's length of outline.
        offset: how far from the outline its two sides are looked at, pixels.
        seed: of the samples.
    """

    per_axis: int = 4
    edge_samples: float = 4.0  # a pixel
    offset: float = 0.01  # pixels
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="edge-sampling",
        title="Edge sampling (redner), primary visibility",
        authors="Li, T.-M. and Aittala, M. and Durand, F. and Lehtinen, J.",
        year=2018,
        paper="Differentiable Monte Carlo Ray Tracing through Edge Sampling",
        venue="ACM Transactions on Graphics 37(6)",
        arxiv="",
        sections="the paper's part on primary visibility; the survey's section on global "
        "illumination",
        equations=(
            "∂/∂Φ ∫ f dx = ∫ ∂f/∂Φ dx + Σ_edges ∫ (f⁻ - f⁺) n · ∂x/∂Φ dl",
            "≈ 1/S Σ ∂f(x_s)/∂Φ + Σ (f(x_e - εn) - f(x_e + εn)) n · ∂x_e/∂Φ / p(x_e)",
        ),
        family="mesh, analytic",
        idea=(
            "A pixel is the integral of the scene's colour over its area, so its derivative has "
            "a part inside the faces and a part on the moving edges between them.",
            "The first is what automatic differentiation gives at ordinary samples; for the "
            "second, sample points on the edges themselves.",
            "At such a point look at the two sides: their difference times the speed of the edge "
            "along its normal is what the pixel gains, unbiased and without blur.",
        ),
        claims=(
            Claim("vertices", "both", "exact"),
            Claim("attributes", "both", "exact"),
            Claim("texture", "both", "exact"),
            Claim("pose", "both", "exact"),
            Claim("intrinsics", "both", "exact"),
            Claim("light", "both", "exact"),
        ),
        memory="O(S P + E) for S samples in each of P pixels and E samples of edges",
        time="O(S P + N + E log N) for N faces",
        limits="Noise where edges are many and samples few. Curves along which faces cut each "
        "other are no edges and are not sampled. Every outline is sampled, hidden or not.",
        use_when="When the derivative has to be right: as a judge of faster rules, or where "
        "small differences matter.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The box-filtered picture of hard visibility; derivatives as the card says."""
        check_view(scene, camera)
        view = View.of(scene, camera)
        n, (height, width) = self.per_axis, camera.size
        face, points = view.faces_at_centres(n).view(-1), view.centres(n).view(-1, 2)
        maps = view.look(face, points).view(height, n, width, n, 5).mean((1, 3))
        front = facing_camera(view.homogeneous.detach(), view.mesh.faces)
        outlines = find_outlines(view.mesh.vertices, view.mesh.faces, front)
        generator = torch.Generator().manual_seed(self.seed)
        samples = sample_edges(
            view.homogeneous, outlines, camera.size, self.edge_samples, generator
        )
        caster = view.caster()
        maps = add_jumps(
            maps, samples, lambda p: view.look(view.faces_at(caster, p), p), self.offset
        )
        return rendering_of(maps)


TECHNIQUE = EdgeSampling()
