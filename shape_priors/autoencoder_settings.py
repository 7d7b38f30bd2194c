"""How a mesh auto-encoder is trained, and what its training reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from diffrender.errors import InputError
from diffrender.shape_priors.decoder import DecoderSettings

__all__ = ["AutoencoderSettings", "TrainingReport"]


@dataclass(frozen=True)
class AutoencoderSettings:
    """How an auto-encoder is trained.

    Attributes:
        latent_size: number D of latents.
        decoder: sizes and sparsity of the decoder; dynamic masks drop and grow (RigL).
        encoder_width: features of a point.
        points: drawn on a surface, anew at every step.
        steps: of AdamW for the decoder. Small sets want few: what the network adds to the
            components helps other shapes only at first.
        encoder_steps: for the encoder over points.
        batch: shapes a step, drawn with replacement.
        learning_rate, encoder_rate: the highest of either training; it rises over the first
            tenth and falls as a cosine.
        weight_decay: of the decoder's network, which corrects the components.
        mix: share of the shapes that are a blend of two, for small sets.
        mask_interval, drop_fraction: steps between changes of dynamic masks, and the share of
            blocks that the first one replaces; they end at three quarters.
        checkpoint_every: steps between checkpoints, where a file for them is named.

    Raises:
        InputError: a number is out of range.
    """

    latent_size: int = 8
    decoder: DecoderSettings = field(default_factory=lambda: DecoderSettings(width=128, hidden=2))
    encoder_width: int = 128
    points: int = 256
    steps: int = 400
    encoder_steps: int = 1500
    batch: int = 32
    learning_rate: float = 3e-4
    encoder_rate: float = 1e-3
    weight_decay: float = 0.0
    mix: float = 0.5
    mask_interval: int = 25
    drop_fraction: float = 0.3
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        counts = ("latent_size", "points", "steps", "encoder_steps", "batch", "mask_interval")
        for name in (*counts, "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        for name in ("learning_rate", "encoder_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected a positive number")
        if not self.weight_decay >= 0:
            raise InputError(f"weight_decay is {self.weight_decay}, expected 0 or more")
        for name in ("mix", "drop_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 to 1")


@dataclass(frozen=True)
class TrainingReport:
    """Where a training stands.

    Attributes:
        step, steps: done, and in all, of decoder and encoder together.
        loss: of the step; mean square error of a coordinate, square metres.
        rate: steps a second since this process began.
    """

    step: int
    steps: int
    loss: float
    rate: float

    @property
    def seconds_left(self) -> float:
        return (self.steps - self.step) / max(self.rate, 1e-9)
