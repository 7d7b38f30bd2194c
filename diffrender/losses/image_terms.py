"""Terms that compare a rendering with the image: outline, box, depth."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from diffrender.errors import InputError
from diffrender.losses.algebra import Algebra
from diffrender.losses.records import Evidence, Rendering
from diffrender.losses.tangents import Tangents

__all__ = ["Box", "Depth", "Silhouette"]


def _length(x: Tensor, y: Tensor) -> Tensor:
    """sqrt(x^2 + y^2); torch.hypot is many times slower on a CPU."""
    return torch.sqrt(x * x + y * y)


def _whole(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")


def _fits(evidence: Evidence, least: int, what: str) -> None:
    height, width = evidence.mask.shape[-2:]
    if min(height, width) < least or not len(evidence.mask):
        raise InputError(
            f"{what} got {len(evidence.mask)} windows of {height} x {width} pixels, expected at "
            f"least one of {least} x {least}"
        )


def _charbonnier(x: Tensor) -> Tensor:
    """Quadratic near zero, linear beyond one."""
    return torch.sqrt(1 + x * x) - 1


@dataclass(frozen=True)
class Silhouette(Algebra):
    """1 - IoU of coverage and mask over `levels` resolutions, where it is cared for.

    Coarse levels feel a mismatch several pixels away; the gradient of coverage reaches one pixel.
    Each level halves the window; what is left over of an odd side does not count there.
    """

    levels: int = 3
    name: str = dataclasses.field(default="silhouette", init=False, repr=False)

    def __post_init__(self) -> None:
        _whole("Silhouette.levels", self.levels)

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        _fits(evidence, 2 ** (self.levels - 1), f"Silhouette with {self.levels} levels")
        ours, theirs = rendering.coverage * evidence.care, evidence.mask * evidence.care
        losses = []
        for level in range(self.levels):
            if level:
                ours, theirs = avg_pool2d(ours, 2), avg_pool2d(theirs, 2)
            both = torch.minimum(ours, theirs).sum((-2, -1))
            either = torch.maximum(ours, theirs).sum((-2, -1))
            losses.append(1 - (both + 1e-3) / (either + 1e-3))
        return torch.stack(losses).mean(0)

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        """Of the mismatched area over the union: |d| bends like d^2 / (2 reach) at d = reach."""
        outline, at = tangents.outline, tangents.outline.target
        moved = outline.rate * outline.difference[:, :1]
        union = (torch.maximum(rendering.coverage, evidence.mask) * evidence.care).sum((-2, -1))
        per_pixel = evidence.care / tangents.reach / (union[:, None, None] + 1e-3)
        weighted = moved * torch.sqrt(per_pixel.flatten()[at])[:, None]
        return outline.normal(weighted, len(union))


@dataclass(frozen=True)
class Box(Algebra):
    """Flat-bottomed distance of the projected box's sides from the mask's, in shares of its size.

    No penalty within `margin`. A closed side (cut by the border or by another object) may lie
    further out, not further in.
    """

    margin: float = 0.02
    name: str = dataclasses.field(default="box", init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise InputError(f"Box.margin is {self.margin}, expected a share of the box from 0 on")

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        return self._miss(rendering, evidence)[0].sum(-1)

    def _miss(self, rendering: Rendering, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """By how much every side misses its margin, and the box's size, (B, 4) both."""
        extent = evidence.box[:, 2:] - evidence.box[:, :2]
        scale = torch.cat([extent, extent], dim=-1)
        outward = torch.tensor([-1.0, -1.0, 1.0, 1.0]).to(scale)
        beyond = (rendering.box - evidence.box) * outward / scale
        miss = torch.where(evidence.open_sides, beyond.abs(), (-beyond).clamp(min=0))
        return (miss - self.margin).clamp(min=0), scale

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        """Of m^2 / (2 miss) at m = miss, for the sides that miss."""
        miss, scale = self._miss(rendering, evidence)
        weight = torch.where(miss > 0, 1 / miss.clamp(min=0.01), 0.0)
        moved = tangents.box * (torch.sqrt(weight) / scale)[..., None]
        return moved.mT @ moved


@dataclass(frozen=True)
class _Patches:
    """Drawn and observed depth by patches, (B, h, w) each."""

    drawn: Tensor
    residual: Tensor
    share: Tensor
    sigma: Tensor
    frontal: Tensor  # (B, 1, 1)
    log_scale: Tensor  # (B,)
    weight: Tensor  # (B, H, W)
    per_amount: Tensor


@dataclass(frozen=True)
class Depth(Algebra):
    """Robust distance of the rendered surface from the depth map, inside the mask only.

    Means over patches are compared, so that a noisy map is averaged before it is judged. Their
    difference in z is counted in standard deviations: the map's own noise, and what an error of
    the shape across the surface makes of z, which is more where a wall is seen at a glancing
    angle (`facing`, held constant). A depth map may be wrong on a whole object: the log of that
    factor, s, has the prior N(common, scale^2) and is put at its optimum here, so it costs no
    iterations (its own gradient vanishes: envelope theorem). The value is
    samples * mean(rho(r) + log sigma) + (s - common)^2 / (2 scale^2), sigma relative to a frontal
    patch.

    Attributes:
        scale: standard deviation of s.
        common: mean of s, for example what the objects of an image agree on.
        samples: how many of an object's patches err independently.
        patch: side of a patch, pixels of the window; what no whole patch covers does not count.
    """

    scale: float = 0.05
    samples: float = 20.0
    patch: int = 4
    common: float = 0.0
    name: str = dataclasses.field(default="depth", init=False, repr=False)

    def __post_init__(self) -> None:
        _whole("Depth.patch", self.patch)
        if not 0 < self.samples < math.inf:
            raise InputError(f"Depth.samples is {self.samples}, expected a positive number")
        if not 0 < self.scale < math.inf or not math.isfinite(self.common):
            raise InputError(
                f"Depth has scale {self.scale} and common {self.common}, expected a positive and a "
                "finite number; a scale of 1e-3 all but fixes the factor"
            )

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        compared = self._compare(rendering, evidence)
        share, sigma, s = compared.share, compared.sigma, compared.log_scale
        likelihood = share * (_charbonnier(compared.residual) + torch.log(sigma / compared.frontal))
        return likelihood.sum((-2, -1)) + 0.5 * ((s - self.common) / self.scale) ** 2

    def log_scale(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        """The factor s that each object's depths would have, (B,); NaN where none is compared."""
        compared = self._compare(rendering, evidence)
        known = compared.weight.flatten(1).any(1)
        return torch.where(
            known, compared.log_scale, torch.full_like(compared.log_scale, torch.nan)
        )

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        """J^T W J of the robust residuals, less what the common factor s takes up by itself."""
        compared = self._compare(rendering, evidence)
        factor = torch.exp(compared.log_scale)[:, None, None]
        moved = avg_pool2d(tangents.depth * compared.weight[:, None], self.patch)
        moved = moved * (factor * compared.per_amount / compared.sigma)[:, None]  # (B, K, h, w)
        robust = compared.share / torch.sqrt(1 + compared.residual**2)
        slope = (factor * compared.drawn / compared.sigma * robust).flatten(1)[..., None]
        moved, robust = moved.flatten(2), robust.flatten(1)
        normal = (moved * robust[:, None]) @ moved.mT
        mixed = moved @ slope  # (B, K, 1)
        own = (slope[..., 0] ** 2 / robust.clamp(min=1e-12)).sum(-1) + 1 / self.scale**2
        return normal - mixed @ mixed.mT / own[:, None, None]

    def _compare(self, rendering: Rendering, evidence: Evidence) -> _Patches:
        _fits(evidence, self.patch, f"Depth with patches of {self.patch}")
        seen = (evidence.depth > 0) & (evidence.depth < math.inf)
        known = seen & (rendering.depth > 0)
        weight = known * evidence.mask * evidence.care
        facing = torch.ones_like(weight) if rendering.facing is None else rendering.facing.detach()
        layers = weight * torch.stack(
            [torch.ones_like(weight), evidence.depth.where(seen, 0), facing]
        )
        amount, observed, facing = avg_pool2d(layers, self.patch)
        per_amount = 1 / amount.clamp(min=1e-6)
        drawn = avg_pool2d(weight * rendering.depth, self.patch) * per_amount
        observed, facing = observed * per_amount, facing * per_amount
        noise, floor = (v[:, None, None] for v in (evidence.depth_sigma, evidence.depth_floor))
        frontal = _length(noise, floor)
        floor = floor / facing.clamp(min=0.1)
        sigma = _length(noise, floor)
        share = self.samples * amount / amount.sum((-2, -1), keepdim=True).clamp(min=1e-6)
        s = self._log_scale(drawn.detach(), observed, share, sigma)
        # The drawn surface takes the factor: shrinking the observed one would shrink its noise.
        residual = (drawn * torch.exp(s)[:, None, None] - observed) / sigma
        return _Patches(drawn, residual, share, sigma, frontal, s, weight, per_amount)

    @torch.no_grad()
    def _log_scale(self, drawn: Tensor, observed: Tensor, share: Tensor, sigma: Tensor) -> Tensor:
        """Optimal s by iteratively reweighted Gauss-Newton steps, (B,)."""
        s = torch.zeros_like(drawn[:, 0, 0])
        for _ in range(4):
            expected = drawn * torch.exp(s)[:, None, None]
            residual, slope = (expected - observed) / sigma, expected / sigma
            robust = share / torch.sqrt(1 + residual**2)
            gradient = (robust * residual * slope).sum((-2, -1)) + (s - self.common) / self.scale**2
            curvature = (robust * slope**2).sum((-2, -1)) + 1 / self.scale**2
            s = (s - gradient / curvature).clamp(-0.5, 0.5)
        return s
