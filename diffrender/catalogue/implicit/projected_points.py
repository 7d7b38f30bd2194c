"""Projected zero-level points (Zakharov et al. 2020): a signed distance drawn as oriented discs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._sdf import SdfGrid, as_sdf, interpolate_grid, sdf_scene
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "ProjectedPoints", "project_to_surface"]

_NEAREST = 0.01  # metres before the camera
_FLAT = 0.5  # length of the gradient, 1 for a distance, at which a node has no weight left
_EDGE_ON = 0.2  # cosine of the angle between ray and normal below which a disc fades


def project_to_surface(grid: SdfGrid, band: float) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes near the surface, moved onto it: x = p - f(p) ∇f / ‖∇f‖.

    Shapes: -> points (N, 3), unit normals (N, 3), world, and weights (N,) that fall from 1 for a
    node on the surface to 0 at the band's end. Differentiable to the values.

    Args:
        band: voxels; nodes with a smaller distance are taken.

    Source: Zakharov et al. 2020, the section on surface projection.
    """
    gradients = grid.gradients()
    # Between two surfaces the gradient vanishes, and there is no direction to move along.
    steep = gradients.norm(dim=-1) - _FLAT
    near = (grid.values.abs() < band * grid.spacing) & (steep > 0)
    normals = torch.nn.functional.normalize(gradients[near], dim=-1)
    distance = grid.values[near]
    weight = 1 - (distance / (band * grid.spacing)).square()
    weight = weight * (steep[near] / (1 - _FLAT)).clamp(max=1)
    return grid.nodes()[near] - distance[:, None] * normals, normals, weight


@dataclass(frozen=True)
class ProjectedPoints:
    """Discs tangent to the surface, blended by closeness to their centres and by depth.

    Attributes:
        resolution: nodes of the grid along its longest side.
        band: voxels on both sides of the surface whose nodes are projected.
        radius: of a disc, voxels.
        sharpness: of the preference for nearer discs, per metre of depth.
        window: pixels along the square around a disc's centre that it is drawn into.
    """

    resolution: int = 80
    band: float = 1.0
    radius: float = 1.1
    sharpness: float = 20.0
    window: int = 7

    card: ClassVar[Card] = Card(
        name="projected-points",
        title="Projected zero-level points (SDFLabel)",
        authors="Zakharov, S. and Kehl, W. and Bhargava, A. and Gaidon, A.",
        year=2020,
        paper="Autolabeling 3D Objects with Differentiable Rendering of SDF Shape Priors",
        venue="CVPR",
        arxiv="1911.11288",
        sections="paper, the sections on 0-isosurface projection and on the surfel renderer; "
        "survey section 2.4",
        equations=(
            "x = p - f(p) ∇f / ‖∇f‖",
            "y where the ray meets the plane through x with normal ∇f",
            "M = max(1 - ‖y - x‖² / r², 0) (1 - f² / band²)",
            "w ∝ M e^(-sharpness z),  S = 1 - Π (1 - M)",
        ),
        family="implicit",
        idea=(
            "Take nodes near the surface and move each onto it, along the gradient by the "
            "distance: the points are functions of the field.",
            "Draw a disc at each, tangent to the surface, and intersect it with the rays of the "
            "pixels around.",
            "Blend what a pixel sees by how near it is to each disc's centre and to the camera.",
        ),
        claims=(
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(N K²) for N points and windows of K pixels",
        time="O(N K²)",
        limits="Discs larger on the image than the window are cut: close surfaces get holes at a "
        "high resolution. Sharp edges are worn by discs that stick out, and "
        "where two surfaces meet there are holes. Nodes fade in and "
        "out at the ends of the band, and discs that turn their edge to the ray: so that the "
        "picture has no jumps, which is an addition here.",
        use_when="Fitting shape codes and poses of a learnt distance, where points are wanted too.",
    )

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise InputError(f"ProjectedPoints.window is {self.window}, expected an odd number")

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances and colours on a grid; not differentiable to the triangles."""
        return sdf_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Blended discs; soft outlines."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        grid = as_sdf(scene)
        points, normals, weight = project_to_surface(grid, self.band)
        radiance = scene.light.shade(interpolate_grid(grid, grid.colours, points), normals)
        centre = camera.centre
        ahead = camera.project(points)[1].detach() > _NEAREST
        points, normals, radiance = points[ahead], normals[ahead], radiance[ahead]
        disc, pixel = self._pairs(points, camera)
        place, direction = _rays_of(pixel, camera)
        height, width = camera.size
        # Where each ray meets the disc's plane; discs fade as they turn their edge to it.
        slant = -(direction * normals[disc]).sum(-1)
        facing = slant > 1e-3
        disc, place, direction = disc[facing], place[facing], direction[facing]
        slant = slant[facing]
        depth = ((centre - points) * normals).sum(-1)[disc] / slant
        aside = centre + depth[:, None] * direction - points[disc]
        close = 1 - aside.square().sum(-1) / (self.radius * grid.spacing) ** 2
        close = close * weight[ahead][disc] * (slant / _EDGE_ON).clamp(max=1)
        hit = (close > 0) & (depth > _NEAREST)
        disc, place, depth, close = disc[hit], place[hit], depth[hit], close[hit]
        nearest = torch.full((height * width,), float("inf"), dtype=depth.dtype)
        nearest.scatter_reduce_(0, place, depth.detach(), "amin")
        # A common factor for each pixel, against underflow; it cancels.
        share = close * torch.exp(-self.sharpness * (depth - nearest[place]))
        drawn = torch.cat([torch.ones_like(depth)[:, None], depth[:, None], radiance[disc]], dim=1)
        sums = depth.new_zeros(height * width, 5).index_add(0, place, share[:, None] * drawn)
        open_ = depth.new_zeros(height * width)
        open_ = open_.index_add(0, place, torch.log1p(-close.clamp(max=1 - 1e-6)))
        coverage = -torch.expm1(open_)
        mean = sums[:, 1:] / sums[:, :1].clamp(min=1e-12)
        image = scene.background + coverage[:, None] * (mean[:, 1:] - scene.background)
        return Rendering(
            image.reshape(height, width, 3),
            coverage.reshape(height, width),
            mean[:, 0].reshape(height, width),
        )

    def _pairs(self, points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """Discs and the pixels of their windows within the image: (M,), (M, 2) column and row."""
        reach = torch.arange(self.window) - self.window // 2
        steps = torch.cartesian_prod(reach, reach)
        pixel = camera.project(points.detach())[0].detach().floor().long()[:, None] + steps
        inside = ((pixel >= 0) & (pixel < torch.tensor(camera.size).flip(0))).all(-1)
        return inside.nonzero()[:, 0], pixel[inside]


def _rays_of(pixel: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:  # (M, 2)
    """The pixels' rows in a flat image, and the directions of their rays with z = 1."""
    place = pixel[:, 1] * camera.size[1] + pixel[:, 0]
    centres = pixel.to(camera.intrinsics) + 0.5
    ahead = camera.unproject(centres, torch.ones_like(centres[:, 0]))
    return place, ahead - camera.centre


TECHNIQUE = ProjectedPoints()
