"""Gaussian densities (Rhodin et al. 2015): blobs of fog, whose visibility is smooth everywhere.

The optical depth of a Gaussian along a ray is an error function, so that light left at any depth is
known in closed form and nothing has to be sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._fragments import list_fragments
from diffrender.catalogue.points._surface_points import as_points, sample_surface
from diffrender.catalogue.scene import Rendering, Scene

__all__ = ["TECHNIQUE", "GaussianDensity"]

_NEAR = 0.2  # metres
_CUT = 3.0  # deviations from a ray beyond which a Gaussian is left out: 1 % of its middle


@dataclass(frozen=True)
class GaussianDensity:
    """Round Gaussians of matter that absorb and glow, seen through one another.

    Attributes:
        spacing: of the points made from triangles, metres.
        deviation: of a point's Gaussian, in its radius.
        thickness: optical depth through the middle of a Gaussian of full opacity.
        intervals: of depth, in each of which colours are mixed.
    """

    spacing: float = 0.3
    deviation: float = 0.6
    thickness: float = 2.0
    intervals: int = 32

    card: ClassVar[Card] = Card(
        name="gaussian-density",
        title="Gaussian densities with differentiable visibility",
        authors="Rhodin, H. and Robertini, N. and Richardt, C. and Seidel, H.-P. and Theobalt, C.",
        year=2015,
        paper="A Versatile Scene Model with Differentiable Visibility Applied to Generative Pose "
        "Estimation",
        venue="IEEE International Conference on Computer Vision",
        arxiv="1602.03725",
        sections="the paper's scene model and visibility, restated from memory; survey 2.1.3 names "
        "the idea",
        equations=(
            "τ_q(s) = h_q exp(-d_q² / (2 σ_q²)) Φ((s - μ_q) / σ_q), Φ the normal distribution",
            "T(s) = exp(-Σ_q τ_q(s))",
            "I = Σ_k T(s_k) (1 - exp(-Δτ_k)) Σ_q Δτ_qk c_q / Δτ_k + T(∞) background",
        ),
        family="points",
        idea=(
            "Every primitive is a Gaussian cloud of matter, dense in its middle, without an end.",
            "Along a ray it is a Gaussian again, whose integral is an error function, so the light "
            "left at each depth has a closed form.",
            "There is no order to sort and no edge to find: visibility is smooth in all places, "
            "also where one thing passes before another.",
        ),
        claims=(
            Claim("vertices", "interior", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "interior", "biased"),
            Claim("intrinsics", "silhouette", "own"),
        ),
        memory="O(M D) for M pairs of a Gaussian and a ray near it, and D intervals of depth",
        time="O(N log N + M D)",
        limits="Blurred everywhere, by the size of the Gaussians. Colours are mixed in intervals "
        "of depth, where the paper samples each Gaussian; the optical depth is exact all the same.",
        use_when="Poses from far away and things that hide one another, as a first stage.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as points with baked radiance; differentiable to the triangles."""
        return sample_surface(scene, self.spacing)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Light gathered along the rays, interval by interval."""
        scene = self.prepare(scene)
        points = as_points(scene)
        pixels, depth = camera.project(points.centres)
        sigma = self.deviation * points.radii
        focal = camera.intrinsics[[0, 1], [0, 1]]
        extent = 1.2 * _CUT * focal * (sigma / depth.clamp(min=_NEAR))[:, None]
        touched = list_fragments(pixels, extent, depth, camera.size, _NEAR)
        own = touched.primitive

        places = touched.places(pixels)
        ends = camera.unproject(places, torch.ones_like(places[:, 0])) - camera.centre
        length = ends.norm(dim=-1)  # of a ray, for each metre of depth
        towards = points.centres[own] - camera.centre
        along = (towards * ends).sum(-1) / length  # μ: where the ray passes nearest
        off = torch.linalg.cross(towards, ends).square().sum(-1) / length.square()
        peak = self.thickness * points.opacities[own] * torch.exp(-off / (2 * sigma[own].square()))

        margin = _CUT * sigma.amax()
        near, far = depth.amin() - margin, depth.amax() + margin
        steps = torch.linspace(0, 1, self.intervals + 1).to(depth)
        planes = (near + (far - near) * steps).clamp(min=0)  # (D + 1,) depths
        reached = (planes * length[:, None] - along[:, None]) / sigma[own, None]
        passed = peak[:, None] * torch.special.ndtr(reached).diff(dim=1)  # (M, D) Δτ
        count = camera.size[0] * camera.size[1]

        def gather(values: Tensor) -> Tensor:
            return values.new_zeros(count, self.intervals).index_add(0, touched.pixel, values)

        tau = gather(passed)  # (P, D)
        before = tau.cumsum(1) - tau
        weights = torch.exp(-before) * -torch.expm1(-tau)
        share = weights / tau.clamp(min=1e-12)  # tends to T where there is little
        colour = torch.stack(
            [(share * gather(passed * c[:, None])).sum(1) for c in points.colours[own].unbind(1)],
            dim=1,
        )
        silhouette = weights.sum(1)
        image = colour + (1 - silhouette)[:, None] * scene.background
        middle = (planes[1:] + planes[:-1]) / 2
        some = silhouette > 1e-6
        mean = torch.where(some, (weights * middle).sum(1) / torch.where(some, silhouette, 1), 0)
        size = camera.size
        return Rendering(image.view(*size, 3), silhouette.view(size), mean.view(size))


TECHNIQUE = GaussianDensity()
