"""Soft Rasterizer (Liu et al. 2019): every face covers every pixel near it, a little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._face_pixels import blend, face_pixels, sum_over_faces
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view
from diffrender.meshes import Mesh
from diffrender.raster import SoftShading, soft_shade, soft_silhouette

__all__ = ["TECHNIQUE", "SoftRasterizer"]

_UNSEEN = -1e3  # a background this far behind everything has no weight beside any face


@dataclass(frozen=True)
class SoftRasterizer:
    """Coverage by a sigmoid of the distance to the outline, colours by a softmax in depth.

    `render` uses the library's engine; `render_by_definition` is the same in a page of torch.

    Attributes:
        sigma: softness across outlines, in squared units of half the image's shorter side.
        gamma: softness in depth, as a share of far - near.
        near, far: metres; depths between them are scaled to nearness 1 ... 0.
    """

    sigma: float = 1e-4
    gamma: float = 1e-3
    near: float = 1.0
    far: float = 100.0

    card: ClassVar[Card] = Card(
        name="soft-rasterizer",
        title="Soft Rasterizer",
        authors="Liu, S. and Li, T. and Chen, W. and Li, H.",
        year=2019,
        paper="Soft Rasterizer: A Differentiable Renderer for Image-based 3D Reasoning",
        venue="IEEE/CVF International Conference on Computer Vision (ICCV)",
        arxiv="1904.01786",
        sections="paper section 3, coverage and aggregation, with the background by coverage "
        "instead of in the softmax; survey section 2.1.3",
        equations=(
            "D_j = sigmoid(±d²(p, j) / σ), + inside face j, d the distance to its outline",
            "A = 1 - Π_j (1 - D_j)",
            "C = A Σ_j w_j C_j + (1 - A) C_b,  w_j = D_j e^(n_j / γ) / Σ_k D_k e^(n_k / γ)",
            "n_j = (far - z_j) / (far - near)",
        ),
        family="mesh, approximate rendering",
        idea=(
            "A face covers a pixel with a probability that falls smoothly across its outline.",
            "The silhouette is the probability that any face covers, and the colour a mean over "
            "faces weighted by coverage and nearness instead of the nearest face's.",
            "So pixels outside a face, and faces behind others, have a gradient too.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(P + N): pixels P, faces N; the pairs of both are never stored",
        time="O(N r²) for faces that reach r pixels",
        limits="Blurs outlines and lets hidden faces shine through, more with larger σ and γ; a "
        "seam between two faces stays a quarter transparent. Faces beyond the blur radius are "
        "dropped, and where a much nearer one enters it the colours jump.",
        use_when="Silhouettes of one object from a poor start: a large σ pulls from far away. Take "
        "pixel-pair antialiasing for sharp pictures near the answer.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Soft colours over the background with the soft silhouette as their opacity.

        The paper gives the background a place in the softmax, with the weight e^(ε / γ). At usual
        γ nothing of it is left beside any face, and outlines of colours end with a jump at the
        blur radius. Here the silhouette, the picture's alpha channel there, fades them out.
        """
        check_view(scene, camera)
        mesh = as_triangles(scene)
        surface = Mesh(mesh.vertices, mesh.faces)
        depth = camera.project(mesh.vertices)[1]
        settings = SoftShading(
            self.sigma, self.gamma, near=self.near, far=self.far, epsilon=_UNSEEN
        )
        values = torch.cat([scene.radiance(), depth[:, None]], dim=1)
        maps = soft_shade(values, surface, camera, settings=settings)
        alpha = soft_silhouette(surface, camera, sigma=self.sigma)
        return _over(maps, alpha, scene.background)

    def render_by_definition(self, scene: Scene, camera: Camera) -> Rendering:
        """The same picture, equation by equation."""
        mesh = as_triangles(scene)
        unit = min(camera.size) / 2  # pixels in half the shorter side
        # Beyond this radius coverage is less than 1e-4.
        reach = unit * math.sqrt(self.sigma * math.log(1e4 - 1))
        pairs = face_pixels(mesh, camera, reach)
        distance = pairs.signed_squared() / (unit**2 * self.sigma)  # (N,)
        alpha = 1 - sum_over_faces(torch.nn.functional.logsigmoid(-distance), pairs).exp()

        nearness = (self.far - pairs.depth) / (self.far - self.near)
        log_weight = torch.nn.functional.logsigmoid(distance) + nearness / self.gamma
        colours = pairs.interpolate(scene.radiance(), mesh.faces)
        maps = blend(log_weight, torch.cat([colours, pairs.depth[:, None]], dim=1), pairs)
        return _over(maps.view(*camera.size, 4), alpha.view(camera.size), scene.background)


def _over(maps: Tensor, alpha: Tensor, background: Tensor) -> Rendering:  # (H, W, 4), (H, W)
    opacity = alpha[..., None]
    return Rendering(opacity * maps[..., :3] + (1 - opacity) * background, alpha, maps[..., 3])


TECHNIQUE = SoftRasterizer()
