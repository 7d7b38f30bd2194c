"""GenDR (Petersen et al. 2022): any distribution for coverage, any T-conorm to unite it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._conorms import Conorm, Probabilistic
from diffrender.catalogue.mesh._distributions import Distribution, Uniform
from diffrender.catalogue.mesh._face_pixels import blend, face_pixels
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "GenDR"]


@dataclass(frozen=True)
class GenDR:
    """A family of soft rasterizers; Soft Rasterizer and DIB-R's mask are points of it.

    Attributes:
        distribution: one of `_distributions`, or any object with `cdf`.
        conorm: one of `_conorms`, or any object with `union`.
        softness: pixels by which distances to outlines are divided.
        reach: pixels from its outline beyond which a face counts no more; heavy tails end there.
        squared: take the distance squared, keeping its sign, and softness too.
        depth_softness: metres; a face this much further away has 1/e of the weight in the colour.
    """

    distribution: Distribution = field(default_factory=Uniform)
    conorm: Conorm = field(default_factory=Probabilistic)
    softness: float = 0.7
    reach: float = 3.0
    squared: bool = False
    depth_softness: float = 0.1

    card: ClassVar[Card] = Card(
        name="gendr",
        title="GenDR, the generalised differentiable renderer",
        authors="Petersen, F. and Goldluecke, B. and Borgelt, C. and Deussen, O.",
        year=2022,
        paper="GenDR: A Generalized Differentiable Renderer",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
        arxiv="2204.13845",
        sections="paper's sections on distributions and on T-conorms; after the survey",
        equations=(
            "D_j = F(±d(p, j) / τ) for a distribution function F, + inside face j",
            "A = D_1 ⊥ D_2 ⊥ ... for a T-conorm ⊥, = g⁻¹(Σ_j g(D_j)) with its generator g",
            "C = A Σ_j w_j C_j + (1 - A) C_b,  w_j ∝ D_j e^(-z_j / γ)",
        ),
        family="mesh, approximate rendering",
        idea=(
            "Perturbing the place of an outline at random makes coverage smooth, and each "
            "distribution of the perturbation gives another differentiable renderer.",
            "The faces of a pixel are united by a T-conorm, a fuzzy or, of which the probability "
            "of independent events is only one.",
            "Both choices are classes here: 13 distributions and 9 T-conorms.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(N r²) pairs of a face and a pixel, for N faces that reach r pixels",
        time="O(N r²)",
        limits="Which choice is best depends on the task. Weak T-conorms such as the maximum leave "
        "finely meshed surfaces translucent, because no small face covers a pixel well alone.",
        use_when="To compare softenings on your own task, or where a silhouette wants long tails.",
    )

    def __post_init__(self) -> None:
        for name in ("softness", "reach", "depth_softness"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected a positive number")

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Colours of all faces near each pixel, over the background by the united coverage."""
        check_view(scene, camera)
        mesh = as_triangles(scene)
        pairs = face_pixels(mesh, camera, self.reach)
        if self.squared:
            distance = pairs.signed_squared() / self.softness**2
        else:
            distance = pairs.signed_distance() / self.softness
        coverage = self.distribution.cdf(distance)  # (N,)
        alpha = self.conorm.union(coverage, pairs.pixel, pairs.count).view(*camera.size, 1)

        values = pairs.interpolate(scene.radiance(), mesh.faces)
        values = torch.cat([values, pairs.depth[:, None]], dim=1)
        log_weight = coverage.clamp(min=1e-12).log() - pairs.depth / self.depth_softness
        maps = blend(log_weight, values, pairs).view(*camera.size, 4)
        image = alpha * maps[..., :3] + (1 - alpha) * scene.background
        depth = torch.where(alpha[..., 0] > 0, maps[..., 3], 0.0)
        return Rendering(image, alpha[..., 0], depth)


TECHNIQUE = GenDR()
