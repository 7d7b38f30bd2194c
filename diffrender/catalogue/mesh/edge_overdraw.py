"""Discontinuity edge overdraw (de La Gorce et al. 2011, DEODR): outlines drawn as soft strips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._outlines import (
    Outlines,
    facing_camera,
    find_outlines,
    pixels_beside,
)
from diffrender.catalogue.mesh._view import View, rendering_of
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.raster import sample_texture
from diffrender.raster.fragments import NEAR

__all__ = ["TECHNIQUE", "EdgeOverdraw"]

_SHORTEST = 1e-6  # pixels: an edge below it has no side


@dataclass(frozen=True)
class EdgeOverdraw:
    """A strip outside every outline fades from the surface to what lies behind.

    Attributes:
        width: of the strips, pixels.
    """

    width: float = 1.0  # pixels

    card: ClassVar[Card] = Card(
        name="edge-overdraw",
        title="Discontinuity edge overdraw (DEODR)",
        authors="de La Gorce, M. and Fleet, D. J. and Paragios, N.",
        year=2011,
        paper="Model-Based 3D Hand Pose Estimation from Monocular Video",
        venue="IEEE Transactions on Pattern Analysis and Machine Intelligence 33(9)",
        arxiv="",
        sections="the paper's part on antialiased occlusion edges; the survey's section on "
        "analytical derivatives",
        equations=(
            "T(p) = d(p) / width, d ∈ [0, width) the distance outside the edge",
            "I(p) ← T(p) I(p) + (1 - T(p)) A(s(p)), A the colour at the edge, far to near",
        ),
        family="mesh, analytic",
        idea=(
            "Draw the hard picture, then draw over it, from far to near, a strip along the "
            "outside of each outline that passes the depth test.",
            "Within the strip the surface's colour at the edge fades linearly into what was drawn "
            "before, so that the picture is continuous in the vertices.",
            "It is a sequence of blends, and differentiating it backwards through them is exact: "
            "the residual's jump at the occluding edge becomes a force on it.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("texture", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(P + E) for P pixels and E of them beside outlines",
        time="O(P + N + E) for N faces",
        limits="Outlines grow by half a strip. Strips of two edges leave a gap at a convex corner "
        "and overlap at a concave one. Edges that cross the camera's plane are not overdrawn.",
        use_when="When an exact derivative of one well-defined picture is wanted, without noise, "
        "for an optimizer that uses values and gradients together.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The hard picture under its edge strips, differentiable to everything."""
        check_view(scene, camera)
        view = View.of(scene, camera)
        face, points = view.faces_at_centres(), view.centres()
        flat = view.look(face.view(-1), points.view(-1, 2))  # (P, 5)
        behind = torch.where(face.view(-1) >= 0, flat[:, 4].detach(), torch.inf)
        front = facing_camera(view.homogeneous.detach(), view.mesh.faces)
        outlines = find_outlines(view.mesh.vertices, view.mesh.faces, front)
        pixel, keep, drawn = self._strips(view, outlines, behind)
        # A pixel's strips are blended one after the other: in each round the farthest that is left.
        order = torch.argsort(drawn[:, 4].detach(), descending=True)
        order = order[torch.argsort(pixel[order], stable=True)]
        ordered = pixel[order]
        first = torch.searchsorted(ordered, ordered)
        rank = torch.arange(len(ordered)) - first
        for layer in range(int(rank.max()) + 1 if len(rank) else 0):
            chosen = order[rank == layer]
            at = pixel[chosen]
            flat = flat.index_copy(0, at, torch.lerp(drawn[chosen], flat[at], keep[chosen]))
        return rendering_of(flat.view(*face.shape, 5))

    def _strips(
        self, view: View, outlines: Outlines, behind: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels in strips: which (P,), what shines through (P, 1), and the edge there (P, 5)."""
        ends = torch.stack([outlines.start, outlines.end], dim=1)
        third = outlines.opposite
        z = view.homogeneous[:, 2].detach()
        before = ((z[ends] > NEAR).all(1) & (z[third] > NEAR)).nonzero().squeeze(1)
        ends, third = ends[before], third[before]
        with torch.no_grad():  # a direction has no derivative where it has no length
            along = view.pixels[ends[:, 1]] - view.pixels[ends[:, 0]]
            long = (torch.linalg.vector_norm(along, dim=1) > _SHORTEST).nonzero().squeeze(1)
        ends, third = ends[long], third[long]
        a, b, c = view.pixels[ends[:, 0]], view.pixels[ends[:, 1]], view.pixels[third].detach()
        edge, pixel = pixels_beside(a, b, self.width, view.camera.size)
        p = view.centres().view(-1, 2)[pixel]
        along = b - a
        length = torch.linalg.vector_norm(along, dim=1)
        outward = torch.stack([along[:, 1], -along[:, 0]], dim=1) / length[:, None]
        outward = torch.where(((c - a) * outward).sum(1, keepdim=True) > 0, -outward, outward)
        distance = ((p - a[edge]) * outward[edge]).sum(1)
        s = ((p - a[edge]) * along[edge]).sum(1) / length[edge].square()  # in the image
        with torch.no_grad():
            za, zb = view.homogeneous[ends[edge], 2].unbind(1)
            depth = 1 / ((1 - s) / za + s / zb)
            seen = (distance > 0) & (distance < self.width) & (s >= 0) & (s <= 1)
            seen &= depth < behind[pixel]
            chosen = seen.nonzero().squeeze(1)
        edge, pixel, s, distance = edge[chosen], pixel[chosen], s[chosen], distance[chosen]
        drawn = _edge_colours(view, ends[edge], s)
        return pixel, (distance / self.width)[:, None], drawn


def _edge_colours(view: View, ends: Tensor, s: Tensor) -> Tensor:  # (P, 2), (P,)
    """(P, 5) colour, coverage and depth on edges at the places s of the image."""
    z = view.homogeneous[ends, 2]
    weight = torch.stack([1 - s, s], dim=1) / z
    depth = 1 / weight.sum(1, keepdim=True)
    weight = (weight * depth)[..., None]  # perspective-correct
    mesh = view.mesh
    colour = (weight * view.radiance[ends]).sum(1)
    if mesh.uv is not None and mesh.texture is not None:
        uv = (weight * mesh.uv[ends]).sum(1)
        colour = colour * sample_texture(mesh.texture, uv, backend="torch")
    return torch.cat([colour, torch.ones_like(depth), depth], dim=1)


TECHNIQUE = EdgeOverdraw()
