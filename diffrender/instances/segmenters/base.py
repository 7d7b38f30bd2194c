"""What every segmenter is: a card that says where it comes from, and `segment`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from diffrender.errors import InputError, check_shape
from diffrender.instances.boxes import Box, clip_box
from diffrender.instances.categories import kitti_category
from diffrender.instances.record import Instance, Rejected

__all__ = ["Detection", "Segmenter", "SegmenterCard", "SegmenterSettings", "to_instances"]


@dataclass(frozen=True)
class SegmenterCard:
    """Where a segmenter comes from and under which terms it may be used.

    Attributes:
        name: how `create_segmenter` calls it.
        summary: one sentence.
        paper: authors, title, venue.
        code_licence: of the network as published; the code here is Apache-2.0.
        weights_licence: of the weights that it is usually run with.
        needs_boxes: whether it must be prompted by 2D boxes.
        extra: extra of this package that it needs, or "".
    """

    name: str
    summary: str
    paper: str
    code_licence: str
    weights_licence: str
    needs_boxes: bool = False
    extra: str = ""


@dataclass(frozen=True)
class SegmenterSettings:
    """What every network shares.

    Attributes:
        score: detections below are not reported.
        mask: probability from which a pixel belongs to a mask.
        overlap: of two boxes of a class whose IoU is larger, only the surer is reported (where
            the network does not do that itself).
        most: no more than this many, the surest first (COCO's evaluation takes 100).
    """

    score: float = 0.5
    mask: float = 0.5
    overlap: float = 0.6
    most: int = 100

    def __post_init__(self) -> None:
        for name in ("score", "mask", "overlap"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 < value < 1):
                raise InputError(f"SegmenterSettings.{name} is {value}, expected 0 to 1, exclusive")
        if not 1 <= self.most <= 1000:
            raise InputError(f"SegmenterSettings.most is {self.most}, expected 1 to 1000")


@dataclass(frozen=True)
class Detection:
    """One object as a network gives it, in the pixels of the image (corner based)."""

    box: tuple[float, float, float, float]
    category: str
    score: float
    mask: np.ndarray  # (H, W)


class Segmenter(ABC):
    """A segmenter, ready to run.

    Attributes:
        card: origin and licences.
    """

    card: SegmenterCard

    def segment(
        self,
        image: np.ndarray,  # (H, W, 3)
        boxes: Sequence[Box] | None = None,
        depth: np.ndarray | None = None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        """Instances of one image and the ones that cannot be used, with reasons.

        Args:
            image: uint8 RGB.
            boxes: prompts; needed where `card.needs_boxes`, refused elsewhere.
            depth: metres, 0 = unknown; only "grabcut" looks at it.

        Returns:
            Instances, the surest first, or in the order of the boxes. Not differentiable.

        Raises:
            InputError: an image or boxes that are not as above, or outputs of the network that
                are not what its kind gives.
        """
        check_shape("image", image, None, None, 3)
        if image.dtype != np.uint8:
            raise InputError(f"image is {image.dtype}, expected uint8 RGB")
        if self.card.needs_boxes and boxes is None:
            raise InputError(
                f"the segmenter '{self.card.name}' is prompted by 2D boxes: pass boxes (on the "
                "command line --masks with boxes as JSON or KITTI rows)"
            )
        if boxes is not None and not self.card.needs_boxes:
            raise InputError(f"the segmenter '{self.card.name}' finds the objects itself: no boxes")
        return self._segment(image, list(boxes or []), depth)

    @abstractmethod
    def _segment(
        self,
        image: np.ndarray,  # (H, W, 3)
        boxes: list[Box],
        depth: np.ndarray | None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        """The segmenter's own part; its arguments have been checked."""


def to_instances(
    found: Iterable[Detection], size: tuple[int, int]
) -> tuple[list[Instance], list[Rejected]]:
    """Instances with names such as "car_01", counted per class; `size` is (height, width).

    One whose mask is empty or whose box lies outside is rejected with its reason.
    """
    instances: list[Instance] = []
    rejected: list[Rejected] = []
    counts: dict[str, int] = {}
    for one in found:
        category = kitti_category(one.category)
        counts[category] = counts.get(category, 0) + 1
        name = f"{category.lower().replace(' ', '_')}_{counts[category]:02d}"
        try:
            box = clip_box(one.box, size)
            if not one.mask.any():
                raise InputError("the network gave a box but no pixel of a mask")
        except InputError as error:
            rejected.append(Rejected(name, category, str(error)))
            continue
        instances.append(Instance(one.mask, box, category, min(max(one.score, 0.0), 1.0), name))
    return instances, rejected
