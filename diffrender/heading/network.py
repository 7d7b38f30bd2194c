"""A network that sees which way a vehicle faces.

Out of a crop and its mask it reads a distribution over the direction in which the vehicle heads
relative to the ray on which it is seen: KITTI's alpha, 0 across to the right, pi/2 towards the
camera, -pi/2 away from it. The backbone is a classifier's, up to stride 16, and stays as it is; the
head alone is trained (Hinterstoisser, Lepetit, Wohlhart, Konolige, "On pre-trained image features
and synthetic images for deep learning", ECCV workshops 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffrender._backbones import classifier
from diffrender.errors import InputError

__all__ = ["HeadingConfig", "HeadingNet"]

_STRIDE = 16


@dataclass(frozen=True)
class HeadingConfig:
    """Everything that is needed to build the network again; saved beside the weights.

    Attributes:
        backbone: timm model of EfficientNet's kind: a stem and `blocks`.
        blocks: how many of its stages are used; the last must have stride 16.
        side: of the crop, pixels, a multiple of 32.
        bins: directions, evenly spaced from 0; a multiple of 4.
        channels, hidden: widths of the head.
        dropout: share of the head's values left out in training.
        mean, std: of the input, per channel of RGB in [0, 1].
        doubt: share of vehicles on which the picture misleads it, see `HeadingNet.odds`.
    """

    backbone: str = "tf_efficientnet_lite0"
    blocks: int = 5
    side: int = 128
    bins: int = 16
    channels: int = 48
    hidden: int = 64
    dropout: float = 0.3
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    doubt: float = 0.1

    def __post_init__(self) -> None:
        checks = {
            "backbone": isinstance(self.backbone, str),
            "blocks": 1 <= self.blocks <= 16,
            "side": 32 <= self.side <= 512 and self.side % 32 == 0,
            "bins": 4 <= self.bins <= 360 and self.bins % 4 == 0,
            "channels": 1 <= self.channels <= 1024,
            "hidden": 1 <= self.hidden <= 4096,
            "dropout": 0 <= self.dropout < 1,
            "mean": len(self.mean) == 3 and all(math.isfinite(v) for v in self.mean),
            "std": len(self.std) == 3 and all(math.isfinite(v) and v > 0 for v in self.std),
            "doubt": 0 < self.doubt <= 1,
        }
        for name, fits in checks.items():
            if not fits:
                raise InputError(
                    f"HeadingConfig.{name} is {getattr(self, name)!r}; see the class for what it "
                    "may be"
                )


class HeadingNet(nn.Module):
    """(B, 3, S, S) RGB in [0, 1] and (B, S, S) masks to (B, bins) log probabilities of directions.

    Raises:
        InputError: timm does not know the backbone, it is not of EfficientNet's kind, or the last
            of its blocks has another stride than 16.
    """

    mean: Tensor
    std: Tensor
    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: HeadingConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, width = _trunk(config)
        cells = config.side // _STRIDE // 2
        self.look = nn.Conv2d(width + 1, config.channels, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(config.channels, config.channels, 1)
        self.gather = nn.Linear(config.channels * cells * cells, config.hidden)
        self.tell = nn.Linear(config.hidden, config.bins)
        self.drop = nn.Dropout(config.dropout)
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("feature_mean", torch.zeros(1, width, 1, 1))
        self.register_buffer("feature_std", torch.ones(1, width, 1, 1))

    def train(self, mode: bool = True) -> HeadingNet:
        """Training of what follows the backbone, which stays as it is, its statistics too."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:  # (B, 3, S, S), (B, S, S)
        return self.head(self.features(image), cells_of(mask))

    def features(self, image: Tensor) -> Tensor:  # (B, 3, S, S)
        """What the frozen backbone makes of the crops, (B, C, S/16, S/16)."""
        with torch.no_grad():
            found: Tensor = self.backbone((image - self.mean) / self.std)
        return found

    def head(self, features: Tensor, cells: Tensor) -> Tensor:  # (B, C, h, w), (B, h, w)
        """Log probabilities (B, bins) out of features and the share of each cell that is masked."""
        usual = (features - self.feature_mean) / self.feature_std
        x = torch.cat([usual, 2 * cells[:, None] - 1], dim=1)
        x = functional.relu(self.mix(functional.relu(self.look(x))))
        x = functional.relu(self.gather(self.drop(x.flatten(1))))
        told: Tensor = self.tell(self.drop(x))
        return told.log_softmax(dim=1)

    def read(self, image: Tensor, mask: Tensor) -> Tensor:  # (B, 3, S, S), (B, S, S)
        """Log probabilities (B, bins), those of the crop and of its mirror image averaged."""
        direct = self(image, mask)
        mirrored = self(image.flip(-1), mask.flip(-1))
        bins = self.config.bins
        back = (bins // 2 - torch.arange(bins, device=image.device)) % bins  # pi - alpha
        return ((direct + mirrored[:, back]) / 2).log_softmax(dim=1)

    def odds(self, told: Tensor, alpha: Tensor) -> Tensor:  # (N, bins), (N,)
        """Probability (N,) of each direction against the one turned by half.

        With the share `doubt` the picture misleads, and both are as likely: so none is ever
        less than half of that.
        """
        this, other = _at(told.exp(), alpha), _at(told.exp(), alpha + math.pi)
        seen = (this + 1e-6) / (this + other + 2e-6)
        return (1 - self.config.doubt) * seen + self.config.doubt / 2


def cells_of(mask: Tensor) -> Tensor:  # (B, S, S)
    """Share of every cell of the features that is masked, (B, S/16, S/16)."""
    return functional.avg_pool2d(mask[:, None], _STRIDE)[:, 0]


def _at(values: Tensor, alpha: Tensor) -> Tensor:  # (N, bins), (N,)
    """Values at directions between the bins, (N,)."""
    bins = values.shape[1]
    place = (alpha / (2 * math.pi) * bins) % bins
    low = place.floor()
    share = place - low
    first = low.long() % bins
    second = (first + 1) % bins
    rows = torch.arange(len(values), device=values.device)
    return values[rows, first] * (1 - share) + values[rows, second] * share


def _trunk(config: HeadingConfig) -> tuple[nn.Module, int]:
    """The backbone up to its last block, frozen, and its channels."""
    whole: Any = classifier(config.backbone)
    parts = ("conv_stem", "bn1", "blocks")
    if not all(hasattr(whole, name) for name in parts) or len(whole.blocks) < config.blocks:
        raise InputError(
            f"the backbone '{config.backbone}' has no stem and {config.blocks} blocks as "
            "EfficientNet has; choose another, such as tf_efficientnet_lite0"
        )
    trunk = nn.Sequential(whole.conv_stem, whole.bn1, *whole.blocks[: config.blocks])
    trunk.requires_grad_(False).eval()
    with torch.no_grad():
        shape = trunk(torch.zeros(1, 3, config.side, config.side)).shape
    if shape[-1] * _STRIDE != config.side:
        raise InputError(
            f"block {config.blocks} of '{config.backbone}' has stride {config.side // shape[-1]}, "
            f"expected {_STRIDE}"
        )
    return trunk, int(shape[1])
