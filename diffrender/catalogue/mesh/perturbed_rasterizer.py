"""Perturbed optimizers (Le Lidec et al. 2021): z-buffer and coverage as means over noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._face_pixels import face_pixels, sum_over_faces
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "PerturbedRasterizer", "perturbed_choice"]


@dataclass(frozen=True)
class PerturbedRasterizer:
    """Hard visibility of randomly moved distances and depths, averaged.

    Attributes:
        distance_noise: standard deviation of distances to outlines, pixels.
        depth_noise: standard deviation of depths, metres.
        samples: draws of the noise.
        seed: of the noise, which is the same at every call.
    """

    distance_noise: float = 0.5
    depth_noise: float = 0.05
    samples: int = 32
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="perturbed-rasterizer",
        title="Rendering with perturbed optimizers",
        authors="Le Lidec, Q. and Laptev, I. and Schmid, C. and Carpentier, J.",
        year=2021,
        paper="Differentiable Rendering with Perturbed Optimizers",
        venue="Advances in Neural Information Processing Systems 34 (NeurIPS)",
        arxiv="2110.09107",
        sections="paper's section on perturbed optimizers for rasterization; after the survey",
        equations=(
            "seen(d, z) = the nearest of the faces with d > 0, as a one-hot vector y",
            "w = E[y(d + σ Z, z + γ Z')], Z and Z' standard normal",
            "∂w/∂d = E[y(d + σ Z, z + γ Z') Zᵀ] / σ, and so for z; with face j's own noise",
            "integrated: ∂w/∂d_j = φ(d_j / σ) / σ E[y if j covers - y if j does not], less noisy",
        ),
        family="mesh, approximate rendering",
        idea=(
            "Choosing the nearest face that covers a pixel is the solution of a discrete problem, "
            "which jumps.",
            "Its mean over random perturbations of distances and depths is smooth, and the soft "
            "rasterizer's sigmoid and softmax are such means for two special noises.",
            "Value and derivative are estimated from the same draws; in the derivative each face's "
            "own noise is integrated in closed form, and the draws are those of the others.",
        ),
        claims=(
            Claim("vertices", "both", "biased"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "both", "own"),
        ),
        memory="O(S N r²): S draws for the pairs of N faces with the pixels within r of them",
        time="O(S N r²)",
        limits="A Monte Carlo estimate: noisy at few samples, and the more so the less noise is "
        "added. Blurs outlines as the soft rasterizer does, seams between faces included.",
        use_when="To smooth with any noise, for which no closed form is needed.",
    )

    def __post_init__(self) -> None:
        if not (self.distance_noise > 0 and self.depth_noise > 0):
            raise InputError(
                f"distance_noise is {self.distance_noise} and depth_noise {self.depth_noise}, "
                "expected positive numbers"
            )
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}, expected at least 1")

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Colours of the faces, each weighted by the share of draws in which it is seen."""
        check_view(scene, camera)
        mesh = as_triangles(scene)
        pairs = face_pixels(mesh, camera, reach=3 * self.distance_noise)
        made = torch.Generator(pairs.depth.device).manual_seed(self.seed)
        shape = (2, self.samples, len(pairs.depth))
        noise = torch.randn(shape, generator=made, device=made.device).to(pairs.depth)
        weight = perturbed_choice(
            pairs.signed_distance() / self.distance_noise,
            -pairs.depth / self.depth_noise,
            noise,
            pairs.pixel,
            pairs.count,
        )
        values = [pairs.interpolate(scene.radiance(), mesh.faces), pairs.depth[:, None]]
        values.append(torch.ones_like(values[1]))
        maps = sum_over_faces(weight[:, None] * torch.cat(values, dim=1), pairs)
        maps = maps.view(*camera.size, 5)
        alpha = maps[..., 4]
        image = maps[..., :3] + (1 - alpha[..., None]) * scene.background
        return Rendering(image, alpha.clamp(0, 1), maps[..., 3] / alpha.clamp(min=1e-6))


def perturbed_choice(
    distance: Tensor,  # (N,)
    nearness: Tensor,  # (N,)
    noise: Tensor,  # (2, S, N)
    pixel: Tensor,  # (N,)
    count: int,
) -> Tensor:
    """The share of S draws in which each of N pairs is its pixel's nearest with distance > 0.

    Distance and nearness in units of their noise. (N,) -> (N,), at most 1 in all at a pixel.
    The derivative is an estimate from the same draws: unbiased for the mean over all noise, and not
    that of the step function which the given draws make.
    """
    weight: Tensor = _Choice.apply(distance, nearness, noise, pixel, count)
    return weight


class _Choice(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, distance: Tensor, nearness: Tensor, noise: Tensor, pixel: Tensor, count: int
    ) -> Tensor:
        ctx.save_for_backward(distance, nearness, noise, pixel)
        ctx.count = count
        seen, _ = _nearest(_scores(distance, nearness, noise), pixel, count)
        return seen.to(distance.dtype).mean(0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        distance, nearness, noise, pixel = ctx.saved_tensors
        scores = _scores(distance, nearness, noise)
        seen, first = _nearest(scores, pixel, ctx.count)
        after, second = _nearest(scores.masked_fill(seen, -torch.inf), pixel, ctx.count)
        # For each pair, the nearest of the others at its pixel in each draw: how near it is, and
        # what the loss thinks of it (0 for the background, whose weight is the rest).
        rival = torch.where(seen, second[:, pixel], first[:, pixel])
        worth = [
            grad.new_zeros(first.shape).index_add(1, pixel, chosen * grad)[:, pixel]
            for chosen in (seen, after)
        ]
        gain = grad - torch.where(seen, worth[1], worth[0])  # (S, N)
        wins = (nearness + noise[1] > rival) * _density(distance)
        covers = (distance + noise[0] > 0) * _density(rival - nearness)
        return (wins * gain).mean(0), (covers * gain).mean(0), None, None, None


def _scores(distance: Tensor, nearness: Tensor, noise: Tensor) -> Tensor:
    """(S, N) perturbed nearness, -inf where the perturbed face does not cover."""
    return torch.where(distance + noise[0] > 0, nearness + noise[1], -torch.inf)


def _nearest(scores: Tensor, pixel: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Which pairs are the nearest of their pixels (S, N), and how near these are (S, P)."""
    best = scores.new_full((len(scores), count), -torch.inf)
    best = best.scatter_reduce(1, pixel.expand_as(scores), scores, "amax")
    return (scores == best[:, pixel]) & (scores > -torch.inf), best


def _density(x: Tensor) -> Tensor:
    """Of the standard normal distribution."""
    return (-x.square() / 2).exp() / math.sqrt(2 * math.pi)


TECHNIQUE = PerturbedRasterizer()
