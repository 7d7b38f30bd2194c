"""The `dpt-timm` entry: a DPT head over a timm backbone, weights and configuration in one file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrender._networks import NetworkFile, shipped_file
from diffrender.blocksparse.config import read_sparsity, without_backend
from diffrender.depth.dpt import DptConfig, DptNet
from diffrender.depth.images import resize_map, to_input
from diffrender.depth.model import DepthCard, DepthModel, DepthPrediction
from diffrender.errors import InputError

__all__ = ["CARD", "DptSettings", "DptTimm", "load_dpt", "save_dpt", "shipped_weights"]

CARD = DepthCard(
    name="dpt-timm",
    kind="metric",
    summary="Small DPT over a timm backbone; shipped: ImageNet's features, then synthetic streets.",
    paper="Ranftl, Bochkovskiy, Koltun, Vision Transformers for Dense Prediction, ICCV 2021",
    code_licence="Apache-2.0 (timm: Apache-2.0)",
    weights_licence="Apache-2.0 for the shipped ones, trained here from an Apache-2.0 backbone",
    needs="image and focal",
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


@dataclass(frozen=True)
class DptSettings:
    """How a picture is looked at.

    Attributes:
        close_views: share of the picture's width and height that closer views take, three beside
            one another. Far metric depth is the mean of theirs and of the whole picture's, in log:
            far vehicles gain by it, for four times the work. None: the whole picture alone.
    """

    close_views: float | None = None

    def __post_init__(self) -> None:
        if self.close_views is not None and not 0.1 <= self.close_views < 1:
            raise InputError(
                f"DptSettings.close_views is {self.close_views}, expected a share from 0.1 to "
                "below 1, or None"
            )


class DptTimm(DepthModel):
    """The network on one device; images keep their aspect ratio, sides rounded to 32 pixels.

    Raises:
        InputError: closer views are asked of a network whose depth is not metric.
    """

    def __init__(
        self,
        weights: str | Path | None,
        device: torch.device,
        settings: DptSettings | None = None,
    ) -> None:
        self.card = CARD
        self.device = device
        self.settings = settings or DptSettings()
        self.net = load_dpt(shipped_weights() if weights is None else weights).to(device)
        if self.settings.close_views is not None and self.net.config.output != "metric":
            raise InputError(
                f"close_views joins metric depths, and this network gives {self.net.config.output}"
            )

    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:  # (H, W, 3)
        height, width = image.shape[:2]
        config = self.net.config
        with torch.inference_mode():
            if config.output == "affine_inverse":
                values = resize_map(self._look(image, camera_height), (height, width))
                return DepthPrediction(values.cpu().numpy(), "affine_inverse")
            values = self._depth(image, camera_height)
            if self.settings.close_views is not None:
                values = self._look_closer(image, values, camera_height)
            if focal is None:
                return DepthPrediction(values.cpu().numpy(), "relative_depth")
            focal_of_input = focal * _input_size((height, width), config.size)[1] / width
            values = values * config.metres(focal_of_input, camera_height)
        return DepthPrediction(values.cpu().numpy(), "metric")

    def _look(self, image: np.ndarray, camera_height: float | None) -> Tensor:  # (H, W, 3)
        """Mean over the picture and its mirror image of what may be averaged, (1, 1, h, w)."""
        config = self.net.config
        x = to_input(image, _input_size(image.shape[:2], config.size), self.device)
        height = None if camera_height is None else x.new_full((2,), camera_height)
        seen = self.net(torch.cat([x, x.flip(-1)]), height)
        if config.output == "metric":
            seen = seen.reciprocal()
        return (seen[:1] + seen[1:].flip(-1)) / 2

    def _depth(self, image: np.ndarray, camera_height: float | None) -> Tensor:  # (H, W, 3)
        """(H, W) depth as the reference camera would see it."""
        # Inverse depth is what bilinear upsampling leaves undistorted on a plane.
        return resize_map(self._look(image, camera_height), image.shape[:2]).reciprocal()

    def _look_closer(
        self, image: np.ndarray, whole: Tensor, camera_height: float | None
    ) -> Tensor:  # (H, W, 3), (H, W)
        """(H, W) depth of the whole picture, joined with closer views' where it is far."""
        total, weight = whole.log(), torch.ones_like(whole)
        assert self.settings.close_views is not None
        for rows, columns in _close_views(image.shape[:2], self.settings.close_views):
            view = np.ascontiguousarray(image[rows, columns])
            longer = self._pixels_of_input(view) / self._pixels_of_input(image)  # focal length
            trust = _fading_to_the_rim(whole[rows, columns]) * _far(whole[rows, columns])
            total[rows, columns] += trust * (longer * self._depth(view, camera_height)).log()
            weight[rows, columns] += trust
        return (total / weight).exp()

    def _pixels_of_input(self, image: np.ndarray) -> float:  # (H, W, 3)
        """Columns of the network's input for one of the picture."""
        size = image.shape[:2]
        return _input_size(size, self.net.config.size)[1] / size[1]


def _close_views(size: tuple[int, int], share: float) -> list[tuple[slice, slice]]:
    """Rows and columns of three views beside one another in the middle of the height."""
    height, width = (max(8, round(side * share)) for side in size)
    top, room = (size[0] - height) // 2, size[1] - width
    rows = slice(top, top + height)
    return [(rows, slice(left, left + width)) for left in (0, room // 2, room)]


def _far(depth: Tensor) -> Tensor:  # (H, W)
    """0 up to 10 m and 1 from 20 m, as the reference camera sees it."""
    # What is near is large in the whole picture, which shows more of what surrounds it.
    return (depth / 10 - 1).clamp(0, 1)


def _fading_to_the_rim(view: Tensor) -> Tensor:  # (H, W)
    """Weights of a view's pixels: 1, and less within a tenth of its height from its rim."""
    ramps = []
    for side in view.shape:
        place = torch.arange(side, device=view.device) + 1.0
        ramps.append((torch.minimum(place, place.flip(0)) * 10 / len(view)).clamp(max=1))
    return ramps[0][:, None] * ramps[1]


def _input_size(image: tuple[int, int], trained: tuple[int, int]) -> tuple[int, int]:
    """Input of about as many pixels as in training, with the image's aspect ratio."""
    area = trained[0] * trained[1]
    height = (area * image[0] / image[1]) ** 0.5
    width = area / height
    return max(64, round(height / 32) * 32), max(64, round(width / 32) * 32)


def _config(values: dict[str, Any]) -> DptConfig:
    return DptConfig(**values | {"sparsity": read_sparsity(values.get("sparsity"))})
