"""SDFDiff (Jiang et al. 2020): a grid of signed distances, differentiated at the last eight nodes.

The march is not differentiated. Its last step is done once more with derivatives, from a point
where the eight nodes around it are all that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._rays import Rays, camera_rays, paint, rays_from_outside
from diffrender.catalogue.implicit._sdf import SdfGrid, as_sdf, sdf_scene, shade
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "SdfDiff"]


@dataclass(frozen=True)
class SdfDiff:
    """Plain sphere tracing; t = t₀ + f(p(t₀)) / ‖w‖ is the only step with derivatives.

    Attributes:
        resolution: nodes of the grid along its longest side.
        steps: of the march at most.
        tolerance: voxels at which a ray has arrived.
    """

    resolution: int = 80
    steps: int = 100
    tolerance: float = 0.02

    card: ClassVar[Card] = Card(
        name="sdfdiff",
        title="SDFDiff (sphere tracing of a grid)",
        authors="Jiang, Y. and Ji, D. and Han, Z. and Zwicker, M.",
        year=2020,
        paper="SDFDiff: Differentiable Rendering of Signed Distance Fields for 3D Shape "
        "Optimization",
        venue="CVPR",
        arxiv="1912.07109",
        sections="paper, the section on differentiable sphere tracing; survey section 2.4. Written "
        "from memory of its rule: the last step's eight nodes alone carry derivatives",
        equations=(
            "tᵢ₊₁ = tᵢ + f(p(tᵢ)), without derivative",
            "t = t₀ + f(p(t₀)),  ∂t/∂fₖ = bₖ(p(t₀)) for the eight trilinear weights bₖ",
        ),
        family="implicit",
        idea=(
            "Sphere tracing on a grid of signed distances, its steps without derivatives.",
            "The last step is repeated with derivatives: it reads eight nodes, so the depth of a "
            "pixel depends on eight numbers.",
            "Normals come from differences of the same grid, and carry most of the gradient of a "
            "shaded picture.",
        ),
        claims=(
            Claim("density", "interior", "biased"),
            Claim("attributes", "interior", "own"),
            Claim("pose", "interior", "biased"),
            Claim("light", "interior", "own"),
        ),
        memory="O(P + D) for P pixels and D nodes",
        time="O(P S) for S steps",
        limits="Hard visibility: no gradient at silhouettes. The depth's derivative lacks the "
        "factor 1 / cos of the angle between ray and normal, so slanted surfaces move too little. "
        "Nothing is seen from inside the surface.",
        use_when="Shape optimisation on a grid from shaded views, coarse to fine; for depth take "
        "dvr's rule, which costs no more.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances and colours on a grid; not differentiable to the triangles."""
        return sdf_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Shaded surface, hard outlines."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        grid = as_sdf(scene)
        rays = rays_from_outside(grid.distance, camera_rays(camera, grid.low, grid.high))
        start, hit = self._march(grid, rays.still())
        rays, start = rays.pick(hit), start[hit]
        depth = start + grid.distance(rays.at(start)) / rays.lengths()
        radiance = shade(scene, grid, rays.at(depth))
        return paint(rays, radiance, depth.new_ones(depth.shape), depth, scene.background)

    def _march(self, grid: SdfGrid, rays: Rays) -> tuple[Tensor, Tensor]:
        """Depth of the last place of each march, and whether it is at a surface; no gradient."""
        with torch.no_grad():
            lengths, depth = rays.lengths(), rays.near
            for _ in range(self.steps):
                depth = (depth + grid.distance(rays.at(depth)) / lengths).minimum(rays.far)
            arrived = grid.distance(rays.at(depth)) < self.tolerance * grid.spacing
            return depth, arrived & (depth < rays.far)


TECHNIQUE = SdfDiff()
