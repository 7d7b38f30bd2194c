"""2D Gaussian splatting (Huang et al. 2024): Gaussians on discs, met exactly by the pixel's ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._ellipses import LEAST, NEAR, soft_end
from diffrender.catalogue.points._fragments import blend_over, list_fragments
from diffrender.catalogue.points._splats import (
    Splats,
    as_splats,
    check_pinhole,
    make_splats,
    reach,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "GaussianSplatting2d"]

_SCREEN = 0.5  # px², variance of the smallest Gaussian on the screen


@dataclass(frozen=True)
class GaussianSplatting2d:
    """Each Gaussian lives on a plane, and the ray's hit on that plane says how dense it is.

    Attributes:
        spacing: of the Gaussians made from triangles, metres.
        spread: their standard deviation, in that of the piece of surface that each stands for.
        opacity: of each at its centre.
    """

    spacing: float = 0.12
    spread: float = 2.0
    opacity: float = 0.95

    card: ClassVar[Card] = Card(
        name="gaussian-splatting-2d",
        title="2D Gaussian splatting",
        authors="Huang, B. and Yu, Z. and Chen, A. and Geiger, A. and Gao, S.",
        year=2024,
        paper="2D Gaussian Splatting for Geometrically Accurate Radiance Fields",
        venue="ACM SIGGRAPH Conference Papers",
        arxiv="2403.17888",
        sections="the paper's sections on modelling and splatting, without its regularisers; after "
        "the survey",
        equations=(
            "x(u, v) = H (u, v, 1)ᵀ, H = K [R a₁ | R a₂ | R μ + t]",
            "(u, v, 1) ∝ h_u × h_v, h_u = x H₃ - H₁, h_v = y H₃ - H₂",
            "G = max(exp(-½ (u² + v²)), exp(-|d|²/(2 · ½ px²)))",
            "C = Σ_i c_i α_i T_i, α = max(0, min(0.99, o G) - 1/255); published: dropped below",
        ),
        family="points",
        idea=(
            "A Gaussian on a plane is a piece of surface, which one in space is not.",
            "The ray of a pixel meets the plane in one point, found exactly from a homography "
            "instead of by linearising the camera.",
            "Its density there, blended from front to back, gives the picture, and its depth there "
            "gives a surface that agrees between views.",
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
        limits="No lens: the homography is a pinhole's. The picture jumps where two discs exchange "
        "their order, which matters at edges between colours, so positions and pose are claimed "
        "inside surfaces only. Discs seen from the edge fall back on a dot of half a pixel.",
        use_when="Surfaces with normals and depth from photographs.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as flat Gaussians of baked radiance; differentiable to the triangles."""
        return make_splats(scene, self.spacing, self.spread, self.opacity)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Blended from front to back; depth is the blended depth of the hits.

        Raises:
            InputError: the camera has a lens.
        """
        check_view(scene, camera)
        check_pinhole(camera)
        scene = self.prepare(scene)
        splats = as_splats(scene)
        pixels, depth = camera.project(splats.centres)
        homography, slope = _homographies(splats, camera)
        middle, half = _boxes(homography.detach(), reach(splats.opacities, LEAST))
        # The dot on the screen sits at the centre, so one box holds both.
        dot = reach(splats.opacities, LEAST)[:, None] * _SCREEN**0.5
        low = torch.minimum(middle - half, pixels - dot)
        high = torch.maximum(middle + half, pixels + dot)
        touched = list_fragments((low + high) / 2, (high - low) / 2, depth, camera.size, NEAR)

        own = touched.primitive
        places = touched.places(pixels)
        hit = _hits(homography[own], places)
        on_plane = hit.square().sum(-1)
        on_screen = (places - pixels[own]).square().sum(-1) / _SCREEN
        fall = torch.exp(-0.5 * torch.minimum(on_plane, on_screen))
        alpha = soft_end(splats.opacities[own] * fall)
        weights = alpha * touched.visible(alpha)
        inside = (on_plane <= on_screen)[:, None]
        met = depth[own] + (slope[own] * torch.where(inside, hit, 0)).sum(-1)
        return blend_over(touched, weights, splats.colours[own], met, scene.background)


def _homographies(splats: Splats, camera: Camera) -> tuple[Tensor, Tensor]:
    """(N, 3, 3) plane coordinates (u, v, 1) to homogeneous pixels; (N, 2) depth along u and v."""
    axes = camera.rotation @ splats.axes
    centres = camera.world_to_camera(splats.centres)
    plane = torch.cat([axes, centres[..., None]], dim=-1)
    return camera.intrinsics @ plane, axes[:, 2]


def _hits(homography: Tensor, places: Tensor) -> Tensor:  # (M, 3, 3), (M, 2)
    """(M, 2) plane coordinates that project to the places; far away where a ray is parallel."""
    x, y = places.split(1, dim=-1)
    across = torch.linalg.cross(
        x * homography[:, 2] - homography[:, 0], y * homography[:, 2] - homography[:, 1]
    )
    scale = across[:, 2:]
    # A plane seen from the edge has no hit: 1e4 deviations from the centre it is invisible.
    least = 1e-4 * across[:, :2].detach().norm(dim=-1, keepdim=True) + 1e-30
    edge_on = scale.abs() < least
    return torch.where(edge_on, 1e4, across[:, :2] / torch.where(edge_on, 1, scale))


def _boxes(homography: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:  # (N, 3, 3), (N,)
    """Middles and half sizes (N, 2) of the boxes around the images of discs u² + v² ≤ r².

    The lines that touch the image are the roots a of l C* lᵀ = 0 for l = (1, 0, -a), (0, 1, -a)
    and the dual conic C* = H diag(r², r², -1) Hᵀ. Discs that reach the camera plane get no box.
    """
    square = radius.square()
    diagonal = torch.stack([square, square, -torch.ones_like(square)], dim=-1)
    dual = homography * diagonal[:, None] @ homography.mT
    bottom = dual[:, 2, 2]
    fine = bottom < 0
    bottom = torch.where(fine, bottom, -1)[:, None]
    middle = dual[:, :2, 2] / bottom
    spread = middle.square() - dual.diagonal(dim1=-2, dim2=-1)[:, :2] / bottom
    return middle, torch.where(fine[:, None], spread.clamp(min=0).sqrt(), 0)


TECHNIQUE = GaussianSplatting2d()
