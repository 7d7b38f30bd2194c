"""The neighbour rule of view-prior learning (Kato and Harada 2019): which way should a pixel go?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._view import View, rendering_of
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "ViewPriorGradient"]


@dataclass(frozen=True)
class ViewPriorGradient:
    """Hard pictures; backward compares each pixel with its four neighbours.

    Attributes:
        tie: gains that differ by less cancel out, in units of the loss for half an image's width.
    """

    tie: float = 1e-4

    card: ClassVar[Card] = Card(
        name="view-prior-gradient",
        title="Neighbour rule of view-prior learning",
        authors="Kato, H. and Harada, T.",
        year=2019,
        paper="Learning View Priors for Single-View 3D Reconstruction",
        venue="Conference on Computer Vision and Pattern Recognition (CVPR)",
        arxiv="1811.10719",
        sections="the renderer that comes with the paper's code; the survey's section on "
        "approximated gradients",
        equations=(
            "c(p) = Σ_k w_k(p) xy_k, the weights w held fixed",
            "r = -Σ_c (I_p - I_{p+1}) δ_{p+1}; l = -Σ_c (I_{p+1} - I_p) δ_p, for p and p + 1 both",
            "∂L/∂c(p) = 0 if max(r, l) <= 0 or r ≈ l; -r if r > l; +l if l > r",
        ),
        family="mesh, approximate gradient",
        idea=(
            "Draw the hard picture together with the image coordinates of what each pixel sees.",
            "If a neighbour would rather have this pixel's colour, the pixel should move there: "
            "the gains of moving either way are compared and the better one is the gradient of "
            "the coordinate.",
            "The chain rule through the coordinates brings it to the vertices, for any channels.",
        ),
        claims=(
            Claim("vertices", "both", "biased"),
            Claim("attributes", "interior", "exact"),
            Claim("texture", "interior", "exact"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "interior", "exact"),
        ),
        memory="O(P): coordinates and weights at each of P pixels",
        time="O(P + N) for N faces",
        limits="A rule for descent, not a derivative: not linear in the incoming gradient. It "
        "reaches one pixel; blurred or coarse images make it see farther.",
        use_when="When the scan-line rule is too slow, with a pyramid of image sizes in the loss.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The hard picture, one sample a pixel: colour, coverage and depth under one rule."""
        check_view(scene, camera)
        view = View.of(scene, camera)
        face, points = view.faces_at_centres(), view.centres()
        flat = face.view(-1), points.view(-1, 2)
        maps = view.look(*flat, frozen=True).view(*face.shape, 5)
        coordinates = points + view.motion(*flat).view(*face.shape, 2)
        # The paper's coordinates span the image by 2; ours are pixels.
        tie = self.tie * 2 / max(camera.size)
        ruled: Tensor = _NeighbourRule.apply(maps, coordinates, tie)
        return rendering_of(ruled)


class _NeighbourRule(torch.autograd.Function):
    """The maps as they are; backward gives the coordinates what the rule says."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, coordinates: Tensor, tie: float) -> Tensor:
        ctx.save_for_backward(maps)
        ctx.tie = tie
        return maps.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        (maps,) = ctx.saved_tensors
        x = _one_axis(maps.transpose(0, 1), gradient.transpose(0, 1), ctx.tie).T
        y = _one_axis(maps, gradient, ctx.tie)
        return gradient, torch.stack([x, y], dim=-1), None


def _one_axis(maps: Tensor, gradient: Tensor, tie: float) -> Tensor:  # (N, M, C), (N, M, C)
    """(N, M) gradient of the coordinate along the first axis."""
    step = maps[1:] - maps[:-1]
    forwards = _both((step * gradient[1:]).sum(-1))  # gain where p's colour comes to p + 1
    backwards = _both(-(step * gradient[:-1]).sum(-1))
    better = torch.where(forwards > backwards, -forwards, backwards)
    idle = (torch.maximum(forwards, backwards) <= 0) | ((forwards - backwards).abs() < tie)
    return torch.where(idle, 0, better)


def _both(pairs: Tensor) -> Tensor:  # (N - 1, M)
    """(N, M): every pair's number goes to both of its pixels."""
    none = pairs.new_zeros(1, *pairs.shape[1:])
    return torch.cat([pairs, none]) + torch.cat([none, pairs])


TECHNIQUE = ViewPriorGradient()
