"""What every depth network is: a card that says where it comes from, and `predict`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import torch

from diffrender._devices import pick_device as pick_device
from diffrender.errors import InputError

__all__ = [
    "DepthCard",
    "DepthKind",
    "DepthModel",
    "DepthPrediction",
    "check_image",
    "check_kind",
    "pick_device",
]

DepthKind = Literal["metric", "relative_depth", "affine_inverse"]


@dataclass(frozen=True)
class DepthPrediction:
    """What a network saw, before any alignment.

    Attributes:
        values: (H, W) float32 at the size of the image.
        kind: what the values are of the depth z in metres: "metric": z itself;
            "relative_depth": z = s * values with an unknown s > 0; "affine_inverse":
            1/z = s * values + t with unknown s > 0 and t (larger is nearer).
    """

    values: np.ndarray  # (H, W)
    kind: DepthKind

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype != np.float32:
            raise InputError(
                f"DepthPrediction.values is {self.values.dtype} of shape {self.values.shape}, "
                "expected (H, W) float32"
            )
        check_kind(self.kind)


@dataclass(frozen=True)
class DepthCard:
    """Where a network comes from and under which terms it may be used.

    Attributes:
        name: how `create_depth` calls it.
        kind: kind of its output, or "as stated" where the file or its settings decide.
        summary: one sentence.
        paper: authors, title, venue.
        code_licence: of the architecture as published; the code here is Apache-2.0.
        weights_licence: of the weights that it is usually run with.
        extra: extra of this package that it needs, or "".
        needs: what `predict` is to be given for output of that kind; without a focal length where
            it needs one, metric depth is relative.
    """

    name: str
    kind: DepthKind | Literal["as stated"]
    summary: str
    paper: str
    code_licence: str
    weights_licence: str
    extra: str = ""
    needs: Literal["image", "image and focal"] = "image"


class DepthModel(ABC):
    """A depth network, ready to run on one device.

    Attributes:
        card: origin and licences.
        device: where it runs; the values are the same within rounding on every device.
    """

    card: DepthCard
    device: torch.device

    def predict(
        self, image: np.ndarray, focal: float | None = None, camera_height: float | None = None
    ) -> DepthPrediction:  # (H, W, 3)
        """Depth of every pixel of one image.

        Args:
            image: (H, W, 3) uint8 RGB.
            focal: horizontal focal length in pixels of this image. Only networks whose depth
                is made for any camera read it (`dpt-timm`: without it the scale is unknown, and
                the kind is "relative_depth" in place of "metric").
            camera_height: of the camera above the road, metres; None is KITTI's 1.65. Read by
                networks that tell depth in heights of the camera (`dpt-timm`).

        Returns:
            (H, W) float32 values at the size of the image, and their kind. Not differentiable.

        Raises:
            InputError: the image, the focal length or the height is not as above, or the
                network's output is not finite.
        """
        check_image(image)
        if focal is not None and not (math.isfinite(focal) and focal > 0):
            raise InputError(f"focal is {focal}, expected a positive number of pixels or None")
        if camera_height is not None and not (math.isfinite(camera_height) and camera_height > 0):
            raise InputError(
                f"camera_height is {camera_height}, expected metres above the road or None"
            )
        prediction = self._predict(image, focal, camera_height)
        if prediction.values.shape != image.shape[:2]:
            raise InputError(
                f"the network '{self.card.name}' gave a map of shape {prediction.values.shape} "
                f"for an image of shape {image.shape}, expected one value a pixel"
            )
        if not np.isfinite(prediction.values).all():
            raise InputError(
                f"the network '{self.card.name}' gave NaN or infinite values for this image; "
                "its weights or its settings (mean, std, size) do not fit"
            )
        return prediction

    @abstractmethod
    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:  # (H, W, 3)
        """The network's own part; the image has been checked."""


def check_image(image: np.ndarray) -> None:
    """Raise InputError unless `image` is (H, W, 3) uint8 with at least 8 pixels a side."""
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or min(image.shape[:2]) < 8
    ):
        what = getattr(image, "dtype", type(image).__name__)
        raise InputError(
            f"image is {what} of shape {getattr(image, 'shape', ())}, expected (H, W, 3) uint8 "
            "RGB with at least 8 pixels a side"
        )


def check_kind(kind: str) -> DepthKind:
    """The kind itself, or InputError with the list of kinds."""
    if kind not in get_args(DepthKind):
        raise InputError(
            f"depth kind is {kind!r}, expected one of {', '.join(get_args(DepthKind))}"
        )
    return cast(DepthKind, kind)
