"""Emission-absorption volume: a glowing fog, the model of volume rendering before and in NeRF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.catalogue.voxels._grid import as_grid, voxelize
from diffrender.catalogue.voxels._rays import composite, sample_box, stop_chances

__all__ = ["TECHNIQUE", "EmissionAbsorption"]


@dataclass(frozen=True)
class EmissionAbsorption:
    """Matter that absorbs what is behind it and emits its own colour.

    Attributes:
        resolution: voxels along the scene's longest side.
        extinction: of a full voxel, 1/m.
        samples: on each ray.
    """

    resolution: int = 72
    extinction: float = 30.0
    samples: int = 96

    card: ClassVar[Card] = Card(
        name="emission-absorption",
        title="Emission-absorption volume",
        authors="Henzler, P. and Mitra, N. J. and Ritschel, T.",
        year=2019,
        paper="Escaping Plato's Cave: 3D Shape From Adversarial Rendering",
        venue="IEEE/CVF International Conference on Computer Vision",
        arxiv="1811.11606",
        sections="the paper's emission-absorption image model; the survey, 2.2; the model itself "
        "is older",
        equations=(
            "α_i = 1 - exp(-σ_i δ_i)",
            "T_i = Π_{j<i} (1 - α_j)",
            "I = Σ_i T_i α_i c_i + Π_i (1 - α_i) background",
        ),
        family="voxels",
        idea=(
            "Each voxel holds an extinction and a colour, and a ray through the grid is cut into "
            "short steps.",
            "A step absorbs a share of the light from behind it and adds its own, so that the "
            "picture is a sum over the ray weighted by what is still visible.",
            "All of it is smooth, so plain differentiation gives the gradient to every voxel that "
            "a ray passes and to the camera.",
        ),
        claims=(
            Claim("density", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(P S + V) for P pixels, S samples and V voxels",
        time="O(P S)",
        limits="The cube of the resolution in memory; surfaces are as soft as a voxel; what lies "
        "behind an opaque voxel has next to no gradient.",
        use_when="Shapes of unknown topology with colours, from images with known cameras.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as occupancy and baked radiance; not differentiable to their vertices."""
        return voxelize(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Blended from front to back; the silhouette is what the grid absorbs."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        met = sample_box(as_grid(scene), camera, self.samples)
        alpha = 1 - torch.exp(-self.extinction * met.occupancy * met.step)
        weights = stop_chances(alpha)[:, :-1]
        return composite(weights, met, scene.background, camera.size)


TECHNIQUE = EmissionAbsorption()
