"""Differentiable volumetric rendering (Niemeyer et al. 2020): a root, differentiated implicitly.

The level set of an occupancy network is found along each ray by marching and secant steps; what
the depth of that root does when the field or the ray changes follows from the implicit function
theorem, so that nothing of the search is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._rays import (
    attach_root,
    camera_rays,
    first_crossing,
    paint,
    rays_from_outside,
)
from diffrender.catalogue.implicit._sdf import as_sdf, sdf_scene, shade
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "Dvr"]


@dataclass(frozen=True)
class Dvr:
    """The first point below the level set, and the derivative of its depth.

    The field is a grid of signed distances f; the occupancy sigmoid(-f / s) of any s passes 1/2
    where f passes 0, so the level set is the same.

    Attributes:
        resolution: nodes of the grid along its longest side.
        steps: of the even march through the grid's box; thinner things can be missed.
        secants: steps that close the bracket.
    """

    resolution: int = 80
    steps: int = 128
    secants: int = 8

    card: ClassVar[Card] = Card(
        name="dvr",
        title="Differentiable volumetric rendering (implicit depth derivative)",
        authors="Niemeyer, M. and Mescheder, L. and Oechsle, M. and Geiger, A.",
        year=2020,
        paper="Differentiable Volumetric Rendering: Learning Implicit 3D Representations without "
        "3D Supervision",
        venue="CVPR",
        arxiv="1912.07372",
        sections="paper, the section on differentiable rendering; survey section 2.4",
        equations=(
            "f(p̂) = τ,  p̂ = r₀ + d̂ w",
            "∂d̂/∂θ = -(∇f(p̂) · w)⁻¹ ∂f_θ(p̂)/∂θ",
        ),
        family="implicit",
        idea=(
            "March along each ray until the field changes sign, then close the bracket by secant "
            "steps.",
            "The depth of the root is a function of the field and of the ray by the implicit "
            "function theorem, whatever search found it.",
            "So the colour at the surface has a derivative to the shape without storing a volume.",
        ),
        claims=(
            Claim("density", "interior", "own"),
            Claim("attributes", "interior", "own"),
            Claim("pose", "interior", "own"),
            Claim("intrinsics", "interior", "own"),
            Claim("light", "interior", "own"),
        ),
        memory="O(P + D) for P pixels and a field of D values; the march is not stored",
        time="O(P S) for S steps of the march",
        limits="Hard visibility: no gradient at silhouettes (the paper adds losses on the "
        "occupancy of rays that should hit or miss, IDR a soft mask from the least distance). Rays "
        "that graze the surface have huge derivatives; here the denominator is kept at 0.01. "
        "Nothing is seen from inside the surface.",
        use_when="Fitting texture and shape of a field to images with masks, where memory counts.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances and colours on a grid; not differentiable to the triangles."""
        return sdf_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Shaded surface of the level set, hard outlines."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        grid = as_sdf(scene)
        rays = rays_from_outside(grid.distance, camera_rays(camera, grid.low, grid.high))
        depth, hit = first_crossing(grid.distance, rays, self.steps, self.secants)
        rays, depth = rays.pick(hit), depth[hit]
        depth = attach_root(depth, grid.distance, grid.slope, rays)
        radiance = shade(scene, grid, rays.at(depth))
        return paint(rays, radiance, depth.new_ones(depth.shape), depth, scene.background)


TECHNIQUE = Dvr()
