"""A small U-Net whose weights are one vector, so that it can be a parameter like any other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, relu

__all__ = ["UNet"]


@dataclass(frozen=True)
class UNet:
    """Three levels, each half the size of the last; convolutions of 3 x 3.

    Attributes:
        channels: of the input.
        width: channels of the first level; the others have twice and twice as many.
    """

    channels: int
    width: int = 12

    def _shapes(self) -> list[tuple[int, int]]:
        """Output and input channels of the six convolutions, in the order of their weights."""
        w = self.width
        return [(w, self.channels), (2 * w, w), (2 * w, 2 * w), (w, 4 * w), (w, 2 * w), (3, w)]

    def count(self) -> int:
        """How many weights there are."""
        return sum(out * (9 * fan + 1) for out, fan in self._shapes())

    def initial(self, generator: torch.Generator) -> Tensor:
        """Random weights (count,), for ReLUs; those of the last convolution are small."""
        parts = []
        for number, (out, fan) in enumerate(self._shapes()):
            size = 0.1 if number == 5 else 1.0
            drawn = torch.randn(out * 9 * fan, generator=generator, device=generator.device)
            parts += [size * (2 / (9 * fan)) ** 0.5 * drawn, drawn.new_zeros(out)]
        return torch.cat(parts)

    def decode(self, weights: Tensor, maps: Tensor) -> Tensor:  # (count,), (H, W, channels)
        """(H, W, channels) -> (H, W, 3). Differentiable to both."""
        layers = []
        start = 0
        for out, fan in self._shapes():
            end = start + out * 9 * fan
            kernel = weights[start:end].view(out, fan, 3, 3)
            layers.append((kernel, weights[end : end + out]))
            start = end + out
        x = maps.movedim(-1, 0)[None]
        fine = relu(conv2d(x, *layers[0], padding=1))
        middle = relu(conv2d(_half(fine), *layers[1], padding=1))
        coarse = relu(conv2d(_half(middle), *layers[2], padding=1))
        middle = relu(conv2d(_beside(coarse, middle), *layers[3], padding=1))
        fine = relu(conv2d(_beside(middle, fine), *layers[4], padding=1))
        return conv2d(fine, *layers[5], padding=1)[0].movedim(0, -1)


def _half(x: Tensor) -> Tensor:
    return avg_pool2d(x, 2, ceil_mode=True)


def _beside(low: Tensor, high: Tensor) -> Tensor:
    grown = interpolate(low, size=high.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([grown, high], dim=1)
