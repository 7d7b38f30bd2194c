"""The outline and depth of posed meshes against what was seen, from the vertices alone."""

from __future__ import annotations

from torch import Tensor

from diffrender.cameras import Camera
from diffrender.losses.algebra import Loss
from diffrender.losses.records import Evidence, Rendering
from diffrender.meshes import MeshBatch
from diffrender.raster import antialias, rasterize

__all__ = ["drawn_loss"]


def drawn_loss(
    vertices: Tensor,  # (B, V, 3)
    faces: Tensor,  # (F, 3)
    windows: Camera,  # batch (B,)
    evidence: Evidence,
    loss: Loss,
) -> Tensor:
    """(B,) a loss of terms that look at coverage and depth only; differentiable in the vertices.

    Args:
        vertices: (B, V, 3) metres, world.
        faces: (F, 3) of all B.
        windows: cameras of the B windows.
    """
    batch = MeshBatch.shared(vertices, faces)
    fragments = rasterize(batch, windows)
    coverage = antialias(fragments.mask()[..., None], fragments, batch, windows)[..., 0]
    nothing = vertices.new_zeros(len(vertices), 4)
    drawn = Rendering(
        coverage=coverage, depth=fragments.depth[..., 0], box=nothing,
        location=nothing[:, :3], size=nothing[:, :3], latent=nothing,
    )  # fmt: skip
    return loss(drawn, evidence).total
