"""Cars drawn from the priors before one camera: exact depth, and who is seen where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import rasterize

CAMERA = Camera.from_intrinsics(
    torch.tensor([[420.0, 0, 200], [0, 420, 90], [0, 0, 1]]), (180, 400), pixel_centres="half"
)


def seen_from(camera: Camera, meshes: Sequence[Mesh]) -> tuple[np.ndarray, list[np.ndarray]]:
    """(H, W) float32 depth, 0 where nothing is, and the visible (H, W) bool mask of each mesh."""
    depths = np.stack([rasterize(mesh, camera).depth[..., 0].numpy() for mesh in meshes])
    depths = np.where(depths > 0, depths, np.inf)
    nearest, owner = depths.min(0), depths.argmin(0)
    there = np.isfinite(nearest)
    masks = [there & (owner == index) for index in range(len(meshes))]
    return np.where(there, nearest, 0).astype(np.float32), masks
