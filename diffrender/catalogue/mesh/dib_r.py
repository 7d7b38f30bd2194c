"""DIB-R (Chen et al. 2019): hard and exact where a face is seen, a soft halo where none is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._face_pixels import face_pixels, sum_over_faces
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view
from diffrender.raster import interpolate, rasterize, sample_texture

__all__ = ["TECHNIQUE", "DIBR"]


@dataclass(frozen=True)
class DIBR:
    """Exact interpolation of the nearest face, and a mask that fades outside all faces.

    Attributes:
        sharpness: of the fading, per squared half of the image's shorter side.
        margin: halves of the shorter side from its outline beyond which a face fades no more.
    """

    sharpness: float = 7000.0
    margin: float = 0.04

    card: ClassVar[Card] = Card(
        name="dib-r",
        title="DIB-R, the interpolation-based differentiable renderer",
        authors="Chen, W. and Ling, H. and Gao, J. and Smith, E. and Lehtinen, J. "
        "and Jacobson, A. and Fidler, S.",
        year=2019,
        paper="Learning to Predict 3D Objects with an Interpolation-based Differentiable Renderer",
        venue="Advances in Neural Information Processing Systems 32 (NeurIPS)",
        arxiv="1908.01210",
        sections="paper section 3, foreground and background pixels; survey section 2.1.3",
        equations=(
            "foreground: I = Σ_i w_i u_i over the corners of the nearest face, A = 1",
            "background: A_j = exp(-δ d²(p, j)), A = 1 - Π_j (1 - A_j)",
        ),
        family="mesh, approximate rendering",
        idea=(
            "Where a face is seen, its attributes are interpolated, which has an exact derivative "
            "by the barycentrics.",
            "Where none is, each face near by covers the pixel by a weight that falls with the "
            "squared distance, and the silhouette unites these.",
            "So colours stay sharp and unblended, and silhouettes pull from outside.",
        ),
        claims=(
            Claim("vertices", "interior", "exact"),
            Claim("attributes", "interior", "exact"),
            Claim("texture", "interior", "exact"),
            Claim("pose", "interior", "exact"),
            Claim("intrinsics", "interior", "exact"),
            Claim("light", "interior", "exact"),
        ),
        memory="O(P + N r²): pixels P, and pairs of N faces with the pixels within r of them",
        time="O(P + N r²)",
        limits="The image has no gradient at any outline: only the silhouette has, outside the "
        "shape, so that it is biased towards growing. One object before another has none at all, "
        "since all its pixels are foreground.",
        use_when="Single objects before a background, textured, with masks to learn from.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Hard colours and depth; the silhouette has the halo, the image has not."""
        check_view(scene, camera)
        mesh = as_triangles(scene)
        fragments = rasterize((mesh.vertices, mesh.faces), camera)
        drawn = [scene.vertex_radiance()] if mesh.uv is None else [scene.vertex_radiance(), mesh.uv]
        maps = interpolate(torch.cat(drawn, dim=1), fragments)
        colour = maps[..., :3]
        if mesh.texture is not None:
            colour = colour * sample_texture(mesh.texture, maps[..., 3:5])
        seen = fragments.face >= 0  # (H, W, 1)
        image = torch.where(seen, colour, scene.background)

        unit = min(camera.size) / 2  # pixels
        pairs = face_pixels(mesh, camera, self.margin * unit)
        falling = self.sharpness / unit**2 * pairs.squared
        # log(1 - exp(-x)); pairs inside a face belong to seen pixels, whose product is not used.
        uncovered = torch.log(-torch.expm1(-falling.clamp(min=1e-6)))
        halo = 1 - sum_over_faces(uncovered, pairs).exp().view(camera.size)
        silhouette = torch.where(seen[..., 0], 1.0, halo)
        return Rendering(image, silhouette, fragments.depth[..., 0])


TECHNIQUE = DIBR()
