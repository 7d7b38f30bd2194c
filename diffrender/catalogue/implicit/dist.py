"""DIST (Liu et al. 2020): sphere tracing with long strides, outlines from the minimum distance.

Each ray strides by more than the signed distance and keeps the smallest distance that it met.
At a hit the depth is differentiated implicitly; beside the shape the minimum distance says how far
the outline is, and gives the silhouette its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._rays import (
    Rays,
    attach_root,
    camera_rays,
    paint,
    rays_from_outside,
)
from diffrender.catalogue.implicit._sdf import SdfGrid, as_sdf, sdf_scene, shade
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "Dist"]


class _Trace(NamedTuple):
    hit: Tensor  # (P,)
    depth: Tensor  # (P,) of the hit
    closest: Tensor  # (P,) depth where the distance is least, inside the shape too


@dataclass(frozen=True)
class Dist:
    """Sphere tracing of signed distances, and coverage from the least of them along the ray.

    Coverage is 1/2 - m, clamped to [0, 1], where m is the least signed distance along the ray in
    pixels at its depth: a straight outline covers that share of a pixel that it passes.

    Attributes:
        resolution: nodes of the grid along its longest side.
        stride: of a step, in signed distances; above 1 a step may land inside, and is walked back.
        steps: of the march at most.
        inner: places behind a hit that are searched for the least distance.
        sections: that narrow the place of the minimum down from two voxels.
        tolerance: voxels at which a march has arrived.
    """

    resolution: int = 80
    stride: float = 1.5
    steps: int = 120
    inner: int = 96
    sections: int = 40
    tolerance: float = 1e-3

    card: ClassVar[Card] = Card(
        name="dist",
        title="DIST (sphere tracing with differentiable silhouettes)",
        authors="Liu, S. and Zhang, Y. and Peng, S. and Shi, B. and Pollefeys, M. and Cui, Z.",
        year=2020,
        paper="DIST: Rendering Deep Implicit Signed Distance Function with Differentiable Sphere "
        "Tracing",
        venue="CVPR",
        arxiv="1911.13225",
        sections="paper, the sections on aggressive marching and on differentiable sphere tracing; "
        "survey section 2.4. Its coarse-to-fine image pyramid is left out",
        equations=(
            "tᵢ₊₁ = tᵢ + α f(p(tᵢ)), α = 1.5",
            "S = clamp(1/2 - min_t f(p(t)) · focal / t, 0, 1)",
            "∂S/∂θ = -(focal / t*) ∂f(p(t*))/∂θ at the minimum t* (envelope theorem)",
        ),
        family="implicit",
        idea=(
            "Stride along each ray by 1.5 times the signed distance, which cannot leap over a "
            "surface by far, and stop where it vanishes.",
            "The depth of a hit is differentiated implicitly.",
            "The least distance along a ray says by how much it passes the outline, so its "
            "derivative is that of the silhouette; the place of the minimum may be held still.",
        ),
        claims=(
            Claim("density", "both", "biased"),
            Claim("attributes", "both", "own"),
            Claim("pose", "silhouette", "biased"),
            Claim("intrinsics", "silhouette", "biased"),
            Claim("light", "both", "own"),
        ),
        memory="O(P + D) for P pixels and a field of D values; the march is not stored",
        time="O(P S) for S steps, fewer where rays arrive early",
        limits="Coverage is differentiated as it is drawn; the colour of a ray that passes beside "
        "the shape is taken where it comes closest, and that place is held still. Only the outline "
        "against the background has a gradient: where one surface hides another, colours jump. "
        "The distance must be one: rays stride too far where it is too large. Reaches half a "
        "pixel beside the outline. Nothing is seen from inside the surface.",
        use_when="Fitting a signed distance (a DeepSDF code, a grid) to masks and colours.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances and colours on a grid; not differentiable to the triangles."""
        return sdf_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Shaded surface, the outline against the background smooth over one pixel."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        grid = as_sdf(scene)
        rays = rays_from_outside(grid.distance, camera_rays(camera, grid.low, grid.high))
        trace = self._march(grid, rays.still())
        focal = (camera.intrinsics[0, 0] * camera.intrinsics[1, 1]).sqrt()
        least = self._least(grid, rays, trace.closest) * focal / trace.closest
        coverage = (0.5 - least).clamp(0, 1)
        seen = coverage > 0
        rays, coverage, hit = rays.pick(seen), coverage[seen], trace.hit[seen]
        found = torch.where(hit, trace.depth[seen], trace.closest[seen])
        depth = torch.where(hit, attach_root(found, grid.distance, grid.slope, rays), found)
        return paint(rays, shade(scene, grid, rays.at(depth)), coverage, depth, scene.background)

    def _least(self, grid: SdfGrid, rays: Rays, closest: Tensor) -> Tensor:  # (P,)
        """The least distance along each ray, with its derivative.

        A trilinear distance often has its minimum at a kink, where two cells meet. There the
        derivative is the mean of both sides' with weights that cancel the slopes along the ray, so
        that the place of the minimum does not matter to first order.
        """
        aside = 1e-3 * grid.spacing / rays.lengths()
        places = closest[:, None] + aside[:, None] * aside.new_tensor([-1.0, 1.0])
        with torch.no_grad():
            still = rays.still()
            down, up = (grid.slope(still.at(places)) * still.directions[:, None]).sum(-1).unbind(1)
            share = (up / (up - down)).nan_to_num(0.5, 0.5, 0.5).clamp(0, 1)
        before, behind = grid.distance(rays.at(places)).unbind(1)
        return torch.lerp(behind, before, share)

    def _march(self, grid: SdfGrid, rays: Rays) -> _Trace:
        """Hits and least distances of all rays, without gradient."""
        with torch.no_grad():
            lengths, near, far = rays.lengths(), rays.near, rays.far
            arrived = self.tolerance * grid.spacing
            depth, before = near.clone(), near.clone()
            value = grid.distance(rays.at(depth))
            closest, least = depth.clone(), value.clone()
            for _ in range(self.steps):
                # Outside stride on; inside step back to between the last two places.
                onward = depth + self.stride * value / lengths
                following = torch.where(value > 0, onward, (before + depth) / 2)
                before = torch.where(value > 0, depth, before)
                moving = (value.abs() > arrived) & (depth < far)
                if not moving.any():
                    break
                depth = torch.where(moving, following.minimum(far), depth)
                value = grid.distance(rays.at(depth))
                nearer = value < least
                closest, least = torch.where(nearer, depth, closest), value.minimum(least)
            hit = value <= arrived
            # Behind a hit the ray may pass deeper, through this surface or another.
            share = torch.linspace(0, 1, self.inner).to(depth)
            behind = depth[:, None] + share * (far - depth)[:, None]
            deepest, index = grid.distance(rays.at(behind)).min(dim=1)
            deeper = behind.gather(1, index[:, None])[:, 0]
            closest = torch.where(deepest < least, deeper, closest)
            return _Trace(hit, depth, self._refine(grid, rays, closest))

    def _refine(self, grid: SdfGrid, rays: Rays, closest: Tensor) -> Tensor:  # (P,)
        """The minimum's place within a voxel on both sides, by golden sections.

        It has to be a minimum indeed: only there may it be held still in the derivative.
        """
        golden = (5**0.5 - 1) / 2
        low = (closest - grid.spacing / rays.lengths()).maximum(rays.near)
        high = (closest + grid.spacing / rays.lengths()).minimum(rays.far)
        for _ in range(self.sections):
            third, sixth = high - golden * (high - low), low + golden * (high - low)
            left = grid.distance(rays.at(third)) < grid.distance(rays.at(sixth))
            low, high = torch.where(left, low, third), torch.where(left, sixth, high)
        return (low + high) / 2


TECHNIQUE = Dist()
