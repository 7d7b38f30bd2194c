"""Barycentrics without clamping (Genova et al. 2018): the derivative inside the nearest face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view
from diffrender.raster import rasterize

__all__ = ["TECHNIQUE", "UnclampedBarycentrics"]


@dataclass(frozen=True)
class UnclampedBarycentrics:
    """Hard visibility without a gradient; barycentrics by a formula that has one."""

    card: ClassVar[Card] = Card(
        name="unclamped-barycentrics",
        title="Derivatives by unclamped barycentrics (tf_mesh_renderer)",
        authors="Genova, K. and Cole, F. and Maschinot, A. and Sarna, A. and Vlasic, D. "
        "and Freeman, W. T.",
        year=2018,
        paper="Unsupervised Training for 3D Morphable Model Regression",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
        arxiv="1806.06098",
        sections="paper's section on the differentiable rasterizer; survey section 2.1.2",
        equations=(
            "e_i = z_j (x_j - p) × z_k (x_k - p) for corners at pixels x with depths z",
            "b_i = e_i / (e_1 + e_2 + e_3),  I = Σ_i b_i c_i,  z = Σ_i b_i z_i",
        ),
        family="mesh, approximate gradient",
        idea=(
            "Find the nearest face of each pixel without any gradient.",
            "Write the pixel's barycentrics in it as a rational function of its corners.",
            "That function goes on smoothly beyond the face, where a barycentric is negative, so "
            "its derivative is used up to the outline and occlusion is ignored.",
        ),
        claims=(
            Claim("vertices", "interior", "exact"),
            Claim("attributes", "interior", "exact"),
            Claim("pose", "interior", "exact"),
            Claim("intrinsics", "interior", "exact"),
            Claim("light", "interior", "exact"),
        ),
        memory="O(P): three barycentrics at each of P pixels",
        time="O(P + N) for N faces",
        limits="No gradient at silhouettes: a shape of one colour before a background feels "
        "nothing. Fine for faces, which fill the picture with smooth colours.",
        use_when="Smooth textured surfaces that are already in place, or as the interior part of "
        "a method with its own silhouettes.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Radiance and depth of the nearest face at pixel centres; the silhouette is 0 or 1."""
        check_view(scene, camera)
        mesh = as_triangles(scene)
        with torch.no_grad():
            face = rasterize((mesh.vertices, mesh.faces), camera).face[..., 0]  # (H, W)
        row, column = (face >= 0).nonzero(as_tuple=True)
        corners = mesh.faces[face[row, column]]  # (M, 3)
        pixels, z = camera.project(mesh.vertices)
        centre = torch.stack([column, row], dim=1).to(z) + 0.5
        share = barycentrics(pixels[corners], z[corners], centre)
        depth = (share * z[corners]).sum(1)
        colour = (share[..., None] * scene.radiance()[corners]).sum(1)  # (M, 3)
        image = scene.background.expand(*camera.size, 3).index_put((row, column), colour)
        return Rendering(
            image, (face >= 0).to(z), z.new_zeros(camera.size).index_put((row, column), depth)
        )


def barycentrics(pixels: Tensor, z: Tensor, at: Tensor) -> Tensor:
    """Perspective-correct barycentrics of pixel positions, not clamped; negative outside.

    Corners' pixels (M, 3, 2), their depths (M, 3), positions (M, 2) -> (M, 3).
    """
    away = (pixels - at[:, None]) * z[..., None]  # around the pixel, so that little cancels
    following, last = away.roll(-1, 1), away.roll(-2, 1)
    edges = following[..., 0] * last[..., 1] - following[..., 1] * last[..., 0]  # (M, 3)
    return edges / edges.sum(1, keepdim=True)


TECHNIQUE = UnclampedBarycentrics()
