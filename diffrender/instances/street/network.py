"""A network that finds cars in a picture, each with its pixels.

Cheng et al., "Panoptic-DeepLab: A Simple, Strong, and Fast Baseline for Bottom-Up Panoptic
Segmentation", CVPR 2020, sections 3.2 and 3.3: every pixel says whether it is of a vehicle and
where that vehicle's centre is, a heat map says where centres are; `grouping` puts the two together.
One decoder serves all outputs here, and the heat map's peaks are as wide as their vehicle (Zhou,
Wang, Krähenbühl, "Objects as Points", 2019, section 3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffrender._dense import DenseNet, DenseShape, feature_backbone
from diffrender.errors import InputError

__all__ = ["STRIDE", "StreetConfig", "StreetMaps", "StreetNet"]

STRIDE = 2  # pixels of the input per pixel of the maps
_REACH = 32.0  # pixels of the input that one unit of the raw offsets is


@dataclass(frozen=True)
class StreetConfig:
    """Everything that is needed to build the network again; saved beside the weights.

    Attributes:
        backbone: timm model with feature maps.
        channels: width of the fused feature maps.
        width: pixels to which a picture's width is brought before the network looks at it.
        mean, std: of the input, per channel of RGB in [0, 1].
    """

    backbone: str = "tf_efficientnet_lite0"
    channels: int = 48
    width: int = 1248
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        checks = {
            "backbone": isinstance(self.backbone, str),
            "channels": 4 <= self.channels <= 1024,
            "width": 64 <= self.width <= 4096 and self.width % 32 == 0,
            "mean": len(self.mean) == 3 and all(math.isfinite(v) for v in self.mean),
            "std": len(self.std) == 3 and all(math.isfinite(v) and v > 0 for v in self.std),
        }
        for name, fits in checks.items():
            if not fits:
                raise InputError(
                    f"StreetConfig.{name} is {getattr(self, name)!r}; see the class for what it "
                    "may be"
                )


@dataclass(frozen=True)
class StreetMaps:
    """What the network says of every second pixel.

    Attributes:
        vehicle: (B, h, w) logit that a vehicle is seen there.
        centre: (B, h, w) logit that a vehicle's visible part is centred there.
        offset: (B, 2, h, w) from there to the centre of its vehicle, (x, y), pixels of the input.
        van: (B, h, w) logit that its vehicle is a van, not a car.
    """

    vehicle: Tensor
    centre: Tensor
    offset: Tensor
    van: Tensor


class StreetNet(DenseNet):
    """(B, 3, H, W) RGB in [0, 1], sides multiples of 32, to maps of (H/2, W/2).

    Differentiable to the parameters and the image.

    Raises:
        InputError: timm does not know the backbone, or it has no feature maps.
    """

    def __init__(self, config: StreetConfig) -> None:
        size = (64, 96)  # a convolutional network takes any other
        shape = DenseShape(
            config.backbone, size, config.channels, True, 5, config.mean, config.std
        )  # fmt: skip
        super().__init__(feature_backbone(config.backbone, size), shape)
        self.config = config
        last = self.readout[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        with torch.no_grad():  # few pixels are of vehicles, next to none their centres
            last.bias.copy_(torch.tensor([-2.0, -4.6, 0.0, 0.0, -2.0]))

    def forward(self, image: Tensor) -> StreetMaps:  # (B, 3, H, W)
        raw = self.raw(image)
        return StreetMaps(raw[:, 0], raw[:, 1], raw[:, 2:4] * _REACH, raw[:, 4])
