"""Warped-area sampling (Bangaru et al. 2020): boundary terms from area samples alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._outlines import facing_camera, find_outlines, pixels_beside
from diffrender.catalogue.mesh._view import View, rendering_of
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.raster.fragments import NEAR

__all__ = ["TECHNIQUE", "WarpedArea"]


@dataclass(frozen=True)
class WarpedArea:
    """A smooth warp carries the samples along, equal to the outlines' motion at outlines.

    Attributes:
        per_axis: samples along each side of a pixel.
        radius: auxiliary samples of a sample are those at most so many samples away on each axis.
        spread: of the weights over auxiliary samples, pixels.
        boundary: distance to an outline at which the boundary test stops falling, pixels.
        power: of the harmonic weights.
    """

    per_axis: int = 4
    radius: int = 3
    spread: float = 0.4  # pixels
    boundary: float = 1.0  # pixels
    power: float = 3.0

    card: ClassVar[Card] = Card(
        name="warped-area",
        title="Unbiased warped-area sampling",
        authors="Bangaru, S. P. and Li, T.-M. and Durand, F.",
        year=2020,
        paper="Unbiased Warped-Area Sampling for Differentiable Rendering",
        venue="ACM Transactions on Graphics 39(6)",
        arxiv="",
        sections="the paper's parts on the divergence theorem and on the weights of the warp; "
        "after the survey. Power and test near outlines are this file's",
        equations=(
            "∂/∂Φ ∫ f dx = ∫ ∂f/∂Φ + ∇ · (f V) dx",
            "V(x) = Σ_i w_i ∂x_i/∂Φ / Σ_i w_i, x_i around x, each moving with what it sees",
            "w_i = 1 / (exp(|x - x_i|² / σ²) - 1 + B(x_i))^γ, B = 0 at outlines of what x_i sees",
        ),
        family="mesh, analytic",
        idea=(
            "By the divergence theorem the integral over moving outlines is one over the area, "
            "if a continuous velocity V is known that equals theirs on them.",
            "Around each sample take auxiliary samples, each with the image velocity of the "
            "surface that it sees, and average them with weights that grow without bound where "
            "an auxiliary sample lies at an outline of its own surface.",
            "Moving all samples by V and weighing them by 1 + ∇ · V then differentiates the "
            "pixel, and no outline has to be sampled.",
        ),
        claims=(
            Claim("vertices", "both", "exact"),
            Claim("attributes", "both", "exact"),
            Claim("texture", "both", "exact"),
            Claim("pose", "both", "exact"),
            Claim("intrinsics", "both", "exact"),
            Claim("light", "both", "exact"),
        ),
        memory="O(S P K) for S samples in each of P pixels and K auxiliary ones around each",
        time="O(S P K + N) for N faces",
        limits="Consistent rather than unbiased as it stands here: samples lie on a grid, serve "
        "each other as auxiliary ones, and ∇ · V is a difference between neighbours. Where two "
        "outlines pass within a sample of each other their motions mix.",
        use_when="With renderers that can trace or rasterize but not find silhouettes, and where "
        "edges are too many to be sampled one by one.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The picture filtered by nearly a box; derivatives by the warp."""
        check_view(scene, camera)
        height, width = camera.size
        n = self.per_axis
        # A pixel more on each side: samples there reach into the picture.
        wide = camera.crop(-1.0, -1.0, (height + 2, width + 2))
        view = View.of(scene, wide)
        face, points = view.faces_at_centres(n), view.centres(n)
        warp = self._warp(view, face, points)  # zero, with a gradient
        spread = 1 + _divergence(warp) * n
        moved = points + warp
        maps = view.look(face.view(-1), moved.view(-1, 2)).view(*face.shape, 5)
        return rendering_of(self._filtered(maps, moved, spread)[1:-1, 1:-1])

    def _warp(self, view: View, face: Tensor, points: Tensor) -> Tensor:
        """(h, w, 2) the weighted motion of the samples around each sample, pixels."""
        own = view.motion(face.view(-1), points.view(-1, 2)).view_as(points)
        test = self._boundary_test(view) / self.boundary
        r = self.radius
        total, weights = torch.zeros_like(own), torch.zeros_like(test)
        height, width = test.shape
        for dy in range(-r, r + 1):
            for dx in range(-r, r + 1):
                squared = (dx * dx + dy * dy) / self.per_axis**2
                far = float(torch.expm1(torch.tensor(squared / self.spread**2)))
                to, of = _overlap(height, dy), _overlap(height, -dy)
                to2, of2 = _overlap(width, dx), _overlap(width, -dx)
                weight = (far + test[of, of2]) ** -self.power
                weights[to, to2] += weight
                total[to, to2] += weight[..., None] * own[of, of2]
        return total / weights[..., None]

    @torch.no_grad()
    def _boundary_test(self, view: View) -> Tensor:
        """(h, w) distance of each sample to the nearest outline on whose inner side it lies."""
        n = self.per_axis
        size = view.camera.size[0] * n, view.camera.size[1] * n
        mesh, homogeneous = view.mesh, view.homogeneous
        outlines = find_outlines(mesh.vertices, mesh.faces, facing_camera(homogeneous, mesh.faces))
        corners = torch.stack([outlines.start, outlines.end, outlines.opposite], dim=1)
        corners = corners[(homogeneous[corners, 2] > NEAR).all(1)]
        a, b, c = view.pixels[corners].unbind(1)
        edge, sample = pixels_beside(a * n, b * n, self.boundary * n, size)
        p = view.centres(n).view(-1, 2)[sample]
        along = b - a
        length = torch.linalg.vector_norm(along, dim=1)
        inward = torch.stack([-along[:, 1], along[:, 0]], dim=1) / length[:, None]
        inward = torch.where(((c - a) * inward).sum(1, keepdim=True) < 0, -inward, inward)
        offset = p - a[edge]
        s = ((offset * along[edge]).sum(1) / length[edge].square()).clamp(0, 1)
        distance = torch.linalg.vector_norm(offset - s[:, None] * along[edge], dim=1)
        within = (offset * inward[edge]).sum(1) >= 0
        test = a.new_full((size[0] * size[1],), self.boundary)
        test = test.scatter_reduce(0, sample[within], distance[within], "amin")
        return test.clamp(min=1e-3).view(size)

    def _filtered(self, maps: Tensor, moved: Tensor, spread: Tensor) -> Tensor:
        """(H, W, C) mean of the samples near each pixel, weighted by its box with ramps."""
        n = self.per_axis
        height, width = maps.shape[0] // n, maps.shape[1] // n
        column = torch.arange(width).to(moved) + 0.5
        row = torch.arange(height).to(moved)[:, None, None, None] + 0.5
        place = moved.view(height, n, width, n, 2)
        values = torch.cat([maps, torch.ones_like(maps[..., :1])], dim=-1) * spread[..., None]
        values = values.view(height, n, width, n, -1)
        total = values.new_zeros(height + 2, width + 2, values.shape[-1])
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                away_x = (place[..., 0] - (column[:, None] + dx)).abs()
                away_y = (place[..., 1] - (row + dy)).abs()
                box = self._box(away_x) * self._box(away_y)
                given = (box[..., None] * values).sum((1, 3))
                total[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] += given
        total = total[1:-1, 1:-1]
        return total[..., :-1] / total[..., -1:]

    def _box(self, away: Tensor) -> Tensor:
        """A pixel's box on one axis, falling to zero over two samples: who moves must not jump."""
        ramp = 2 / self.per_axis
        return ((0.5 + ramp / 2 - away) / ramp).clamp(0, 1)


def _overlap(length: int, shift: int) -> slice:
    """Places whose neighbour at `-shift` exists."""
    return slice(max(shift, 0), length + min(shift, 0))


def _divergence(field: Tensor) -> Tensor:  # (h, w, 2)
    """(h, w) by central differences for a step of one sample; the border repeats itself.

    Summed against colours it telescopes to their jumps times the field beside them.
    """
    x, y = field.unbind(-1)
    x = torch.cat([x[:, :1], x, x[:, -1:]], dim=1)
    y = torch.cat([y[:1], y, y[-1:]], dim=0)
    return (x[:, 2:] - x[:, :-2] + y[2:] - y[:-2]) / 2


TECHNIQUE = WarpedArea()
