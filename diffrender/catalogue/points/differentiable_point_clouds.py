"""Differentiable point clouds (Insafutdinov and Dosovitskiy 2018): points become a voxel grid.

The paper's other half, several candidate poses of which the best one learns, belongs to training
and is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._surface_points import as_points, sample_surface
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.catalogue.voxels._rays import stop_chances

__all__ = ["TECHNIQUE", "DifferentiablePointClouds"]

_NEAR = 0.05  # metres


@dataclass(frozen=True)
class DifferentiablePointClouds:
    """Each point is a Gaussian in a grid that is aligned with the camera's rays.

    Attributes:
        spacing: of the points made from triangles, metres.
        planes: cells of the grid along depth; across it has a cell for each pixel.
        sigma: of the Gaussians across, in heights of the image; along depth it is as many cells.
        strength: s, height of a point's Gaussian; several points share a cell.
    """

    spacing: float = 0.12
    planes: int = 64
    sigma: float = 0.016
    strength: float = 0.25

    card: ClassVar[Card] = Card(
        name="differentiable-point-clouds",
        title="Differentiable point clouds (DPC)",
        authors="Insafutdinov, E. and Dosovitskiy, A.",
        year=2018,
        paper="Unsupervised Learning of Shape and Pose with Differentiable Point Clouds",
        venue="Advances in Neural Information Processing Systems 31",
        arxiv="1810.09381",
        sections="the paper's section on differentiable point clouds; survey 2.3",
        equations=(
            "o(x) = clip(Σ_i s_i exp(-|x - x_i|² / (2 σ²)), 0, 1)",
            "p_k = o_k Π_{j<k} (1 - o_j) along each ray",
            "I = Σ_k p_k c_k + Π_k (1 - o_k) background",
        ),
        family="points",
        idea=(
            "Points are moved to the camera's frame, where a grid has one line of cells behind "
            "each pixel.",
            "Every point leaves a Gaussian of occupancy in it: shared out to the eight nearest "
            "cells, then blurred.",
            "Ray termination along the lines, as in ray consistency, gives silhouette, depth and "
            "colour, smooth in the points' places.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(P D) for P pixels and D planes",
        time="O(N + P D k) for N points and a blur of k cells",
        limits="As coarse as its grid; where clipping saturates there is no gradient, and hidden "
        "points have next to none. Cells are sheared along the rays, so a Gaussian is not round in "
        "space.",
        use_when="Point sets from networks, with masks; start with a wide σ and narrow it.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as points with baked radiance; differentiable to the triangles."""
        return sample_surface(scene, self.spacing, self.strength)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Expected colour and depth along the lines of cells."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        points = as_points(scene)
        pixels, depth = camera.project(points.centres)
        seen = depth.detach() > _NEAR
        pixels, depth, strength = pixels[seen], depth[seen], points.opacities[seen]
        # Cells along depth span the points' box, seen from the camera: it moves with the scene.
        near, far = _depth_range(points.centres, camera)
        plane = (depth - near) / (far - near) * self.planes
        cells = torch.cat([pixels, plane[:, None]], dim=1)
        amounts = torch.cat([strength[:, None] * points.colours[seen], strength[:, None]], dim=1)
        grid = _share_out(cells, amounts, (self.planes, *camera.size))  # (4, D, H, W)
        grid = _blur(grid, self.sigma * camera.size[0])
        mass = grid[3]
        colours = grid[:3] / mass.clamp(min=1e-9)
        chances = stop_chances(mass.clamp(max=1).movedim(0, -1)).movedim(-1, 0)[:-1]  # (D, H, W)
        silhouette = chances.sum(0)
        middles = near + (torch.arange(self.planes).to(near) + 0.5) / self.planes * (far - near)
        image = (chances * colours).sum(1).movedim(0, -1)
        image = image + (1 - silhouette)[..., None] * scene.background
        some = silhouette > 1e-6
        mean = (chances * middles[:, None, None]).sum(0) / torch.where(some, silhouette, 1)
        return Rendering(image, silhouette, torch.where(some, mean, 0))


def _depth_range(centres: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Nearest and farthest depth of the corners of the box around the points, in front."""
    bounds = torch.stack([centres.amin(0), centres.amax(0)])
    corners = camera.world_to_camera(torch.cartesian_prod(*bounds.T))[:, 2]
    near = corners.amin().clamp(min=_NEAR)
    return near - 1e-3, torch.maximum(corners.amax(), near) + 1e-3


def _share_out(cells: Tensor, amounts: Tensor, counts: tuple[int, int, int]) -> Tensor:
    """Amounts (N, C) at places (N, 3), x y z in cells, to the eight nearest. (C, D, H, W)."""
    size = cells.new_tensor(counts).flip(0)
    place = cells - 0.5
    base = place.detach().floor()
    part = place - base
    total = amounts.new_zeros(counts[0] * counts[1] * counts[2], amounts.shape[1])
    for bits in range(8):
        on = torch.tensor([(bits >> axis) & 1 for axis in range(3)], device=cells.device)
        corner = base + on
        weight = torch.where(on.bool(), part, 1 - part).prod(-1)
        there = ((corner >= 0) & (corner < size)).all(-1)
        x, y, z = corner[there].long().unbind(-1)
        index = (z * counts[1] + y) * counts[2] + x
        total = total.index_add(0, index, (weight[:, None] * amounts)[there])
    return total.T.reshape(-1, *counts)


def _blur(grid: Tensor, sigma: float) -> Tensor:  # (C, D, H, W)
    """Convolved with a Gaussian of height one along each axis."""
    half = max(1, round(3 * sigma))
    offset = torch.arange(-half, half + 1).to(grid)
    kernel = torch.exp(-0.5 * (offset / sigma).square())
    blurred = grid[:, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(kernel)
        padding = [0, 0, 0]
        padding[axis] = half
        blurred = torch.nn.functional.conv3d(blurred, kernel.view(shape), padding=padding)
    return blurred[:, 0]


TECHNIQUE = DifferentiablePointClouds()
