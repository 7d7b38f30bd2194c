"""Perspective Transformer (Yan et al. 2016): the grid resampled in the camera's frustum, and a max.

The paper draws silhouettes only; colours and depth are added here by the chances of stopping of
ray_consistency.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.catalogue.voxels._grid import as_grid, voxelize
from diffrender.catalogue.voxels._rays import (
    RaySamples,
    composite,
    pixel_rays,
    sample_grid,
    shared_out,
    stop_chances,
)

__all__ = ["TECHNIQUE", "PerspectiveTransformer"]


@dataclass(frozen=True)
class PerspectiveTransformer:
    """A silhouette as the largest occupancy along each ray.

    Attributes:
        resolution: voxels along the scene's longest side.
        planes: depths at which the frustum is sampled.
    """

    resolution: int = 72
    planes: int = 96

    card: ClassVar[Card] = Card(
        name="perspective-transformer",
        title="Perspective Transformer Nets",
        authors="Yan, X. and Yang, J. and Yumer, E. and Guo, Y. and Lee, H.",
        year=2016,
        paper="Perspective Transformer Nets: Learning Single-View 3D Object Reconstruction without "
        "3D Supervision",
        venue="Advances in Neural Information Processing Systems 29",
        arxiv="1612.00814",
        sections="the paper's section on perspective transformation and projection; survey 2.2",
        equations=(
            "V'(n, p) = Σ_m V(m) Π_a max(0, 1 - |x_a(n, p) - m_a|), x(n, p) = R⁻¹(K⁻¹ p d_n - t)",
            "S(p) = max_n V'(n, p)",
        ),
        family="voxels",
        idea=(
            "Place a grid of points in the camera's frustum, one line of depths behind each pixel.",
            "Read the occupancy there by trilinear interpolation, as a Spatial Transformer reads "
            "an image, which turns the perspective projection into a parallel one.",
            "The silhouette is the maximum along each line, and its gradient goes to the voxels "
            "around the place of the maximum and to where that place lies.",
        ),
        claims=(
            Claim("density", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(P D + V) for P pixels, D planes and V voxels",
        time="O(P D)",
        limits="One place on a ray learns at a time. Where many share the maximum, as full voxels "
        "of a solid do and empty ones beside it, there is no derivative to the occupancy, and it "
        "is shared out evenly. Thin parts between planes are not seen.",
        use_when="Silhouettes of occupancy grids from networks, where a simple and fast projection "
        "is enough.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as occupancy and baked radiance; not differentiable to their vertices."""
        return voxelize(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The largest occupancy on each ray; colour and depth of where a ray is likely to stop."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        grid = as_grid(scene)
        centre, direction = pixel_rays(camera)
        bounds = torch.stack([grid.low, grid.high])
        corners = torch.cartesian_prod(*bounds.T)
        reach = camera.world_to_camera(corners)[:, 2].clamp(min=0.05)
        share = (torch.arange(self.planes).to(reach) + 0.5) / self.planes
        depth = (reach.amin() + share * (reach.amax() - reach.amin())).expand(len(direction), -1)
        points = centre + depth[..., None] * direction[:, None]
        occupancy, colours = sample_grid(grid, points)
        largest = occupancy.amax(dim=1, keepdim=True)
        weights = shared_out(largest, stop_chances(occupancy.clamp(0, 1))[:, :-1])
        met = RaySamples(depth, torch.zeros_like(largest), occupancy, colours)
        return composite(weights, met, scene.background, camera.size)


TECHNIQUE = PerspectiveTransformer()
