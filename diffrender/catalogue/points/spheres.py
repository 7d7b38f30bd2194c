"""Spheres (Pulsar, Lassner and Zollhöfer 2021): soft rims, and a softmax over depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._fragments import blend_over, list_fragments
from diffrender.catalogue.points._surface_points import as_points, sample_surface
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "Spheres"]

_NEAR = 0.2  # metres


@dataclass(frozen=True)
class Spheres:
    """Every sphere on a pixel's ray takes part, weighted by nearness to the ray and the camera.

    Attributes:
        spacing: of the points made from triangles, metres.
        growth: a sphere's radius, in that of its point.
        gamma: softness of the order in depth: 1e-5 is hard, 1 a plain mean.
        background: logit of the background, as if it lay at this normalised depth (0 is farthest).
        far: depth that counts as farthest, metres.
    """

    spacing: float = 0.12
    growth: float = 1.5
    gamma: float = 5e-3
    background: float = -0.005
    far: float = 20.0

    card: ClassVar[Card] = Card(
        name="pulsar-spheres",
        title="Pulsar: spheres",
        authors="Lassner, C. and Zollhöfer, M.",
        year=2021,
        paper="Pulsar: Efficient Sphere-Based Neural Rendering",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        arxiv="2004.07484",
        sections="the paper's blending function, restated from memory; survey 2.3",
        equations=(
            "w_i = o_i d_i exp(o_i z_i / γ) / (exp(ε / γ) + Σ_k o_k d_k exp(o_k z_k / γ))",
            "d_i = 1 - distance(ray, centre_i) / r_i",
            "z_i = (far - depth_i) / (far - near) ∈ [0, 1]",
        ),
        family="points",
        idea=(
            "Points are spheres, which look round from everywhere and need no normals.",
            "On a pixel's ray each sphere counts by how near the ray passes to its centre, so "
            "that spheres fade towards their rims.",
            "A softmax over depth, in place of a sort, picks the nearest and leaves the hidden "
            "ones a share that γ sets.",
        ),
        claims=(
            Claim("vertices", "interior", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "interior", "own"),
            Claim("pose", "interior", "own"),
            Claim("intrinsics", "interior", "own"),
        ),
        memory="O(N + M) for N spheres and M pairs of a sphere and a pixel under it",
        time="O(N log N + M log M)",
        limits="γ trades gradient for leaks: soft settings show what is hidden. Where γ is small a "
        "sphere outweighs the background as soon as a ray grazes it, so the gradient at outlines "
        "is a spike far narrower than a pixel. Spheres stick out of the surface by their radius.",
        use_when="Many thousands of points with features, where normals and scales are unknown.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as points with baked radiance; differentiable to the triangles."""
        return sample_surface(scene, self.spacing)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The softmax over all spheres on each ray and the background; depth is the centres'."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        points = as_points(scene)
        pixels, depth = camera.project(points.centres)
        radii = self.growth * points.radii
        centres = camera.world_to_camera(points.centres)
        # The rim of a sphere off the axis is an ellipse, at most this much longer than wide.
        stretch = centres.norm(dim=-1) / (depth.square() - radii.square()).clamp(min=1e-6).sqrt()
        focal = camera.intrinsics[[0, 1], [0, 1]]
        extent = focal * (radii / depth * stretch)[:, None] * stretch[:, None]
        touched = list_fragments(pixels, extent, depth, camera.size, _NEAR)

        places = touched.places(pixels)
        ends = camera.unproject(places, torch.ones_like(places[:, 0]))
        ray = torch.nn.functional.normalize(ends - camera.centre, dim=-1)
        towards = points.centres[touched.primitive] - camera.centre
        off = torch.linalg.cross(ray, towards).square().sum(-1).clamp(min=1e-12).sqrt()
        nearness = 1 - off / radii[touched.primitive]
        hit = nearness > 0
        touched, nearness = touched.kept(hit), nearness[hit]
        own = touched.primitive
        order = ((self.far - depth[own]) / (self.far - _NEAR)).clamp(0, 1)

        opacity = points.opacities[own]
        logit = opacity * order / self.gamma
        # The largest logit of each pixel is taken off, which cancels in the ratio.
        top = logit.new_full((camera.size[0] * camera.size[1],), self.background / self.gamma)
        top = top.scatter_reduce(0, touched.pixel, logit.detach(), "amax")
        shares = opacity * nearness * torch.exp(logit - top[touched.pixel])
        empty = torch.exp(self.background / self.gamma - top)
        whole = empty + touched.sum(shares[:, None])[:, 0]
        weights = shares / whole[touched.pixel]
        return blend_over(touched, weights, points.colours[own], depth[own], scene.background)


TECHNIQUE = Spheres()
