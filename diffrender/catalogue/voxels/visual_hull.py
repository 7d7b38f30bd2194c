"""Visual hull (PlatonicGAN): a smooth silhouette from the sum of matter on a ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.catalogue.voxels._grid import as_grid, voxelize
from diffrender.catalogue.voxels._rays import composite, sample_box, shared_out

__all__ = ["TECHNIQUE", "VisualHull"]


@dataclass(frozen=True)
class VisualHull:
    """Is there anything on the ray? A soft answer, by a sum instead of a maximum.

    Attributes:
        resolution: voxels along the scene's longest side.
        sharpness: weight of one full sample in the sum.
        samples: on each ray.
    """

    resolution: int = 72
    sharpness: float = 1.0
    samples: int = 96

    card: ClassVar[Card] = Card(
        name="visual-hull",
        title="Visual hull (PlatonicGAN)",
        authors="Henzler, P. and Mitra, N. J. and Ritschel, T.",
        year=2019,
        paper="Escaping Plato's Cave: 3D Shape From Adversarial Rendering",
        venue="IEEE/CVF International Conference on Computer Vision",
        arxiv="1811.11606",
        sections="the paper's visual-hull image model; survey 2.2",
        equations=(
            "S = 1 - exp(-s Σ_i v_i)",
            "colour and depth: means with the weights v_i exp(-s Σ_{j≤i} v_j)",
        ),
        family="voxels",
        idea=(
            "A silhouette asks whether a ray meets anything at all, which is a maximum over the "
            "occupancy along it.",
            "The sum, squashed into [0, 1], is a smooth stand-in for that maximum.",
            "Unlike the maximum it has a gradient to every voxel on the ray, which fades as the "
            "ray fills up.",
        ),
        claims=(
            Claim("density", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(P S + V) for P pixels, S samples and V voxels",
        time="O(P S)",
        limits="A silhouette only: the paper has no colours here, and what is drawn as colour and "
        "depth is this file's addition, weighted towards the front. The sum counts samples and "
        "not lengths, so it depends on their number.",
        use_when="Shape from masks alone.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as occupancy and baked radiance; not differentiable to their vertices."""
        return voxelize(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The squashed sum, tinted by the colour of what the ray meets first."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        met = sample_box(as_grid(scene), camera, self.samples)
        gathered = self.sharpness * met.occupancy.cumsum(1)
        silhouette = 1 - torch.exp(-gathered[:, -1:])
        weights = shared_out(silhouette, met.occupancy * torch.exp(-gathered))
        return composite(weights, met, scene.background, camera.size)


TECHNIQUE = VisualHull()
