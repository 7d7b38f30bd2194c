"""How a graph network is trained: budget, learning rate, clipping."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from diffrender._seeds import check_seed
from diffrender.errors import InputError
from diffrender.graph.losses import LossWeights

__all__ = ["GraphTrainSettings", "GraphsSeen", "Minutes"]


@dataclass(frozen=True)
class GraphsSeen:
    """A budget of so many graphs, counted as often as they are seen: alike on every machine."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"a budget of {self.count} graphs, expected at least 1")


@dataclass(frozen=True)
class Minutes:
    """A budget of so many minutes spent training, without the checks in between."""

    count: float

    def __post_init__(self) -> None:
        if not 0 < self.count < math.inf:
            raise InputError(f"a budget of {self.count} minutes, expected more than 0")


@dataclass(frozen=True)
class GraphTrainSettings:
    """Attributes:
    budget: when training ends; the learning rate follows it, so a run cannot be lengthened.
    batch: graphs a step.
    rate: highest learning rate of Adam.
    warm_up: share of the budget in which the rate rises from 0; it falls to 0 over the rest.
    schedule: "step": the rate changes at every step; "epoch": at every epoch, as in the paper,
        whose first epoch thus has the rate 0.
    clip: highest norm of one parameter tensor's gradient.
    every: graphs seen between checkpoints, each with a row of the log.
    seed: of weights, batches and all noise.
    weights: of the terms of the loss.

    Source: GPS++ report (arXiv 2212.02229), section on training; its batch is about 920 graphs,
    its seed 1984.
    """

    budget: GraphsSeen | Minutes
    batch: int = 128
    rate: float = 4e-4
    warm_up: float = 0.1
    schedule: Literal["step", "epoch"] = "step"
    clip: float = 5.0
    every: int = 20_000
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, least in (("batch", 1), ("every", 1)):
            if getattr(self, name) < least:
                raise InputError(
                    f"GraphTrainSettings.{name} is {getattr(self, name)}, expected at least {least}"
                )
        if not (0 < self.rate < 1 and 0 <= self.warm_up < 1 and self.clip > 0):
            raise InputError(
                f"GraphTrainSettings has rate {self.rate}, warm_up {self.warm_up}, clip "
                f"{self.clip}: expected 0 < rate < 1, 0 <= warm_up < 1, clip > 0"
            )
        if self.schedule not in ("step", "epoch"):
            raise InputError(f"schedule is '{self.schedule}', expected 'step' or 'epoch'")
        if self.schedule == "epoch" and isinstance(self.budget, Minutes):
            raise InputError(
                "the schedule 'epoch' goes with a budget of GraphsSeen, not of Minutes"
            )

    def rate_at(self, share: float) -> float:
        """Learning rate where a share of the budget, 0 to 1, is spent."""
        if share < self.warm_up:
            return self.rate * share / self.warm_up
        return self.rate * max(0.0, 1 - share) / (1 - self.warm_up)
