"""The two maps that fitting an object needs most, in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.raster._packed import Meshes
from diffrender.raster.antialias import antialias
from diffrender.raster.rasterize import rasterize

__all__ = ["render_silhouette_depth"]


def render_silhouette_depth(
    meshes: Meshes, camera: Camera, *, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Antialiased coverage, and depth of what is covered.

    Shapes: as `rasterize`, alpha (..., H, W) in [0, 1] and depth (..., H, W) in metres, 0 where
    alpha is 0. At a pixel that is partly covered, depth is that of the covered part (blended
    depth over alpha), so the background does not pull it towards 0.

    Gradients: vertices, pose and intrinsics, inside and at silhouettes.

    Raises:
        InputError: as `rasterize`.
    """
    fragments = rasterize(meshes, camera, backend=backend)
    image = torch.cat([fragments.mask().unsqueeze(-1), fragments.depth], dim=-1)
    alpha, blended = antialias(image, fragments, meshes, camera, backend=backend).unbind(-1)
    covered = alpha > 0
    return alpha, torch.where(covered, blended / torch.where(covered, alpha, 1.0), 0.0)
