"""Soft discs (SynSin, Wiles et al. 2020): the K nearest points on a pixel, fading to their rims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._fragments import blend_over, list_fragments
from diffrender.catalogue.points._surface_points import as_points, sample_surface
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "SoftDiscs"]

_NEAR = 0.05  # metres


@dataclass(frozen=True)
class SoftDiscs:
    """Points are discs of one size on the screen, blended over each other.

    Attributes:
        spacing: of the points made from triangles, metres.
        radius: of a disc, in halves of the image's shorter side.
        layers: K, discs that a pixel blends.
    """

    spacing: float = 0.2
    radius: float = 0.1
    layers: int = 64

    card: ClassVar[Card] = Card(
        name="soft-discs",
        title="SynSin: soft discs",
        authors="Wiles, O. and Gkioxari, G. and Szeliski, R. and Johnson, J.",
        year=2020,
        paper="SynSin: End-to-end View Synthesis from a Single Image",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        arxiv="1912.08804",
        sections="the paper's differentiable renderer of point clouds, without its networks; "
        "survey 2.3",
        equations=(
            "α_i = 1 - d_i² / r², d_i the distance on the screen",
            "I = Σ_{i ≤ K} α_i c_i Π_{j<i} (1 - α_j), nearest first",
        ),
        family="points",
        idea=(
            "A point is drawn as a disc of some pixels, opaque in its middle and clear at its rim.",
            "Each pixel keeps the K nearest discs and blends them over one another.",
            "A point thus has a gradient to all pixels of its disc, and hidden points keep a "
            "little of it.",
        ),
        claims=(
            Claim("vertices", "interior", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "interior", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(N + P K) for N points, P pixels and K layers, and the list of all discs' pixels "
        "while the layers are chosen",
        time="O(N log N + M log M) for M pixels under discs",
        limits="Discs keep their size with distance: near surfaces get holes, far ones grow. The "
        "picture jumps where the order or the set of the K nearest changes, which matters at edges "
        "between colours, so positions and pose are claimed inside surfaces only.",
        use_when="Point clouds from depth maps, with a network that mends the picture.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as points with baked radiance; differentiable to the triangles."""
        return sample_surface(scene, self.spacing)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The K nearest discs at each pixel, blended from front to back."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        points = as_points(scene)
        pixels, depth = camera.project(points.centres)
        radius = self.radius * min(camera.size) / 2
        extent = torch.full_like(pixels, radius)
        boxes = list_fragments(pixels, extent, depth, camera.size, _NEAR)
        away = (boxes.places(pixels) - pixels[boxes.primitive]).square().sum(-1)
        discs = boxes.kept(away < radius**2)
        touched = discs.kept(discs.layer() < self.layers)

        own = touched.primitive
        square = (touched.places(pixels) - pixels[own]).square().sum(-1)
        alpha = (points.opacities[own] * (1 - square / radius**2)).clamp(min=0, max=1 - 1e-6)
        weights = alpha * touched.visible(alpha)
        return blend_over(touched, weights, points.colours[own], depth[own], scene.background)


TECHNIQUE = SoftDiscs()
