"""RT-MonoDepth-S: a self-supervised network whose stereo baseline gives metres.

Feng, Chen, Yang, Zhu, "Real-time Monocular Depth Estimation on Embedded Systems", ICIP 2024
(arXiv:2308.10569). Weights: `ms_640_192`, 1.2 M parameters, from a file the user names.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from diffrender.depth.images import resize_map, to_input
from diffrender.depth.model import DepthCard, DepthModel, DepthPrediction
from diffrender.depth.weights import load_npz_weights

__all__ = ["CARD", "RtMonoDepth", "RtMonoDepthNet"]

CARD = DepthCard(
    name="rt-monodepth",
    kind="metric",
    summary="RT-MonoDepth-S trained on KITTI stereo and video; metres for KITTI's camera.",
    paper="Feng et al., Real-time Monocular Depth Estimation on Embedded Systems, ICIP 2024",
    code_licence="as published by its authors; the network is written anew here (Apache-2.0)",
    weights_licence="as published by its authors; trained on KITTI (CC BY-NC-SA 3.0)",
)

_SIZE = (192, 640)
_METRES = 5.4  # baseline of 0.1 in training against KITTI's 0.54 m


class _Padded(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.elu(self.conv(functional.pad(x, (1, 1, 1, 1), mode="reflect")))


class _Disparity(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(inputs, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv3(x))


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        widths = [64, 64, 128, 192]
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(b, b, 3, padding=1),
                nn.LeakyReLU(0.1),
            )
            for a, b in itertools.pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv1((x - 0.45) / 0.225))
        for stage in self.convs:
            x = stage(x)
        return x


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = [192, 96, 64, 32, 16]
        stages: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            stages += [_Padded(a, b), _Padded(b, b)]
        # Items 9 and 10 are the coarser scales: only training reads them, but the file has them.
        self.decoder = nn.ModuleList([*stages, _Disparity(16), _Disparity(32), _Disparity(64)])

    def forward(self, x: Tensor) -> Tensor:
        for stage in range(4):
            x = self.decoder[2 * stage](x)
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.decoder[2 * stage + 1](x)
        finest: Tensor = self.decoder[8](x)
        return finest


class RtMonoDepthNet(nn.Module):
    """(B, 3, 192, 640) RGB in [0, 1] to (B, 1, 192, 640) disparity in [0.01, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _Encoder()
        self.decoder = _Decoder()

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W)
        sigma: Tensor = self.decoder(self.encoder(x))
        return 0.01 + 9.99 * sigma


class RtMonoDepth(DepthModel):
    """The network with its weights; disparities of the image and its mirror are averaged."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        self.card = CARD
        self.device = device
        net = RtMonoDepthNet()
        shapes = {_file_name(k): tuple(v.shape) for k, v in net.state_dict().items()}
        tensors = load_npz_weights(weights, shapes)
        net.load_state_dict({k: tensors[_file_name(k)] for k in net.state_dict()})
        self.net = net.to(device).eval().requires_grad_(False)

    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:  # (H, W, 3)
        x = to_input(image, _SIZE, self.device, "lanczos")
        with torch.inference_mode():
            both = self.net(torch.cat([x, x.flip(-1)]))
            disparity = (both[:1] + both[1:].flip(-1)) / 2
            # Disparity, not depth, is what bilinear upsampling leaves undistorted.
            height, width = image.shape[:2]
            depth = _METRES / resize_map(disparity, (height, width))
        return DepthPrediction(depth.cpu().numpy(), "metric")


def _file_name(key: str) -> str:
    return key.replace(".", "/", 1)  # "encoder.conv1.weight" is "encoder/conv1.weight" in the file
