"""Derivative filters (OpenDR, Loper and Black 2014): the picture's slope moves with its faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._view import View, rendering_of
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "DerivativeFilters"]


@dataclass(frozen=True)
class DerivativeFilters:
    """Differences between neighbouring pixels stand for the picture's slope.

    Attributes:
        fold: two neighbours are of one surface if either one's face, continued to the other pixel,
            meets it within this share of its depth.
    """

    fold: float = 0.02

    card: ClassVar[Card] = Card(
        name="derivative-filters",
        title="Derivative filters (OpenDR)",
        authors="Loper, M. M. and Black, M. J.",
        year=2014,
        paper="OpenDR: An Approximate Differentiable Renderer",
        venue="European Conference on Computer Vision (ECCV)",
        arxiv="",
        sections="the paper's part on the derivative with respect to image coordinates; the "
        "survey's section on approximated gradients. The weights at boundary pixels are worked "
        "out here",
        equations=(
            "∂I/∂v_k = -(∇_xy I) b_k, b_k the barycentric weight of vertex k at the pixel",
            "interior: ∂I/∂x ≈ (I(p + 1) - I(p - 1)) / 2, one-sided beside another surface",
            "boundary p | p + 1: ∂I(p) = ∂I(p + 1) = -(I(p + 1) - I(p)) / 2 · ∂x_occluder",
        ),
        family="mesh, approximate gradient",
        idea=(
            "If a surface moves by u in the image, its colours move along: I(x) becomes I(x - u), "
            "so that the change is -∇I · u.",
            "Take ∇I from differences of neighbouring pixels and u from the barycentrics of the "
            "face seen there.",
            "Differences across an outline belong to the nearer surface, and both pixels beside "
            "it are moved by that one.",
        ),
        claims=(
            Claim("vertices", "both", "biased"),
            Claim("attributes", "interior", "exact"),
            Claim("texture", "interior", "exact"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "interior", "exact"),
        ),
        memory="O(P): a face and its barycentrics at each of P pixels",
        time="O(P + N) for N faces",
        limits="Sees an outline in the two pixels beside it, does not know where between their "
        "centres it lies, and takes the slope of an aliased picture for that of the scene.",
        use_when="As the plainest rule that works at outlines, with any rasterizer; near the "
        "answer, or coarse to fine.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The hard picture, one sample a pixel; derivatives by filters."""
        check_view(scene, camera)
        view = View.of(scene, camera)
        face, points = view.faces_at_centres(), view.centres()
        flat = face.view(-1), points.view(-1, 2)
        maps = view.look(*flat, frozen=True).view(*face.shape, 5)
        moved = view.motion(*flat).view(*face.shape, 2)
        out = maps
        for axis in (0, 1):  # along x, then along y
            along = 1 - axis
            same, nearer = self._neighbours(view, face, maps[..., 4].detach(), along)
            change = _slopes(maps.detach(), moved[..., axis], same, nearer, along)
            out = out - change
        return rendering_of(out)

    @torch.no_grad()
    def _neighbours(
        self, view: View, face: Tensor, depth: Tensor, along: int
    ) -> tuple[Tensor, Tensor]:
        """For pixels p and p + 1: whether they show one surface, and whether p's is the nearer."""
        n = face.shape[along] - 1
        points = view.centres()
        p, q = (slice(0, n), slice(1, n + 1))
        sides = [x.movedim(along, 0) for x in (face, depth, points)]
        (face_p, depth_p, point_p), (face_q, depth_q, point_q) = (
            [x[side].reshape(-1, *x.shape[2:]) for x in sides] for side in (p, q)
        )
        both = ((face_p >= 0) & (face_q >= 0)).nonzero().squeeze(1)
        same = (face_p < 0) & (face_q < 0)
        meets = torch.zeros_like(both, dtype=torch.bool)
        for one, point, other in ((face_p, point_q, depth_q), (face_q, point_p, depth_p)):
            reached = view.look(one[both], point[both])[:, 4]
            meets |= (reached - other[both]).abs() < self.fold * other[both]
        same[both] = meets
        nearer = (face_q < 0) | ((face_p >= 0) & (depth_p < depth_q))
        shape = sides[0][p].shape
        return same.view(shape).movedim(0, along), nearer.view(shape).movedim(0, along)


def _slopes(
    maps: Tensor,  # (H, W, C)
    moved: Tensor,  # (H, W)
    same: Tensor,  # (H, W - 1) or (H - 1, W)
    nearer: Tensor,  # likewise
    along: int,
) -> Tensor:
    """(H, W, C): slope times motion along one axis. Zero in value, linear in `moved`."""
    n = moved.shape[along] - 1
    p, q = moved.narrow(along, 0, n), moved.narrow(along, 1, n)
    difference = maps.narrow(along, 1, n) - maps.narrow(along, 0, n)

    def spread(pairs: Tensor) -> Tensor:
        """What each pixel gets of the pairs that it belongs to."""
        none = pairs.new_zeros([1 if d == along else n for d, n in enumerate(pairs.shape)])
        return torch.cat([pairs, none], dim=along) + torch.cat([none, pairs], dim=along)

    within = same[..., None].to(maps)
    slope = spread(within * difference) / spread(within).clamp(min=1)
    occluder = torch.where(nearer, p, q)[..., None]
    return slope * moved[..., None] + spread((1 - within) * difference * occluder / 2)


TECHNIQUE = DerivativeFilters()
