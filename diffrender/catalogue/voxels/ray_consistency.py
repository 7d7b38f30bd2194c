"""Differentiable ray consistency (Tulsiani et al. 2017): where a ray through voxels may stop.

Every voxel that a ray crosses is one event, however long the crossing is. The picture drawn is the
expectation over the events; `consistency` is the paper's own use, the expected cost of what a ray
meets against what was observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.catalogue.voxels._consistency import consistency
from diffrender.catalogue.voxels._grid import VoxelGrid, as_grid, voxelize
from diffrender.catalogue.voxels._rays import (
    RaySamples,
    box_depths,
    composite,
    pixel_rays,
    stop_chances,
)

__all__ = ["TECHNIQUE", "RayConsistency", "cross_voxels"]


@dataclass(frozen=True)
class RayConsistency:
    """Expected colour and depth of the voxel at which a ray stops.

    Attributes:
        resolution: voxels along the scene's longest side.
    """

    resolution: int = 72

    card: ClassVar[Card] = Card(
        name="ray-consistency",
        title="Differentiable ray consistency (DRC)",
        authors="Tulsiani, S. and Zhou, T. and Efros, A. A. and Malik, J.",
        year=2017,
        paper="Multi-view Supervision for Single-view Reconstruction via Differentiable Ray "
        "Consistency",
        venue="IEEE Conference on Computer Vision and Pattern Recognition",
        arxiv="1704.06254",
        sections="the paper's formulation of ray potentials and event probabilities; survey 2.2",
        equations=(
            "p_i = (1 - x_i) Π_{j<i} x_j, p_{N+1} = Π_j x_j, x_i = chance that voxel i is empty",
            "L = Σ_i p_i ψ_i = ψ_1 + Σ_i (ψ_{i+1} - ψ_i) Π_{j≤i} x_j",
            "∂L/∂x_k = (1/x_k) Σ_{i≥k} (ψ_{i+1} - ψ_i) Π_{j≤i} x_j",
        ),
        family="voxels",
        idea=(
            "A voxel's occupancy is the chance that a ray which reaches it stops there, so a ray "
            "has one event for each voxel on its way and one for escaping.",
            "An observation gives every event a cost, and the loss of a ray is the expected cost; "
            "a picture is the expectation of colour and depth by the same chances.",
            "The chances are products of occupancies, so the gradient reaches every voxel on the "
            "ray, as far as the ones before it let the ray through.",
        ),
        claims=(
            Claim("density", "both", "own"),
            Claim("attributes", "both", "own"),
        ),
        memory="O(P (D + H + W) + V) for P pixels and V = D H W voxels",
        time="O(P n log n) with n = D + H + W crossings",
        limits="No gradient to the camera: which voxels a ray crosses is decided; the multi-view "
        "consistency of 2018 samples instead. The crossing's length does not count, so a clipped "
        "corner stops a ray as well as a whole voxel.",
        use_when="Occupancy grids from masks, depth or colours with known cameras.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as occupancy and baked radiance; not differentiable to their vertices."""
        return voxelize(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Expected colour and depth; the silhouette is the chance of not escaping."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        met = cross_voxels(as_grid(scene), camera)
        weights = stop_chances(met.occupancy)[:, :-1]
        return composite(weights, met, scene.background, camera.size)

    def loss(self, scene: Scene, camera: Camera, seen: Rendering) -> Tensor:
        """Expected cost of each ray against an observed silhouette and depth, their mean: scalar.

        Args:
            scene: prepared.
            camera: of the observation.
            seen: its silhouette, and its depth, 0 where unknown.
        """
        return consistency(cross_voxels(as_grid(scene), camera), seen)


def cross_voxels(grid: VoxelGrid, camera: Camera) -> RaySamples:
    """Every voxel that each ray crosses, in order, padded with empty ones.

    Crossings lie between neighbouring planes of the grid: all planes' depths on a ray are sorted,
    and between two of them the ray is in one voxel. Differentiable to the grid alone.
    """
    counts = grid.occupancy.shape
    with torch.no_grad():
        centre, direction = pixel_rays(camera)
        near, far = (depth[:, None] for depth in box_depths(grid, centre, direction))
        planes = []
        for axis in range(3):
            place = grid.low[axis] + grid.edge * torch.arange(counts[2 - axis] + 1).to(centre)
            along = direction[:, axis : axis + 1]
            along = torch.where(along.abs() < 1e-9, 1e-9, along)
            planes.append((place - centre[axis]) / along)
        depths = torch.cat(planes, dim=1).clamp(near, far).sort(dim=1).values
        middle = (depths[:, 1:] + depths[:, :-1]) / 2
        length = (depths[:, 1:] - depths[:, :-1]) * direction.norm(dim=-1, keepdim=True)
        crossed = length > 1e-4 * grid.edge
        points = centre + middle[..., None] * direction[:, None]
        size = points.new_tensor(counts).flip(0)
        index = ((points - grid.low) / grid.edge).floor().clamp(min=0).minimum(size - 1).long()
        voxel = (index[..., 2] * counts[1] + index[..., 1]) * counts[2] + index[..., 0]
    occupancy = torch.where(crossed, grid.occupancy.reshape(-1)[voxel], 0)
    return RaySamples(middle, length, occupancy, grid.colours.reshape(-1, 3)[voxel])


TECHNIQUE = RayConsistency()
