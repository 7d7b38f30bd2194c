"""How a predictor is trained, and by how many processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from diffrender._seeds import check_seed
from diffrender.errors import InputError
from diffrender.predict.hindsight import HindsightSettings

__all__ = ["Group", "TrainSettings"]


@dataclass(frozen=True)
class TrainSettings:
    """Attributes:
    steps: gradient steps in all; the learning rate follows them, so a run cannot be lengthened.
    batch: objects a step, over all processes.
    rate: of AdamW after its warm-up; it ends at 1 % of it along a half cosine.
    decay: weight decay of matrices and convolutions.
    average: share of the running mean of the weights that a step keeps; the mean is what is saved.
    every: steps between checkpoints, each with a row of the log.
    check: objects set aside to check on, at least, but a quarter of all at most; whole shards of
        samples, so whole frames.
    seed: of weights, batches and augmentation.
    hindsight: of the loss.
    """

    steps: int = 4000
    batch: int = 32
    rate: float = 1e-3
    decay: float = 1e-3
    average: float = 0.998
    every: int = 200
    check: int = 128
    seed: int = 0
    hindsight: HindsightSettings = field(default_factory=HindsightSettings)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, least in (("steps", 1), ("batch", 2), ("every", 1), ("check", 1)):
            if getattr(self, name) < least:
                raise InputError(
                    f"TrainSettings.{name} is {getattr(self, name)}, expected at least {least}"
                )
        if not 0 < self.rate < 1 or not 0 <= self.decay < 1 or not 0 <= self.average < 1:
            raise InputError(
                f"TrainSettings has rate {self.rate}, decay {self.decay}, average {self.average}: "
                "expected 0 < rate < 1, 0 <= decay < 1, 0 <= average < 1"
            )

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        warm = max(1, min(100, self.steps // 10))
        if step < warm:
            return self.rate * (step + 1) / warm
        along = (step - warm) / max(1, self.steps - warm)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


@dataclass(frozen=True)
class Group:
    """This process among those that train together, and where it computes."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"
