"""What a predictor is made of: everything that is needed to build the network again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError

__all__ = ["PredictorConfig"]


@dataclass(frozen=True)
class PredictorConfig:
    """Shape of the network; saved beside the weights.

    Attributes:
        backbone: timm model with feature maps, built without pretrained weights.
        size: side of an object's window, pixels of the backbone's input.
        grid: cells per side that RoIAlign pools each feature map to.
        channels: of each pooled feature map.
        hidden: width of the heads' two hidden layers.
        hypotheses: yaw bins over a full turn, each with a head of its own.
        latent_size: of the shape prior.
        parts: of the shape prior, each with a predicted colour.
        prior: digest of the shape prior that gives latents their meaning (`ShapePrior.digest`);
            the default is the shipped "car", also of files that do not say it.
        sparsity: of the heads' linear layers, None for dense ones.
    """

    backbone: str = "resnet10t"
    size: int = 48
    grid: int = 4
    channels: int = 32
    hidden: int = 256
    hypotheses: int = 8
    latent_size: int = 8
    parts: int = 8
    prior: str = "70a63ac127f0d122"
    sparsity: SparsityConfig | None = None

    def __post_init__(self) -> None:
        checks = {
            "backbone": re.fullmatch(r"[\w.-]+", str(self.backbone)) is not None,
            "size": _whole(self.size, 32, 512) and self.size % 16 == 0,
            "grid": _whole(self.grid, 1, 16),
            "channels": _whole(self.channels, 4, 512),
            "hidden": _whole(self.hidden, 16, 4096),
            "hypotheses": _whole(self.hypotheses, 1, 64),
            "latent_size": _whole(self.latent_size, 1, 256),
            "parts": _whole(self.parts, 1, 256),
            "prior": re.fullmatch(r"[0-9a-f]{16}", str(self.prior)) is not None,
            "sparsity": self.sparsity is None or isinstance(self.sparsity, SparsityConfig),
        }
        for name, fits in checks.items():
            if not fits:
                raise InputError(
                    f"PredictorConfig.{name} is {getattr(self, name)!r}; see the class for what "
                    "it may be (size: a multiple of 16 from 32 to 512)"
                )


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
