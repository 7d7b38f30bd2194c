"""The `grabcut` entry: masks from 2D boxes without a network."""

from __future__ import annotations

import numpy as np

from diffrender.instances.boxes import Box
from diffrender.instances.grabcut import masks_from_boxes
from diffrender.instances.record import Instance, Rejected
from diffrender.instances.segmenters.base import Segmenter, SegmenterCard

__all__ = ["CARD", "GrabCut"]

CARD = SegmenterCard(
    name="grabcut",
    summary="A class's outline in each 2D box, refined by colour; needs no weights.",
    paper="Rother, Kolmogorov, Blake, GrabCut, SIGGRAPH 2004",
    code_licence="Apache-2.0 (OpenCV: Apache-2.0)",
    weights_licence="no weights",
    needs_boxes=True,
)


class GrabCut(Segmenter):
    """`masks_from_boxes` behind the common door."""

    card = CARD

    def _segment(
        self,
        image: np.ndarray,  # (H, W, 3)
        boxes: list[Box],
        depth: np.ndarray | None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        return masks_from_boxes(boxes, image, depth)
