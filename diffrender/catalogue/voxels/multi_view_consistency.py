"""Multi-view consistency (Tulsiani et al. 2018): ray consistency with samples, so that poses learn.

Instead of the voxels that a ray crosses, the occupancy is read at fixed steps along it by
interpolation; the rest is as in ray_consistency.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.catalogue.voxels._consistency import consistency
from diffrender.catalogue.voxels._grid import as_grid, voxelize
from diffrender.catalogue.voxels._rays import composite, sample_box, stop_chances
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "MultiViewConsistency"]


@dataclass(frozen=True)
class MultiViewConsistency:
    """Chances of stopping at samples of a ray, differentiable to the camera.

    Attributes:
        resolution: voxels along the scene's longest side.
        samples: on each ray; about one a voxel, since each is an event of its own.
    """

    resolution: int = 72
    samples: int = 96

    card: ClassVar[Card] = Card(
        name="multi-view-consistency",
        title="Multi-view consistency (MVC)",
        authors="Tulsiani, S. and Efros, A. A. and Malik, J.",
        year=2018,
        paper="Multi-view Consistency as Supervisory Signal for Learning Shape and Pose Prediction",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        arxiv="1801.03910",
        sections="the paper's section on the geometric consistency loss; survey 2.2",
        equations=(
            "x_i = 1 - V(C + z_i r), V trilinear, z_i evenly spaced",
            "p_i = (1 - x_i) Π_{j<i} x_j",
            "L = Σ_views mean_rays Σ_i p_i ψ_i",
        ),
        family="voxels",
        idea=(
            "Sample the occupancy along each ray by interpolation and let every sample be a place "
            "where the ray may stop, as in ray consistency.",
            "The samples move with the camera, so the expected cost of an observation has a "
            "gradient to the pose beside that to the grid.",
            "Summed over views of one shape, it asks shape and poses to agree with every mask or "
            "depth map.",
        ),
        claims=(
            Claim("density", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(P S + V) for P pixels, S samples and V voxels",
        time="O(P S)",
        limits="A sample is an event whatever its length, so surfaces look harder with more "
        "samples. Poses found from masks alone have symmetric twins.",
        use_when="Shape and pose together from several masks or depth maps.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as occupancy and baked radiance; not differentiable to their vertices."""
        return voxelize(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Expected colour and depth; the silhouette is the chance of not escaping."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        met = sample_box(as_grid(scene), camera, self.samples)
        weights = stop_chances(met.occupancy)[:, :-1]
        return composite(weights, met, scene.background, camera.size)

    def loss(self, scene: Scene, views: Sequence[tuple[Camera, Rendering]]) -> Tensor:
        """The expected cost, summed over views: scalar.

        Args:
            scene: prepared.
            views: each a camera, and the silhouette and depth (0 where unknown) observed there.

        Raises:
            InputError: there is no view, or an observation is not as large as its camera.
        """
        if not views:
            raise InputError("no views were given, expected at least one (camera, observation)")
        grid = as_grid(scene)
        costs = [consistency(sample_box(grid, at, self.samples), seen) for at, seen in views]
        return torch.stack(costs).sum()


TECHNIQUE = MultiViewConsistency()
