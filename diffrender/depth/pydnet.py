"""mobilePydnet: a pyramid network for phones, depth without scale.

Aleotti, Zaccaroni, Bartolomei, Poggi, Tosi, Mattoccia, "Real-time single image depth perception
in the wild with handheld devices", Sensors 2021 (arXiv:2006.05724); Poggi et al., IROS 2018.
Weights from a file the user names; trained indoors, for research only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffrender.depth.images import resize_map, to_input
from diffrender.depth.model import DepthCard, DepthModel, DepthPrediction
from diffrender.depth.weights import load_npz_weights

__all__ = ["CARD", "Pydnet", "pydnet_forward"]

CARD = DepthCard(
    name="pydnet",
    kind="relative_depth",
    summary="mobilePydnet for phones, trained indoors: depth without scale, noisy on streets.",
    paper="Aleotti et al., Real-time single image depth perception in the wild, Sensors 2021",
    code_licence="as published by its authors; the network is written anew here (Apache-2.0)",
    weights_licence="research only",
)

_SIZE = (640, 1280)
_ENCODER = (16, 32, 64, 96, 128, 192)
_DISPARITY = (96, 64, 32, 8)


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, inputs: int, outputs: int, active: bool = True) -> None:
        shapes[f"{name}/weights"] = (outputs, inputs, 3, 3)
        shapes[f"{name}/Conv2D_bias"] = (outputs,)
        if active:
            shapes[f"{name}/mul/x"] = ()

    for level, width in enumerate(_ENCODER, start=1):
        conv(f"PSD/encoder/conv{level}a", 3 if level == 1 else _ENCODER[level - 2], width)
        conv(f"PSD/encoder/conv{level}b", width, width)
        below = 0 if level == len(_ENCODER) else _DISPARITY[-1]
        widths = [width + below, *_DISPARITY]
        for step in range(4):
            name = f"PSD/decoder/L{level}/estimator/disp-{step + 3}"
            conv(name, widths[step], widths[step + 1], active=step < 3)
        if level <= 3:
            conv(f"PSD/decoder/L{level}/estimator", _DISPARITY[-1], 1)
        if level >= 2:
            name = f"PSD/decoder/L{level}/upsampler"
            shapes[f"{name}/weights_transposed"] = (_DISPARITY[-1], _DISPARITY[-1], 2, 2)
            shapes[f"{name}/biases"] = (_DISPARITY[-1],)
            shapes[f"{name}/mul/x"] = ()
    return shapes


def pydnet_forward(weights: dict[str, Tensor], image: Tensor) -> Tensor:  # (B, 3, H, W)
    """(B, 3, H, W) RGB in [0, 1], sides multiples of 64, to (B, 1, H/2, W/2), larger is farther."""

    def active(x: Tensor, name: str) -> Tensor:
        return torch.maximum(x, weights[f"{name}/mul/x"] * x)

    def conv(x: Tensor, name: str) -> Tensor:
        return functional.conv2d(
            x, weights[f"{name}/weights"], weights[f"{name}/Conv2D_bias"], padding=1
        )

    def halve(x: Tensor, name: str) -> Tensor:
        # TensorFlow's "same" padding of an even side under stride 2: below and right only.
        x = functional.pad(x, (0, 1, 0, 1))
        kernel, bias = weights[f"{name}/weights"], weights[f"{name}/Conv2D_bias"]
        return functional.conv2d(x, kernel, bias, stride=2)

    features = []
    x = image
    for level in range(1, 7):
        name = f"PSD/encoder/conv{level}"
        x = active(halve(x, f"{name}a"), f"{name}a")
        x = active(conv(x, f"{name}b"), f"{name}b")
        features.append(x)

    for level in range(6, 0, -1):
        name = f"PSD/decoder/L{level}"
        x = features[-1] if level == 6 else torch.cat([features[level - 1], x], dim=1)
        for step in range(3, 7):
            x = conv(x, f"{name}/estimator/disp-{step}")
            x = active(x, f"{name}/estimator/disp-{step}") if step < 6 else x
        if level > 1:
            up = f"{name}/upsampler"
            kernel, bias = weights[f"{up}/weights_transposed"], weights[f"{up}/biases"]
            x = active(functional.conv_transpose2d(x, kernel, bias, stride=2), up)
    return active(conv(x, "PSD/decoder/L1/estimator"), "PSD/decoder/L1/estimator")


class Pydnet(DepthModel):
    """The network with its weights, run at 640 x 1280."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        self.card = CARD
        self.device = device
        tensors = load_npz_weights(weights, _shapes())
        self.weights = {name: tensor.to(device) for name, tensor in tensors.items()}

    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:  # (H, W, 3)
        x = to_input(image, _SIZE, self.device, "bicubic")
        with torch.inference_mode():
            height, width = image.shape[:2]
            depth = resize_map(pydnet_forward(self.weights, x), (height, width))
            # The last activation leaks below zero where the net saw nothing: keep depth positive.
            depth = depth.clamp_min(1e-3)
        return DepthPrediction(depth.cpu().numpy(), "relative_depth")
