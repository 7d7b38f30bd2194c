"""The outputs of Mask R-CNN as exporters write them: boxes, labels, scores, masks.

Source: He et al., "Mask R-CNN", ICCV 2017; masks are of the whole input (torchvision) or of the
box (28 x 28: maskrcnn-benchmark, Detectron2, MMDetection).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from diffrender.errors import InputError
from diffrender.instances.segmenters.base import Detection, SegmenterSettings
from diffrender.instances.segmenters.geometry import Letterbox, spread

__all__ = ["RcnnOutputs", "decode_rcnn", "find_outputs"]


@dataclass(frozen=True)
class RcnnOutputs:
    """Arrays of K detections: boxes in the input's pixels, masks of the input or of the box."""

    boxes: np.ndarray  # (K, 4)
    labels: np.ndarray  # (K,)
    scores: np.ndarray  # (K,)
    masks: np.ndarray  # (K, h, w)


def find_outputs(arrays: Mapping[str, np.ndarray]) -> RcnnOutputs:
    """Which output is which, by kind and shape; a leading batch of one is taken off.

    Boxes end in 4 (or in 5, the score the last), labels are whole numbers, masks have height and
    width.

    Raises:
        InputError: one is missing, two could be it, or their counts differ.
    """
    said = {name: f"{a.dtype} {a.shape}" for name, a in arrays.items()}
    kinds: dict[str, list[np.ndarray]] = {"boxes": [], "labels": [], "scores": [], "masks": []}
    for array in arrays.values():
        kinds[_kind(array)].append(array)
    if len(kinds["boxes"]) == 2 and not kinds["scores"]:
        # In a batch of one, the scores of four or five objects have the shape of one box.
        row, rest = sorted(kinds["boxes"], key=lambda array: array.ndim)
        if row.shape[0] == 1 and row.ndim < rest.ndim:
            kinds |= {"boxes": [rest], "scores": [row]}
    wanted = ("boxes", "labels", "masks")
    if any(len(kinds[kind]) != 1 for kind in wanted) or len(kinds["scores"]) > 1:
        raise InputError(
            f"the network's outputs are {said}; expected one each of boxes (K, 4), labels (K) as "
            "integers, masks (K, 1, h, w), and scores (K) unless boxes are (K, 5)"
        )
    boxes = _flat(kinds["boxes"][0], 2)
    labels = kinds["labels"][0].reshape(-1)
    masks = _flat(kinds["masks"][0], 3)
    if boxes.shape[1] == 5:
        scores = boxes[:, 4]
    elif kinds["scores"]:
        scores = kinds["scores"][0].reshape(-1)
    else:
        raise InputError(f"the network's outputs are {said}: no scores (K), nor boxes (K, 5)")
    if not len(boxes) == len(labels) == len(scores) == len(masks):
        raise InputError(f"the network's outputs {said} differ in their number of detections")
    return RcnnOutputs(boxes[:, :4], labels, scores, masks)


def decode_rcnn(
    outputs: RcnnOutputs, placed: Letterbox, settings: SegmenterSettings
) -> Iterator[tuple[int, Detection]]:
    """(label, detection), the surest first; the category is left empty.

    Raises:
        InputError: values that are not finite, or scores or masks outside 0 to 1.
    """
    scores, masks = outputs.scores, outputs.masks
    for what, values in (("boxes", outputs.boxes), ("scores", scores), ("masks", masks)):
        if not np.isfinite(values).all():
            raise InputError(f"the network's {what} are not finite; its input does not fit")
    for what, values in (("scores", scores), ("masks", masks)):
        if values.size and not (values.min() >= -1e-3 and values.max() <= 1 + 1e-3):
            raise InputError(
                f"the network's {what} span {values.min():.3g} to {values.max():.3g}, expected "
                "probabilities from 0 to 1"
            )
    boxes = placed.boxes(outputs.boxes)
    whole = masks.shape[1:] == placed.input
    order = np.argsort(-scores, kind="stable")
    for index in order[scores[order] >= settings.score][: settings.most]:
        box = tuple(float(side) for side in boxes[index])
        if not (box[0] < box[2] and box[1] < box[3]):
            continue  # padding of an export with a fixed number of rows
        soft = masks[index]
        seen = placed.map_to_image(soft) if whole else _paste(soft, box, placed.image)
        sides = (box[0], box[1], box[2], box[3])
        found = Detection(sides, "", float(scores[index]), seen >= settings.mask)
        yield int(outputs.labels[index]), found


def _paste(soft: np.ndarray, box: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    """A mask of a box, (h, w), as a map of the image, (H, W), zero outside."""
    height, width = soft.shape
    # A rim of zeros makes the bilinear border of the box the one of Detectron's paste.
    padded = np.pad(soft, 1)
    scale = (width / (box[2] - box[0]), height / (box[3] - box[1]))
    offset = (1 - box[0] * scale[0], 1 - box[1] * scale[1])
    return spread(padded, scale, offset, size)


def _kind(array: np.ndarray) -> str:
    if array.dtype.kind in "iu":
        return "labels"
    shape = array.shape
    if len(shape) in (2, 3) and shape[-1] in (4, 5) and (len(shape) == 2 or shape[0] == 1):
        return "boxes"
    if len(shape) >= 3:
        return "masks"
    return "scores"


def _flat(array: np.ndarray, dimensions: int) -> np.ndarray:
    """Without the axes of length one that a batch and a channel add, keeping K = 1."""
    if array.ndim == dimensions:
        return array
    if array.ndim == dimensions + 1 and dimensions == 3 and array.shape[1] == 1:
        return array[:, 0]  # (K, 1, h, w)
    if array.ndim == dimensions + 1 and array.shape[0] == 1:
        return array[0]  # (1, K, ...)
    if array.ndim == dimensions + 2 and array.shape[0] == 1 and array.shape[2] == 1:
        return array[0, :, 0]  # (1, K, 1, h, w)
    raise InputError(f"an output of the network has shape {array.shape}, expected (K, ...)")
