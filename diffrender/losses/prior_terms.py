"""Terms that know what to expect of a car before looking: its size, its shape, the ground."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from diffrender.losses.algebra import Algebra
from diffrender.losses.records import Evidence, Rendering
from diffrender.losses.tangents import Tangents
from diffrender.road import Road

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
    """Half the squared height of the object's bottom over the road, in standard deviations.

    The deviation grows with distance (`Road.sigma`): roads bend, and cameras pitch. It is held
    constant in the gradient, or objects would flee to where less is asked of them.
    """

    road: Road = dataclasses.field(default_factory=Road)
    name: str = dataclasses.field(default="ground", init=False, repr=False)

    def value(self, rendering: Rendering, evidence: Evidence) -> Tensor:
        away = rendering.location[:, 1] - self.road.y(rendering.location)
        return 0.5 * (away / self._sigma(rendering)) ** 2

    def curvature(self, rendering: Rendering, evidence: Evidence, tangents: Tangents) -> Tensor:
        x, y, z = tangents.location.unbind(dim=1)
        moved = (y - self.road.slope * z - self.road.bank * x) / self._sigma(rendering)[:, None]
        return moved[..., None] * moved[:, None, :]

    def _sigma(self, rendering: Rendering) -> Tensor:
        return self.road.sigma(rendering.location).detach()
