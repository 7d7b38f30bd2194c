"""Plateau-reduced rendering (Fischer and Ritschel 2023): any renderer, blurred in pose space."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.registry import Technique, find_technique
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "PlateauReduced", "smoothed"]


@dataclass(frozen=True)
class PlateauReduced:
    """The mean of another technique's pictures over random poses, with a derivative by the pose.

    Attributes:
        inner: the technique that draws, or its name. It needs no gradients.
        angle: standard deviation of rotations about the world's origin, radians.
        distance: standard deviation of translations, metres.
        pairs: antithetic pairs of pictures: so many for the mean, and so many for the derivative
            along each of the six directions.
        seed: of the poses, which are the same at every call.
    """

    inner: Technique | str = "pixel-pair-antialiasing"
    angle: float = 0.03
    distance: float = 0.05
    pairs: int = 6
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="plateau-reduced",
        title="Plateau-reduced differentiable rendering",
        authors="Fischer, M. and Ritschel, T.",
        year=2023,
        paper="Plateau-reduced Differentiable Path Tracing",
        venue="IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
        arxiv="2211.17263",
        sections="paper's sections on the plateau-reduced rendering equation, its estimators and "
        "importance sampling; after the survey",
        equations=(
            "J(θ) = (κ_σ * R)(θ) = E[R(θ - τ)], τ from the Gaussian κ_σ",
            "∂J/∂θ_i = E[R(θ - τ) ∂_i κ_σ(τ) / p(τ)],  p ∝ |∂_i κ_σ|: τ_i = ±σ √(-2 ln(1 - u))",
            "         ≈ mean of (R(θ + τ) - R(θ - τ)) / (σ √(2π)) over pairs ±τ with τ_i > 0",
        ),
        family="mesh, approximate rendering",
        idea=(
            "Where a small change of a parameter changes no pixel that matters, the loss has a "
            "plateau and no gradient helps.",
            "Blur the rendering by a Gaussian in parameter space, so that the slope of things far "
            "away is felt, and narrow the Gaussian as the search goes on.",
            "The derivative of the blur falls on the kernel, so the renderer is a black box that "
            "is called at places drawn in proportion to the kernel's slope, in pairs.",
        ),
        claims=(Claim("pose", "both", "biased"),),
        memory="that of one picture of the inner technique, without its graph",
        time="2 S pictures forward and 12 S backward, for S pairs",
        limits="Pictures are blurred by the spread of poses, and slow. For few parameters only: a "
        "mesh's vertices would want as many pairs.",
        use_when="Poses from a poor start, with any renderer. Begin with a wide spread and narrow "
        "it as the fit goes on.",
    )

    def __post_init__(self) -> None:
        if not (self.angle > 0 and self.distance > 0):
            raise InputError(
                f"angle is {self.angle} and distance {self.distance}, expected positive numbers"
            )
        if self.pairs < 1:
            raise InputError(f"pairs is {self.pairs}, expected at least 1")

    def _technique(self) -> Technique:
        return find_technique(self.inner) if isinstance(self.inner, str) else self.inner

    def narrowed(self, factor: float) -> PlateauReduced:
        """The same with the spread of poses times `factor`, for the next stage of a fit."""
        return dataclasses.replace(self, angle=factor * self.angle, distance=factor * self.distance)

    def prepare(self, scene: Scene) -> Scene:
        """What the inner technique prepares."""
        return self._technique().prepare(scene)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The mean picture. Differentiable to the camera's rotation and translation alone."""
        check_view(scene, camera)
        inner, fixed = self._technique(), _detached(camera)

        def draw(step: Tensor) -> Tensor:  # (6,)
            turned = _turned(fixed, step)
            drawn = inner.render(scene, turned)
            depth = (drawn.silhouette * drawn.depth)[..., None]
            return torch.cat([drawn.image, drawn.silhouette[..., None], depth], dim=-1)

        spread = camera.translation.new_tensor([self.angle] * 3 + [self.distance] * 3)
        maps = smoothed(draw, _pose_step(camera), spread, self.pairs, self.seed)
        alpha = maps[..., 3]
        return Rendering(maps[..., :3], alpha, maps[..., 4] / alpha.clamp(min=1e-6))


def smoothed(
    draw: Callable[[Tensor], Tensor],
    at: Tensor,  # (D,)
    spread: Tensor,  # (D,)
    pairs: int,
    seed: int,
) -> Tensor:
    """E[draw(at + spread Z)] for standard normal Z, from `pairs` antithetic pairs.

    `draw` is called without gradients. The derivative by `at` is estimated by itself, from `pairs`
    pairs for each of its D numbers, drawn in proportion to the kernel's slope along that one.
    """
    value: Tensor = _Smoothed.apply(at, draw, spread, pairs, seed)
    return value


class _Smoothed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        at: Tensor,
        draw: Callable[[Tensor], Tensor],
        spread: Tensor,
        pairs: int,
        seed: int,
    ) -> Tensor:
        ctx.save_for_backward(at, spread)
        ctx.draw, ctx.pairs, ctx.seed = draw, pairs, seed
        made = torch.Generator(at.device).manual_seed(seed)
        total: Tensor | float = 0.0
        for _ in range(pairs):
            offset = spread * torch.randn(at.shape, generator=made, device=at.device).to(at)
            total = total + draw(at + offset) + draw(at - offset)
        return torch.as_tensor(total) / (2 * pairs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        at, spread = ctx.saved_tensors
        made = torch.Generator(at.device).manual_seed(ctx.seed + 1)
        slopes = []
        for direction in range(len(at)):
            slope, z = grad.new_zeros(()), torch.zeros(at.shape, device=at.device)
            for pair in range(ctx.pairs):
                # Every other pair mirrors the last one in all other directions, so that what they
                # change to first order cancels out.
                fresh = torch.randn(at.shape, generator=made, device=at.device)
                z = -z if pair % 2 else fresh
                # |τ_i| is Rayleigh distributed: the inverse of its distribution function at u,
                # one u in each of `pairs` equal strata.
                u = (pair + torch.rand((), generator=made, device=at.device)) / ctx.pairs
                z[direction] = (-2 * torch.log1p(-u)).clamp(min=0).sqrt()
                offset = spread * z.to(at)
                with torch.no_grad():
                    change = ctx.draw(at + offset) - ctx.draw(at - offset)
                slope = slope + (grad * change).sum()
            slopes.append(slope / (ctx.pairs * spread[direction] * math.sqrt(2 * math.pi)))
        return torch.stack(slopes), None, None, None, None


def _detached(camera: Camera) -> Camera:
    return dataclasses.replace(
        camera,
        intrinsics=camera.intrinsics.detach(),
        rotation=camera.rotation.detach(),
        translation=camera.translation.detach(),
    )


def _pose_step(camera: Camera) -> Tensor:
    """(6,) zeros whose derivative is that of the pose: rotation vector and translation."""
    turn = camera.rotation @ camera.rotation.detach().mT  # 1 + [ω]x to first order
    skew = (turn - turn.mT) / 2
    moved = camera.translation - camera.translation.detach()
    return torch.cat([torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]]), moved])


def _turned(camera: Camera, step: Tensor) -> Camera:  # (6,)
    """The camera with a rotation after its own, about the world's origin, and moved."""
    zero = step.new_zeros(())
    x, y, z = step[:3]
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    return dataclasses.replace(
        camera,
        rotation=torch.linalg.matrix_exp(skew) @ camera.rotation,
        translation=camera.translation + step[3:],
    )


TECHNIQUE = PlateauReduced()
