"""Where the optimizer's first hypotheses may come from, other than the box fit or beside it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.observations import DepthNoise, Observation
from diffrender.reconstruct.settings import ReconstructSettings, StageSettings
from diffrender.shape_priors import ShapePrior

__all__ = ["StartChoice", "StartRequest", "Starter", "followed"]


@dataclass(frozen=True)
class StartRequest:
    """All that is known of an image's objects before any fitting.

    Attributes:
        observations: the B usable objects.
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) metres, 0 = unknown, or None.
        camera: of the image.
        noise: what to believe of the depth.
        class_sizes: mean and standard deviation of every object's class, (B, 3) each, metres.
        camera_height: metres above the road.
        prior: of their shapes.
    """

    observations: list[Observation]
    image: np.ndarray
    depth: np.ndarray | None
    camera: Camera
    noise: DepthNoise
    class_sizes: tuple[Tensor, Tensor]
    camera_height: float
    prior: ShapePrior


class Starter(Protocol):
    """Gives at least one hypothesis of every object."""

    @property
    def name(self) -> str: ...

    @property
    def stages(self) -> tuple[StageSettings, ...] | None:
        """Descents that follow this start in place of the settings' own, or None for those."""

    @property
    def beside_box_fits(self) -> bool:
        """Whether the box fit's hypotheses start too, rather than being replaced."""

    def serves(self, prior: ShapePrior) -> bool:
        """Whether it can start objects of this prior; the box fit starts the others."""

    def __call__(self, request: StartRequest) -> Hypotheses: ...


def followed(settings: ReconstructSettings, start: Starter | None) -> ReconstructSettings:
    """The settings of the descents that follow a start."""
    if start is None or start.stages is None:
        return settings
    return dataclasses.replace(settings, stages=start.stages)


class StartChoice(Protocol):
    """Says which start to load; plain values that can be sent to another process."""

    @property
    def weights(self) -> str | None: ...

    def at(self, weights: str) -> StartChoice:
        """The same with the weights in another place."""

    def load(self, device: str) -> Starter: ...
