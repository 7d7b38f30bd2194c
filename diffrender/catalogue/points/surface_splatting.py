"""Differentiable surface splatting (Yifan et al. 2019): elliptical splats with a made-up gradient.

Splats are cut off at an ellipse and the nearest surface wins, so coverage is hard: the picture has
no derivative at outlines. There the backward pass asks how the pixel would change if a point moved
onto it or off it, and spreads that change over the distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.points._fragments import Fragments, list_fragments
from diffrender.catalogue.points._splats import (
    as_splats,
    inverse_form,
    make_splats,
    project_splats,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "SurfaceSplatting", "push_and_pull"]

_CUT = 2**0.5  # standard deviations at which a splat ends
_NEAR = 0.2  # metres
_EPSILON = 0.25  # px², ε of the artificial gradient


@dataclass(frozen=True)
class SurfaceSplatting:
    """Elliptical weighted averages of the nearest surface; points pull and push at outlines.

    Attributes:
        spacing: of the splats made from triangles, metres.
        spread: their standard deviation, in that of the piece of surface that each stands for.
        low_pass: added to the variance on the screen, px².
        merge: splats less than this behind the nearest belong to its surface, metres.
        search: how far from a pixel points are pulled onto it, in shorter sides of the image.
    """

    spacing: float = 0.12
    spread: float = 2.0
    low_pass: float = 0.3
    merge: float = 0.3
    search: float = 0.05

    card: ClassVar[Card] = Card(
        name="surface-splatting",
        title="Differentiable surface splatting (DSS)",
        authors="Yifan, W. and Serena, F. and Wu, S. and Öztireli, C. and Sorkine-Hornung, O.",
        year=2019,
        paper="Differentiable Surface Splatting for Point-based Geometry Processing",
        venue="ACM Transactions on Graphics 38(6)",
        arxiv="1906.04173",
        sections="the paper's sections on the forward pass and on the gradient of a point's "
        "position; survey 2.3",
        equations=(
            "ρ_i(q) = exp(-½ dᵀ Σ'⁻¹ d) / √det Σ', Σ' = J W Σ Wᵀ Jᵀ + s I, 0 where dᵀ Σ'⁻¹ d > 2",
            "I(q) = Σ_i ρ_i c_i / Σ_i ρ_i over the nearest surface",
            "∂L/∂p = -Σ_q g_q/n_q (p - q)/(|p - q|² + ε), g_q = ∂L/∂I · ΔI where that lowers L",
        ),
        family="points",
        idea=(
            "A point with a normal is a disc on the surface, seen as an ellipse, and a pixel takes "
            "the weighted mean of the ellipses of the nearest surface.",
            "Its weights are smooth in the points, but whether a pixel is covered is not.",
            "There the backward pass pulls nearby points onto a pixel, or pushes those that cover "
            "it away, where that would lower the loss, the more the nearer they are.",
        ),
        claims=(
            Claim("vertices", "both", "biased"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
        ),
        memory="O(N + M) for N points and M pairs of a point and a pixel in its search radius",
        time="O(N log N + M log M)",
        limits="The gradient at outlines is a rule, not a derivative, and its size is only roughly "
        "right. It reads the sign of the incoming gradient. Here it is shared among the n points "
        "at a pixel and kept to rims, else dense points drown it. Nothing brings a hidden point "
        "forward.",
        use_when="Editing or completing point clouds with normals from pictures.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Triangles as discs with baked radiance; differentiable to the triangles."""
        return make_splats(scene, self.spacing, self.spread, 1.0)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The nearest surface at each pixel, before the second nearest or the background.

        Raises:
            InputError: the camera has a lens.
        """
        check_view(scene, camera)
        scene = self.prepare(scene)
        splats = as_splats(scene)
        pixels, depth, covariance = project_splats(splats, camera)
        covariance = covariance + self.low_pass * torch.eye(2).to(covariance)
        extent = _CUT * covariance.detach().diagonal(dim1=-2, dim2=-1).sqrt()
        boxes = list_fragments(pixels, extent, depth, camera.size, _NEAR)
        offset = boxes.places(pixels) - pixels[boxes.primitive]
        form = inverse_form(covariance[boxes.primitive], offset)
        hit = form.detach() < _CUT**2
        weight = (
            torch.exp(-0.5 * form[hit])
            * torch.linalg.det(covariance).rsqrt()[boxes.kept(hit).primitive]
        )
        touched = boxes.kept(hit)

        # Four numbers a splat: its colour and depth. Two surfaces: what is seen, what it hides.
        looks = torch.cat([splats.colours, depth[:, None]], dim=1)
        sight = depth.detach()[touched.primitive]
        seen = sight - sight[touched.first()] < self.merge
        front, near = _mean(touched.kept(seen), weight[seen], looks)
        behind, beyond = _mean(touched.kept(~seen), weight[~seen], looks)
        background = torch.cat([scene.background, scene.background.new_zeros(1)])
        hidden = beyond[:, None] * behind + (1 - beyond)[:, None] * background

        shows = push_and_pull(near, pixels, self._rim(touched.kept(seen), near, front[:, 3]))
        picture = shows[:, None] * front + (1 - shows)[:, None] * hidden
        covered = shows + (1 - shows) * beyond
        return self._with_arrivals(picture, covered, pixels, looks, camera.size)

    def _rim(self, seen: Fragments, near: Tensor, depth: Tensor) -> Fragments:
        """The entries at pixels with a neighbour that shows nothing, or a surface behind."""
        open_depth = torch.where(near > 0, depth.detach(), torch.inf).view(1, 1, *seen.size)
        around = torch.nn.functional.max_pool2d(open_depth, 3, stride=1, padding=1)
        rim = (around - open_depth > self.merge).reshape(-1)
        return seen.kept(rim[seen.pixel])

    def _with_arrivals(
        self,
        picture: Tensor,  # (P, 4)
        covered: Tensor,  # (P,)
        pixels: Tensor,  # (N, 2)
        looks: Tensor,  # (N, 4)
        size: tuple[int, int],
    ) -> Rendering:
        """The same picture, with a gradient to points that could come to cover its pixels."""
        radius = self.search * min(size)
        around = list_fragments(
            pixels.detach(), torch.full_like(pixels, radius), looks[:, 3].detach(), size, _NEAR
        )
        now = torch.where(covered > 0, picture[:, 3], torch.inf).detach()
        nearer = looks.detach()[around.primitive, 3] < now[around.pixel] - self.merge
        away = (around.places(pixels) - pixels.detach()[around.primitive]).square().sum(-1)
        may = nearer & (away < radius**2)
        around, away = around.kept(may), away[may]
        arriving, some = _mean(around, 1 / (away + 1), looks.detach())
        arrives = push_and_pull(torch.zeros_like(some), pixels, around)[:, None]
        picture = arrives * arriving + (1 - arrives) * picture
        covered = arrives[:, 0] + (1 - arrives[:, 0]) * covered
        image, depth = picture[:, :3].view(*size, 3), picture[:, 3].view(size)
        return Rendering(image, covered.view(size), depth)


def _mean(fragments: Fragments, weight: Tensor, looks: Tensor) -> tuple[Tensor, Tensor]:
    """(P, C) weighted means over the entries of each pixel, and (P,) 1 where there are any."""
    entries = torch.cat([looks[fragments.primitive], torch.ones_like(weight)[:, None]], dim=1)
    sums = fragments.sum(weight[:, None] * entries)
    some = sums[:, -1] > 0
    return sums[:, :-1] / torch.where(some, sums[:, -1], 1)[:, None], some.to(looks.dtype)


def push_and_pull(value: Tensor, pixels: Tensor, fragments: Fragments) -> Tensor:  # (P,), (N, 2)
    """Coverage `value`, 0 or 1, with the artificial gradient to the points at its pixels.

    Where it is 1 and the loss wants less of it, the points listed there are pushed away; where it
    is 0 and the loss wants more, they are pulled in: -g/n (p - q) / (|p - q|² + ε) for the pixel's
    centre q and the n points listed there. Elsewhere there is nothing to gain. Differentiable again
    to the incoming gradient.

    Source: Yifan et al. 2019, the gradient of a point's position; sharing it by n is this file's.
    """
    out: Tensor = _PushAndPull.apply(value, pixels, fragments)
    return out


class _PushAndPull(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, pixels: Tensor, fragments: Fragments) -> Tensor:
        ctx.save_for_backward(value, pixels)
        ctx.fragments = fragments
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        value, pixels = ctx.saved_tensors
        fragments, (grad,) = ctx.fragments, grads
        gain = torch.where(value > 0, grad.clamp(min=0), grad.clamp(max=0))
        shared = fragments.sum(torch.ones_like(pixels[fragments.primitive, :1])).clamp(min=1)
        gain = (gain / shared[:, 0])[fragments.pixel, None]
        away = pixels[fragments.primitive] - fragments.places(pixels)
        pull = -gain * away / (away.square().sum(-1, keepdim=True) + _EPSILON)
        return None, torch.zeros_like(pixels).index_add(0, fragments.primitive, pull), None


TECHNIQUE = SurfaceSplatting()
