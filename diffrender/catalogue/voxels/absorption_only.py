"""Absorption only (PlatonicGAN): an X-ray picture of a voxel grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.catalogue.voxels._grid import as_grid, voxelize
from diffrender.catalogue.voxels._rays import composite, sample_box, shared_out

__all__ = ["TECHNIQUE", "AbsorptionOnly"]


@dataclass(frozen=True)
class AbsorptionOnly:
    """Matter that dims what is behind it; the order along the ray does not matter.

    Attributes:
        resolution: voxels along the scene's longest side.
        extinction: of a full voxel, 1/m.
        samples: on each ray.
    """

    resolution: int = 72
    extinction: float = 3.0
    samples: int = 96

    card: ClassVar[Card] = Card(
        name="absorption-only",
        title="Absorption only (PlatonicGAN)",
        authors="Henzler, P. and Mitra, N. J. and Ritschel, T.",
        year=2019,
        paper="Escaping Plato's Cave: 3D Shape From Adversarial Rendering",
        venue="IEEE/CVF International Conference on Computer Vision",
        arxiv="1811.11606",
        sections="the paper's absorption-only image model; survey 2.2",
        equations=(
            "A = 1 - Π_i (1 - α_i), α_i = 1 - exp(-σ_i δ_i)",
            "mean over the ray: ⟨c⟩ = Σ_i α_i c_i / Σ_i α_i",
            "I = A ⟨c⟩ + (1 - A) background",
        ),
        family="voxels",
        idea=(
            "A ray is dimmed by all the matter that it passes, as in an X-ray picture.",
            "The product does not depend on the order of the voxels, so nothing hides anything: "
            "every voxel on the ray is seen.",
            "Each of them has a gradient of the same kind, however deep it lies.",
        ),
        claims=(
            Claim("density", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(P S + V) for P pixels, S samples and V voxels",
        time="O(P S)",
        limits="No surface and no occlusion. The paper's images are grey; the colour drawn here is "
        "the mean over the matter on the ray, and depth likewise, which is this file's addition.",
        use_when="X-ray pictures and other translucent matter, or a first stage that must reach "
        "what is hidden.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as occupancy and baked radiance; not differentiable to their vertices."""
        return voxelize(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """What the grid absorbs, tinted by the mean colour of what absorbs it."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        met = sample_box(as_grid(scene), camera, self.samples)
        passed = self.extinction * met.occupancy * met.step
        absorbed = 1 - torch.exp(-passed.sum(1, keepdim=True))
        weights = shared_out(absorbed, 1 - torch.exp(-passed))
        return composite(weights, met, scene.background, camera.size)


TECHNIQUE = AbsorptionOnly()
