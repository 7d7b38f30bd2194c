"""UNISURF (Oechsle et al. 2021): occupancy as opacity, sampled ever closer around the surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._rays import Rays, camera_rays, first_crossing
from diffrender.catalogue.implicit._sdf import SdfGrid, as_sdf, sdf_scene, shade
from diffrender.catalogue.implicit._volume import blend_weights, volume_picture
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "Unisurf"]


@dataclass(frozen=True)
class Unisurf:
    """Samples before and around the first surface, each as opaque as it is occupied.

    The occupancy is sigmoid(-f / width) of the grid's signed distance f.

    Attributes:
        width: of the occupancy's rise, metres.
        interval: half the length of the piece around the surface, metres; training shrinks it.
        around, before: samples in that piece, and between it and the box's near side.
        resolution: nodes of the grid along its longest side.
        steps: of the march that finds the surface.
    """

    width: float = 0.01
    interval: float = 0.1
    around: int = 24
    before: int = 24
    resolution: int = 80
    steps: int = 128

    card: ClassVar[Card] = Card(
        name="unisurf",
        title="UNISURF",
        authors="Oechsle, M. and Peng, S. and Geiger, A.",
        year=2021,
        paper="UNISURF: Unifying Neural Implicit Surfaces and Radiance Fields for Multi-View "
        "Reconstruction",
        venue="ICCV",
        arxiv="2104.10078",
        sections="paper, the sections on unifying surface and volume rendering; after the survey, "
        "which names it only. Written from memory of the method",
        equations=(
            "C = Σ o(xᵢ) Π_{j<i} (1 - o(xⱼ)) c(xᵢ)",
            "xᵢ in [tₛ - Δ, tₛ + Δ] around the first root tₛ, and before it",
        ),
        family="implicit",
        idea=(
            "Take the occupancy of a point as the opacity of its sample: a surface then hides "
            "what is behind it whatever the spacing.",
            "Find the first surface by marching and sample a short piece around it densely.",
            "As that piece shrinks during training, volume rendering turns into surface rendering.",
        ),
        claims=(
            Claim("density", "both", "biased"),
            Claim("attributes", "both", "own"),
            Claim("pose", "silhouette", "biased"),
            Claim("intrinsics", "silhouette", "biased"),
            Claim("light", "both", "own"),
        ),
        memory="O(P S + D) for P pixels, S samples and D values of the field",
        time="O(P (S + M)) for M steps of the march",
        limits="Opacity belongs to samples, not to lengths: more samples make soft places denser. "
        "A ray that misses has its samples around the place where it comes closest. The samples' "
        "places are held still in the derivative.",
        use_when="Occupancy networks from images without masks; where a signed distance is at hand "
        "take neus.",
    )

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.interval > 0):
            raise InputError(
                f"Unisurf.width is {self.width} and interval {self.interval}, expected metres "
                "above 0"
            )

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances and colours on a grid; not differentiable to the triangles."""
        return sdf_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Shaded samples, weighted; soft outlines."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        grid = as_sdf(scene)
        rays = camera_rays(camera, grid.low, grid.high)
        depth = self._places(grid, rays)
        points = rays.at(depth)
        opacity = torch.sigmoid(-grid.distance(points) / self.width)
        radiance = shade(scene, grid, points)
        return volume_picture(rays, blend_weights(opacity), depth, radiance, scene.background)

    def _places(self, grid: SdfGrid, rays: Rays) -> Tensor:
        """(P, before + around) depths, ascending, without gradient."""
        with torch.no_grad():
            root, hit = first_crossing(grid.distance, rays, self.steps, 8)
            share = torch.linspace(0, 1, self.steps + 1).to(root)
            even = rays.near[:, None] + share * (rays.far - rays.near)[:, None]
            index = grid.distance(rays.still().at(even)).argmin(dim=1, keepdim=True)
            root = torch.where(hit, root, even.gather(1, index)[:, 0])
            reach = self.interval / rays.lengths()
            start, end = (root - reach).maximum(rays.near), (root + reach).minimum(rays.far)
            first = torch.linspace(0, 1, self.before + 1).to(root)[:-1]
            second = torch.linspace(0, 1, self.around).to(root)
            return torch.cat(
                [
                    rays.near[:, None] + first * (start - rays.near)[:, None],
                    start[:, None] + second * (end - start)[:, None],
                ],
                dim=1,
            )


TECHNIQUE = Unisurf()
