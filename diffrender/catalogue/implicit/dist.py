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
from diffrender.catalogue.implicit._rays import Rays, attach_root, camera_rays, paint
from diffrender.catalogue.implicit._sdf import SdfGrid, as_sdf, sdf_scene, shade
from diffrender.catalogue.scene import Rendering, Scene

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
        inner: steps of one voxel behind a hit, in search of the least distance.
        tolerance: voxels at which a march has arrived.
    """

    resolution: int = 80
    stride: float = 1.5
    steps: int = 60
    inner: int = 8
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
            Claim("density", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(P + D) for P pixels and a field of D values; the march is not stored",
        time="O(P S) for S steps, fewer where rays arrive early",
        limits="Only the outline against the background has a gradient: where one surface hides "
        "another, colours jump. The distance must be one: rays stride too far where it is "
        "too large. Reaches half a pixel beside the outline.",
        use_when="Fitting a signed distance (a DeepSDF code, a grid) to masks and colours.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances and colours on a grid; not differentiable to the triangles."""
        return sdf_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Shaded surface, the outline against the background smooth over one pixel."""
        scene = self.prepare(scene)
        grid = as_sdf(scene)
        rays = camera_rays(camera, grid.low, grid.high)
        trace = self._march(grid, rays.still())
        focal = (camera.intrinsics[0, 0] * camera.intrinsics[1, 1]).sqrt()
        least = grid.distance(rays.at(trace.closest)) * focal / trace.closest
        coverage = (0.5 - least).clamp(0, 1)
        seen = coverage > 0
        rays, coverage, hit = rays.pick(seen), coverage[seen], trace.hit[seen]
        found = torch.where(hit, trace.depth[seen], trace.closest[seen])
        depth = torch.where(hit, attach_root(found, grid.distance, grid.slope, rays), found)
        return paint(rays, shade(scene, grid, rays.at(depth)), coverage, depth, scene.background)

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
                depth = torch.where(moving, following.minimum(far), depth)
                value = grid.distance(rays.at(depth))
                nearer = value < least
                closest, least = torch.where(nearer, depth, closest), value.minimum(least)
            hit = value <= arrived
            for step in range(1, self.inner + 1):
                inside = (depth + step * grid.spacing / lengths).minimum(far)
                value = grid.distance(rays.at(inside))
                nearer = hit & (value < least)
                closest, least = torch.where(nearer, inside, closest), value.minimum(least)
            return _Trace(hit, depth, closest)


TECHNIQUE = Dist()
