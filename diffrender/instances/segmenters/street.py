"""The `street` entry: the small network that comes with the package and finds cars and vans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from diffrender.instances.boxes import Box
from diffrender.instances.record import Instance, Rejected, box_of_mask
from diffrender.instances.segmenters.base import (
    Detection,
    Segmenter,
    SegmenterCard,
    SegmenterSettings,
    to_instances,
)

__all__ = ["CARD", "StreetSegmenter"]

CARD = SegmenterCard(
    name="street",
    summary="Cars and vans in pictures of streets, by a network of 3 M parameters.",
    paper="Cheng et al., Panoptic-DeepLab, CVPR 2020; trained here, on synthetic streets alone",
    code_licence="this package: Apache-2.0",
    weights_licence="shipped: Apache-2.0 (its backbone began as Google's EfficientNet-Lite0, "
    "Apache-2.0)",
)


class StreetSegmenter(Segmenter):
    """The shipped network, or one that `diffrender.instances.street.train` wrote."""

    def __init__(
        self,
        weights: str | Path | None,
        device: torch.device,
        settings: SegmenterSettings | None,
    ) -> None:
        # timm is slow to import, and no other segmenter needs it.
        from diffrender.instances.street import load_street, shipped_street

        self.card = CARD
        self.settings = settings or SegmenterSettings()
        net = shipped_street() if weights is None else load_street(weights)
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _segment(
        self,
        image: np.ndarray,  # (H, W, 3)
        boxes: list[Box],
        depth: np.ndarray | None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        from diffrender.instances.street import find_vehicles

        given = self.settings
        found = find_vehicles(self.net, image, given.mask)
        sure = [one for one in found if one.score >= given.score and one.mask.any()]
        detections = [
            Detection(box_of_mask(one.mask), "Van" if one.van else "Car", one.score, one.mask)
            for one in sure[: given.most]
        ]
        return to_instances(detections, (image.shape[0], image.shape[1]))
