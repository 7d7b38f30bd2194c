"""Triangle splatting (Held et al. 2025): translucent triangles with a smooth window."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._face_pixels import FacePixels, face_pixels, sum_over_faces
from diffrender.catalogue.scene import Rendering, Scene, Triangles, as_triangles, check_view
from diffrender.errors import InputError, check_shape

__all__ = ["TECHNIQUE", "TriangleSplats", "TriangleSplatting", "composite"]

_MOST = 0.99  # an opacity is at most this, so that something of what lies behind is left
_SHARPEST = 0.5  # pixels over which a window rises at least, or narrow triangles would flicker


@dataclass(frozen=True)
class TriangleSplats:
    """A soup of translucent triangles.

    Attributes:
        corners: (N, 3, 3) world, metres.
        colours: (N, 3) linear RGB.
        opacity: (N,) in [0, 1], at the incentre.
    """

    corners: Tensor  # (N, 3, 3)
    colours: Tensor  # (N, 3)
    opacity: Tensor  # (N,)

    def __post_init__(self) -> None:
        count = len(self.corners)
        check_shape("TriangleSplats.corners", self.corners, None, 3, 3)
        check_shape("TriangleSplats.colours", self.colours, count, 3)
        check_shape("TriangleSplats.opacity", self.opacity, count)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices (corners), attributes (colours) and density (opacity)."""
        return {"vertices": self.corners, "attributes": self.colours, "density": self.opacity}

    def replaced(self, name: str, value: Tensor) -> TriangleSplats:
        """The same splats with one parameter exchanged."""
        fields = {"vertices": "corners", "attributes": "colours", "density": "opacity"}
        if name not in fields:
            raise InputError(f"no parameter {name!r} here, expected one of {', '.join(fields)}")
        return dataclasses.replace(self, **{fields[name]: value})


@dataclass(frozen=True)
class TriangleSplatting:
    """Projected triangles, opaque at the incentre and clear at the border, blended by depth.

    Attributes:
        smoothness: exponent of the window; towards 0 the triangle gets solid.
        growth: by which `prepare` enlarges the scene's faces about their centres, so that the
            clear borders of neighbours overlap.
        opacity: that `prepare` gives them.
    """

    smoothness: float = 1.0
    growth: float = 2.0
    opacity: float = 0.99

    card: ClassVar[Card] = Card(
        name="triangle-splatting",
        title="Triangle splatting",
        authors="Held, J. and Vandeghen, R. and Deliege, A. and Hamdi, A. and Giancola, S. "
        "and Cioppa, A. and Vedaldi, A. and Ghanem, B. and Tagliasacchi, A. "
        "and Van Droogenbroeck, M.",
        year=2025,
        paper="Triangle Splatting for Real-Time Radiance Field Rendering",
        venue="International Conference on 3D Vision (3DV) 2026",
        arxiv="2505.19175",
        sections="paper's method section, window function and compositing; after the survey",
        equations=(
            "φ(p) = max_i L_i(p), signed distances to the three sides, negative inside",
            "I(p) = ReLU(φ(p) / φ(incentre))^σ,  α = min(0.99, o I)",
            "C = Σ_n c_n α_n Π_{m < n} (1 - α_m) + C_b Π_n (1 - α_n), nearest first",
        ),
        family="points",
        idea=(
            "Like Gaussian splatting, draw many translucent primitives front to back, but make "
            "them triangles, which every graphics engine can draw.",
            "In the image a triangle's opacity is one at its incentre and falls to zero at its "
            "border, by a power of the distance to the nearest side.",
            "So coverage moves smoothly with the corners, and as the power goes to zero the soup "
            "becomes an ordinary mesh.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(A): pairs of a triangle and a pixel inside it, A in all",
        time="O(A log A), for the sorting",
        limits="The order of triangles is that of their centres and has no gradient; nothing is "
        "felt outside a triangle, and triangles between pixel centres are not drawn at all. Below "
        "a smoothness of 1 the window's slope at the border is infinite.",
        use_when="Scenes from photographs that shall end in a game engine; triangles whose "
        "topology is unknown.",
    )

    def __post_init__(self) -> None:
        for name in ("smoothness", "growth"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected a positive number")
        if not 0 < self.opacity <= 1:
            raise InputError(f"opacity is {self.opacity}, expected a number in (0, 1]")

    def prepare(self, scene: Scene) -> Scene:
        """A splat for each face, enlarged, with the mean radiance of its corners.

        Differentiable to vertices, colours and light of the triangles. A scene of splats is
        returned as it is.
        """
        if isinstance(scene.content, TriangleSplats):
            return scene
        mesh = as_triangles(scene)
        corners = mesh.vertices[mesh.faces]  # (F, 3, 3)
        centre = corners.mean(1, keepdim=True)
        splats = TriangleSplats(
            centre + self.growth * (corners - centre),
            scene.radiance()[mesh.faces].mean(1),
            corners.new_full((len(corners),), self.opacity),
        )
        return dataclasses.replace(scene, content=splats)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Splats blended front to back over the background; depth is the mean over them.

        The original leaves out opacities below 1/255 to save time. Here they are kept, because the
        picture jumps where a splat comes in; and triangles narrower than a pixel are fainter, so
        that no opacity changes over less than half a pixel.
        """
        check_view(scene, camera)
        splats = self.prepare(scene).content
        assert isinstance(splats, TriangleSplats)
        vertices = splats.corners.reshape(-1, 3)
        faces = torch.arange(len(vertices), device=vertices.device).view(-1, 3)
        mesh = Triangles(vertices, faces, torch.zeros_like(vertices))
        pairs = face_pixels(mesh, camera, reach=0.0)

        pixels, depth = camera.project(vertices)
        radius = _inradius(pixels.view(-1, 3, 2))  # the distance of the incentre to the sides
        share = pairs.signed_distance() / radius.clamp(min=_SHARPEST)[pairs.face]
        # The root of 0 has no slope that could be used.
        window = share.clamp(1e-6, 1) ** self.smoothness
        alpha = (splats.opacity[pairs.face] * window).clamp(max=_MOST)

        weight = composite(alpha, depth.view(-1, 3).mean(1), pairs)
        values = torch.cat(
            [splats.colours[pairs.face], pairs.depth[:, None], torch.ones_like(alpha)[:, None]], 1
        )
        maps = sum_over_faces(weight[:, None] * values, pairs).view(*camera.size, 5)
        opacity = maps[..., 4].clamp(0, 1)
        image = maps[..., :3] + (1 - opacity[..., None]) * scene.background
        return Rendering(image, opacity, maps[..., 3] / opacity.clamp(min=1e-6))


def composite(alpha: Tensor, depth: Tensor, pairs: FacePixels) -> Tensor:  # (N,), (F,)
    """α_n Π (1 - α_m) over the nearer splats m of the same pixel, for every pair. (N,).

    The order is that of the splats' depths, and is not differentiated.
    """
    rank = depth.detach().argsort().argsort()
    order = (pairs.pixel * len(depth) + rank[pairs.face]).argsort()
    # One running sum through all pixels, from which each pixel's start is taken off: in double
    # precision, as it grows long.
    passed = torch.log1p(-alpha[order].double())
    before = passed.cumsum(0) - passed
    pixel = pairs.pixel[order]
    first = torch.searchsorted(pixel, pixel)
    through = (before - before[first]).exp().to(alpha.dtype)
    return torch.zeros_like(alpha).index_put((order,), alpha[order] * through)


def _inradius(corners: Tensor) -> Tensor:  # (N, 3, 2)
    """Twice the area by the perimeter. (N,)."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).abs()
    sides = corners - corners.roll(1, 1)
    return area / sides.square().sum(-1).clamp(min=1e-12).sqrt().sum(-1)


TECHNIQUE = TriangleSplatting()
