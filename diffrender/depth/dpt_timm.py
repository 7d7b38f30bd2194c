"""The `dpt-timm` entry: a DPT head over a timm backbone, weights and configuration in one file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._networks import NetworkFile, shipped_file
from diffrender.blocksparse.config import read_sparsity, without_backend
from diffrender.depth.dpt import DptConfig, DptNet
from diffrender.depth.images import resize_map, to_input
from diffrender.depth.model import DepthCard, DepthModel, DepthPrediction

__all__ = ["CARD", "DptTimm", "load_dpt", "save_dpt", "shipped_weights"]

CARD = DepthCard(
    name="dpt-timm",
    kind="metric",
    summary="Small DPT over a timm backbone; shipped: ImageNet's features, then synthetic streets.",
    paper="Ranftl, Bochkovskiy, Koltun, Vision Transformers for Dense Prediction, ICCV 2021",
    code_licence="Apache-2.0 (timm: Apache-2.0)",
    weights_licence="Apache-2.0 for the shipped ones, trained here from an Apache-2.0 backbone",
)

_FILE = NetworkFile("diffrender.dpt", "dpt-timm weights", "save_dpt", limit=2 << 30)
_SHIPPED = "dpt_street.safetensors"


def shipped_weights() -> Path:
    """Path of the weights that come with the package.

    Raises:
        InputError: this build holds none.
    """
    absent = (
        "this build has no shipped depth weights yet; name a file with weights=FILE (made by "
        "`python -m diffrender.depth.train`), or use 'rt-monodepth', 'pydnet', 'onnx' or 'hub'"
    )
    return shipped_file("diffrender.depth", _SHIPPED, absent)


def save_dpt(net: DptNet, path: str | Path, *, half: bool = False) -> Path:
    """Write weights and configuration as safetensors; the file appears whole or not at all.

    Args:
        net: the network.
        path: file to write.
        half: store float16 (half the size; values differ by one part in 2000).
    """
    config = dataclasses.replace(net.config, sparsity=without_backend(net.config.sparsity))
    return _FILE.save(net, json.dumps(dataclasses.asdict(config)), path, half=half)


def load_dpt(path: str | Path) -> DptNet:
    """The network of a file written by `save_dpt`, in evaluation mode.

    Raises:
        InputError: no such file, not safetensors, no configuration in it, or tensors that do not
            fit the network that the configuration describes.
    """
    return _FILE.load(path, _config, DptNet)


class DptTimm(DepthModel):
    """The network on one device; images keep their aspect ratio, sides rounded to 32 pixels."""

    def __init__(self, weights: str | Path | None, device: torch.device) -> None:
        self.card = CARD
        self.device = device
        self.net = load_dpt(shipped_weights() if weights is None else weights).to(device)

    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:  # (H, W, 3)
        height, width = image.shape[:2]
        config = self.net.config
        size = _input_size((height, width), config.size)
        with torch.inference_mode():
            x = to_input(image, size, self.device)
            both = self.net(torch.cat([x, x.flip(-1)]))
            if config.output == "affine_inverse":
                values = resize_map((both[:1] + both[1:].flip(-1)) / 2, (height, width))
                return DepthPrediction(values.cpu().numpy(), "affine_inverse")
            # Inverse depth is what bilinear upsampling leaves undistorted on a plane.
            inverse = (both[:1].reciprocal() + both[1:].flip(-1).reciprocal()) / 2
            values = resize_map(inverse, (height, width)).reciprocal()
            if focal is None:
                return DepthPrediction(values.cpu().numpy(), "relative_depth")
            values = values * config.metres(focal * size[1] / width, camera_height)
        return DepthPrediction(values.cpu().numpy(), "metric")


def _input_size(image: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """Input of about as many pixels as in training, with the image's aspect ratio."""
    area = trained[0] * trained[1]
    height = (area * image[0] / image[1]) ** 0.5
    width = area / height
    return max(64, round(height / 32) * 32), max(64, round(width / 32) * 32)


def _config(values: dict[str, Any]) -> DptConfig:
    return DptConfig(**values | {"sparsity": read_sparsity(values.get("sparsity"))})
