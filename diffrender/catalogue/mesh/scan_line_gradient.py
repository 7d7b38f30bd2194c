"""The scan-line rule (Neural Mesh Renderer, Kato et al. 2018): what if the edge swept to here?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._outlines import facing_camera
from diffrender.catalogue.mesh._view import View
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "ScanLineGradient"]

_CHUNK = 4096  # crossings at a time, each with all pixels of its line


@dataclass(frozen=True)
class ScanLineGradient:
    """Hard pictures; backward asks along rows and columns which swaps of colour lower the loss.

    Attributes:
        softening: added to a vertex's way to a pixel, so that short ways do not weigh too much,
            pixels.
    """

    softening: float = 0.1  # pixels

    card: ClassVar[Card] = Card(
        name="scan-line-gradient",
        title="Neural 3D Mesh Renderer, scan-line rule",
        authors="Kato, H. and Ushiku, Y. and Harada, T.",
        year=2018,
        paper="Neural 3D Mesh Renderer",
        venue="Conference on Computer Vision and Pattern Recognition (CVPR)",
        arxiv="1711.07566",
        sections="the paper's part on the approximate gradient of rasterization, as its code has "
        "it; the survey's section on approximated gradients",
        equations=(
            "outside P: g = Σ_c (I_P - I_in) δ_P; inside P: g = Σ_c (I_P - I_out) δ_P",
            "g > 0: ∂L/∂x_v -= g / (Δx_v ± ε), Δx_v the way of vertex v that brings its edge to P",
            "g <= 0: nothing, for the swap would not lower the loss",
        ),
        family="mesh, approximate gradient",
        idea=(
            "Along each scan line, an edge of a visible face could be moved to any pixel of the "
            "line; that pixel would then change between the colours beside the edge.",
            "Where the loss says that this change is welcome, both vertices of the edge are "
            "pulled that way, the more the shorter their way.",
            "So pixels far from an outline pull on it, and only in directions that help.",
        ),
        claims=(
            Claim("vertices", "both", "biased"),
            Claim("attributes", "interior", "exact"),
            Claim("texture", "interior", "exact"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "interior", "exact"),
        ),
        memory="O(P L) transient in backward, for P pixels in lines of L",
        time="O(P L + N) for N faces",
        limits="A rule for descent, not a derivative: not linear in the incoming gradient, so "
        "the result depends on the loss. Occlusion among objects and hidden faces have no pull; "
        "inner edges of a coloured surface pull, too.",
        use_when="For silhouettes that are far from their target, where local rules see nothing.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The hard picture, one sample a pixel. Depth has its plain derivative at the hit."""
        check_view(scene, camera)
        view = View.of(scene, camera)
        face, points = view.faces_at_centres(), view.centres()
        flat = face.view(-1), points.view(-1, 2)
        maps = view.look(*flat, frozen=True).view(*face.shape, 5)
        depth = view.look(*flat)[:, 4].view(face.shape)
        front = facing_camera(view.homogeneous.detach(), view.mesh.faces)
        corners = torch.where(
            ((face >= 0) & front[face])[..., None], view.mesh.faces[face], -1
        )  # (H, W, 3), -1 where no front face is seen
        pictured: Tensor = _ScanLines.apply(maps[..., :4], view.pixels, corners, self.softening)
        return Rendering(pictured[..., :3], pictured[..., 3], depth)


class _ScanLines(torch.autograd.Function):
    """The picture as it is; backward by the rule, in torch operations."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,  # (H, W, C)
        pixels: Tensor,  # (V, 2)
        corners: Tensor,  # (H, W, 3)
        softening: float,
    ) -> Tensor:
        ctx.save_for_backward(maps, pixels, corners)
        ctx.softening = softening
        return maps.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        maps, pixels, corners = ctx.saved_tensors
        pull = torch.zeros_like(pixels)
        lines = maps, gradient, corners
        for axis in (0, 1):  # rows, along x; then columns, along y
            turned = lines if axis == 0 else tuple(x.transpose(0, 1) for x in lines)
            along = _one_axis(turned, pixels[:, [1 - axis, axis]], ctx.softening)
            pull = pull + torch.stack([along, torch.zeros_like(along)][:: 1 - 2 * axis], dim=1)
        return gradient, pull, None, None


def _one_axis(lines: tuple[Tensor, ...], pixels: Tensor, softening: float) -> Tensor:
    """(V,) gradient along the lines, which are the first axis of all maps.

    pixels: (V, 2), first across the lines (u), then along them (d).
    """
    maps, gradient, corners = lines
    count = maps.shape[1]
    pull = torch.zeros_like(pixels[:, 0])
    for side in range(3):
        crossing = _crossings(corners, pixels, side)
        if not len(crossing.line):
            continue
        line, place, beyond = crossing.line, crossing.place, crossing.outside
        # Pixels of the face itself: would the colour beyond the edge be welcome here?
        swap = maps[line, place] - maps[line, beyond]
        gain = (swap * gradient[line, place]).sum(-1)
        pull = crossing.add(pull, gain, place + 0.5 - crossing.at, softening)
        # Pixels beyond: would the face's colour, as seen just inside, be welcome there?
        last = (place == crossing.inside).nonzero().squeeze(1)
        for part in last.split(_CHUNK):
            near = crossing.take(part)
            rows = gradient[near.line]  # (E, L, C)
            swap = maps[near.line] - maps[near.line, near.place][:, None]
            gain = (swap * rows).sum(-1)
            other = torch.arange(count, device=maps.device)
            outside = (other - near.inside[:, None]) * near.towards[:, None] > 0
            away = other + 0.5 - near.at[:, None]
            pull = near.add(pull, gain * outside, away, softening)
    return pull


@dataclass(frozen=True)
class _Crossing:
    """Pixels with the place where one edge of the face seen there crosses their line.

    start, end: the edge's vertices; share: its end's part in the place, which moves by
    (1 - share) of the start's way; inside, outside: the pixels beside the crossing.
    """

    line: Tensor  # (E,)
    place: Tensor  # (E,)
    start: Tensor  # (E,)
    end: Tensor  # (E,)
    share: Tensor  # (E,)
    at: Tensor  # (E,)
    towards: Tensor  # (E,) +1 or -1, out of the face
    inside: Tensor  # (E,)
    outside: Tensor  # (E,)

    def take(self, chosen: Tensor) -> _Crossing:
        return _Crossing(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def add(self, pull: Tensor, gain: Tensor, away: Tensor, softening: float) -> Tensor:
        """`pull`, (V,), with what welcome swaps (gain > 0) `away` pixels off the edge give."""
        welcome = gain.clamp(min=0)
        for vertex, share in ((self.start, 1 - self.share), (self.end, self.share)):
            share = share.view(-1, *(1,) * (away.ndim - 1))
            way = away / share.clamp(min=1e-6)
            each = -welcome / (way + softening * torch.where(way < 0, -1.0, 1.0))
            each = torch.where(share > 1e-6, each, 0)
            pull = pull.index_add(0, vertex, each.flatten(1).sum(1) if each.ndim > 1 else each)
        return pull


@torch.no_grad()
def _crossings(corners: Tensor, pixels: Tensor, side: int) -> _Crossing:
    line, place = (corners[..., 0] >= 0).nonzero().unbind(1)
    a, b, c = corners[line, place].roll(-side, dims=1).unbind(1)
    u = line + 0.5
    rise = pixels[b, 0] - pixels[a, 0]
    share = (u - pixels[a, 0]) / torch.where(rise == 0, torch.inf, rise)
    at = torch.lerp(pixels[a, 1], pixels[b, 1], share)
    third = (pixels[c, 0] - pixels[a, 0]) / torch.where(rise == 0, torch.inf, rise)
    inwards = pixels[c, 1] - torch.lerp(pixels[a, 1], pixels[b, 1], third)
    towards = torch.where(inwards > 0, -1, 1)
    inside = torch.where(towards > 0, (at - 0.5).floor(), (at - 0.5).ceil()).long()
    outside = inside + towards
    count = corners.shape[1]
    kept = (rise != 0) & (share >= 0) & (share <= 1)
    kept &= (torch.minimum(inside, outside) >= 0) & (torch.maximum(inside, outside) < count)
    found = _Crossing(line, place, a, b, share, at, towards, inside, outside)
    return found.take(kept.nonzero().squeeze(1))


TECHNIQUE = ScanLineGradient()
