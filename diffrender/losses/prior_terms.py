"""Terms that know what to expect of a car before looking: its size, its shape, the ground."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.losses.algebra import Algebra
from diffrender.losses.records import Evidence, Rendering
from diffrender.losses.tangents import Tangents

__all__ = ["GroundContact", "LatentPrior", "SizePrior"]


@dataclass(frozen=True)
class SizePrior(Algebra):
    """Half the squared deviation from the class's mean size, in standard deviations."""

    name: str = dataclasses.field(default="size", init=False, repr=False)

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        deviation = (rendering.size - evidence.size_mean) / evidence.size_sigma
        return 0.5 * (deviation**2).sum(-1)

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        moved = tangents.size / evidence.size_sigma[..., None]
        return moved.mT @ moved


@dataclass(frozen=True)
class LatentPrior(Algebra):
    """Half the squared norm of the shape code: the prior's latents are standard normal."""

    name: str = dataclasses.field(default="latent", init=False, repr=False)

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        return 0.5 * (rendering.latent**2).sum(-1)

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        return tangents.latent.mT @ tangents.latent


@dataclass(frozen=True)
class GroundContact(Algebra):
    """Half the squared height of the object's bottom over a flat road, in standard deviations.

    The deviation grows with distance: sigma = hypot(near, slope * z), since roads tilt and
    cameras pitch.
    """

    camera_height: float = 1.65
    near: float = 0.10
    slope: float = 0.015
    name: str = dataclasses.field(default="ground", init=False, repr=False)

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        height = rendering.location[:, 1]
        return 0.5 * ((height - self.camera_height) / self._sigma(rendering)) ** 2

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        moved = tangents.location[:, 1:2] / self._sigma(rendering)[:, None, None]
        return moved.mT @ moved

    def _sigma(self, rendering: Rendering) -> Tensor:
        z = rendering.location[:, 2]
        return torch.sqrt(self.near**2 + (self.slope * z) ** 2).detach()
