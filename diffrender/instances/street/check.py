"""How many vehicles of exact pictures a street segmenter finds, and how well."""

from __future__ import annotations

import numpy as np

from diffrender.instances.street.find import FoundVehicle, find_vehicles
from diffrender.instances.street.network import StreetNet
from diffrender.instances.street.train_data import OwnedSet
from diffrender.instances.street.train_loss import UNCOUNTED

__all__ = ["check_street", "mask_iou", "match_masks"]


def check_street(net: StreetNet, frames: OwnedSet, score: float = 0.5) -> dict[str, float]:
    """Found from `score` on, matched to the truth from a mask IoU of 0.5 on.

    Returns:
        "found": share of the vehicles that are; "wrong": findings a picture that are none; "iou":
        mean of the matched; "quality": all three in one, the sum of the matched IoUs over the mean
        number of vehicles and findings (panoptic quality: Kirillov et al., Panoptic Segmentation,
        CVPR 2019, section 4.1). Findings on vehicles that are not counted are neither.
    """
    overlaps: list[float] = []
    there, wrong = 0, 0
    for image, owner in zip(frames.images, frames.owner, strict=True):
        names = [n for n in np.unique(owner) if n not in (0, UNCOUNTED)]
        vehicles = [v for v in find_vehicles(net, image) if v.score >= score and v.mask.any()]
        vehicles = [v for v in vehicles if (owner[v.mask] == UNCOUNTED).mean() < 0.5]
        pairs = match_masks(vehicles, [owner == n for n in names])
        overlaps += pairs
        there += len(names)
        wrong += len(vehicles) - len(pairs)
    return {
        "found": len(overlaps) / max(there, 1),
        "wrong": wrong / max(len(frames), 1),
        "iou": float(np.mean(overlaps)) if overlaps else 0.0,
        "quality": 2 * sum(overlaps) / max(there + len(overlaps) + wrong, 1),
    }


def match_masks(found: list[FoundVehicle], truth: list[np.ndarray]) -> list[float]:
    """Mask IoUs of the pairs above 0.5; masks are disjoint, so a mask has one partner at most."""
    pairs = []
    for mask in truth:
        for one in found:
            overlap = mask_iou(mask, one.mask)
            if overlap > 0.5:
                pairs.append(overlap)
    return pairs


def mask_iou(one: np.ndarray, other: np.ndarray) -> float:  # (H, W), (H, W)
    """Intersection over union of two boolean masks, 0 where both are empty."""
    return int((one & other).sum()) / max(int((one | other).sum()), 1)
