"""Antialiasing of pixel pairs (Laine et al. 2020): the outline's place between two pixel centres.

The library's own fast path, `rasterize`, `interpolate` and `antialias`, as an entry of the
catalogue; those functions say more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view
from diffrender.raster import antialias, interpolate, rasterize, sample_texture

__all__ = ["TECHNIQUE", "PixelPairAntialiasing"]


@dataclass(frozen=True)
class PixelPairAntialiasing:
    """Hard visibility; pixels on both sides of an outline are mixed by where it passes."""

    card: ClassVar[Card] = Card(
        name="pixel-pair-antialiasing",
        title="Antialiasing of pixel pairs (nvdiffrast)",
        authors="Laine, S. and Hellsten, J. and Karras, T. and Seol, Y. and Lehtinen, J. "
        "and Aila, T.",
        year=2020,
        paper="Modular Primitives for High-Performance Differentiable Rendering",
        venue="ACM Transactions on Graphics 39(6)",
        arxiv="2011.03277",
        sections="paper section 3.4; after the survey",
        equations=(
            "α = ±(1/2 - d), d ∈ [0, 1] where the outline crosses the segment of two centres",
            "I(p) ← I(p) + α (I(q) - I(p))",
        ),
        family="mesh, approximate gradient",
        idea=(
            "Rasterize with one hard sample a pixel and interpolate attributes exactly.",
            "Where two neighbouring pixels show different faces and the nearer one's outline "
            "passes between their centres, mix the two colours by the place of the crossing.",
            "That place moves with the vertices, so the mixed picture has a gradient where the "
            "hard one has none.",
        ),
        claims=(
            Claim("vertices", "both", "exact"),
            Claim("attributes", "both", "exact"),
            Claim("texture", "both", "exact"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "both", "exact"),
        ),
        memory="O(P): a face and its barycentrics at each of P pixels",
        time="O(P + N) for N faces",
        limits="Sees an outline only between two pixel centres: thin or tiny faces that no centre "
        "hits have no gradient; nothing pulls a shape from more than a pixel away. Where pieces "
        "touch at one depth, such as tiles of a floor, neither hides the other and part of their "
        "common outline is missed: that is why pose and intrinsics are not claimed as exact.",
        use_when="The usual choice for meshes: fast, sharp, and its gradient is that of the "
        "picture at hand. Start it near the answer, or coarse to fine.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Radiance, coverage and depth of the nearest faces, antialiased."""
        check_view(scene, camera)
        mesh = as_triangles(scene)
        pair = mesh.vertices, mesh.faces
        fragments = rasterize(pair, camera)
        drawn = [scene.vertex_radiance(), torch.ones_like(mesh.vertices[:, :1])]
        if mesh.uv is not None:
            drawn.append(mesh.uv)
        maps = interpolate(torch.cat(drawn, dim=1), fragments)  # (H, W, C)
        colour, covered = maps[..., :3], maps[..., 3:4]
        if mesh.texture is not None:
            colour = colour * covered * sample_texture(mesh.texture, maps[..., 4:6])
        colour = colour + (1 - covered) * scene.background
        depth = fragments.depth[..., :1]
        smooth = antialias(torch.cat([colour, covered, depth], dim=-1), fragments, pair, camera)
        return Rendering(smooth[..., :3], smooth[..., 3], smooth[..., 4])


TECHNIQUE = PixelPairAntialiasing()
