"""The vehicles of one picture, with masks of its own size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.instances.crumbs import without_crumbs
from diffrender.instances.street.grouping import Found, group
from diffrender.instances.street.network import STRIDE, StreetMaps, StreetNet

__all__ = ["FoundVehicle", "StreetReading", "find_vehicles", "read_street"]

_RIM = 2.5  # pixels of the maps beyond a vehicle's own where its outline may lie
_TALLEST = 4  # heights to a width: a telephone held upright has about 2


@dataclass(frozen=True, eq=False)
class FoundVehicle:
    """One vehicle.

    Attributes:
        mask: (H, W) bool, its visible pixels.
        score: how sure, 0 to 1.
        van: a van, not a car.
    """

    mask: np.ndarray  # (H, W)
    score: float
    van: bool


@dataclass(frozen=True, eq=False)
class StreetReading:
    """What the network says of a picture.

    Attributes:
        vehicles: the surest first.
        vehicle: (H, W) float32, probability that a pixel is of a vehicle, whichever.
    """

    vehicles: list[FoundVehicle]
    vehicle: np.ndarray  # (H, W)


def find_vehicles(
    net: StreetNet,
    image: np.ndarray,  # (H, W, 3)
    mask: float = 0.5,
) -> list[FoundVehicle]:
    """What the network finds in a uint8 RGB picture, the surest first; not differentiable.

    A pixel is of a vehicle from the probability `mask`.
    """
    return read_street(net, image, mask).vehicles


def read_street(
    net: StreetNet,
    image: np.ndarray,  # (H, W, 3)
    mask: float = 0.5,
) -> StreetReading:
    """`find_vehicles` with the probabilities that it decided by.

    The picture is brought to the width that the network wants, its proportions kept, and what is
    said of it and of its mirror image is averaged.
    """
    import cv2

    height, width = image.shape[:2]
    if height > _TALLEST * width:
        raise InputError(
            f"the picture is {width} x {height} pixels, expected one at most {_TALLEST} times as "
            "high as wide: it is looked at in full width, and its height takes memory; crop it"
        )
    scale = net.config.width / width
    inner = (max(round(height * scale), 1), net.config.width)
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(image, inner[::-1], interpolation=shrink)
    below = -inner[0] % 32
    picture = np.pad(picture, ((0, below), (0, 0), (0, 0)), mode="edge")
    device = next(net.parameters()).device
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].to(device, torch.float32) / 255
    with torch.inference_mode():
        maps = _seen_both_ways(net, pixels.contiguous(memory_format=torch.channels_last))
        kept = -(-inner[0] // STRIDE)
        maps = StreetMaps(
            maps.vehicle[:, :kept], maps.centre[:, :kept], maps.offset[:, :, :kept],
            maps.van[:, :kept],
        )  # fmt: skip
        found = group(maps)
        small = maps.vehicle[0].sigmoid().cpu().numpy()
    # The maps' last row may lie half below the picture: they are brought to the size of what they
    # cover, and cut.
    covered = (width, round(kept * STRIDE * height / inner[0]))
    vehicle = cv2.resize(small, covered, interpolation=cv2.INTER_LINEAR)
    masks = _masks(found, vehicle >= mask)
    return StreetReading(
        [replace(one, mask=without_crumbs(one.mask[:height])) for one in masks], vehicle[:height]
    )


def _seen_both_ways(net: StreetNet, pixels: Tensor) -> StreetMaps:  # (1, 3, H, W)
    """Means of the probabilities and offsets that a picture and its mirror image give."""
    one, other = net(pixels), net(pixels.flip(-1))
    offset = other.offset.flip(-1) * other.offset.new_tensor([-1.0, 1.0])[:, None, None]

    def mean(logit: Tensor, mirrored: Tensor) -> Tensor:
        return ((logit.sigmoid() + mirrored.flip(-1).sigmoid()) / 2).logit(eps=1e-6)

    return StreetMaps(
        mean(one.vehicle, other.vehicle), mean(one.centre, other.centre), (one.offset + offset) / 2,
        mean(one.van, other.van),
    )  # fmt: skip


def _masks(
    found: Found,
    inside: np.ndarray,  # (H, W)
) -> list[FoundVehicle]:
    """Pixels of what the maps cover: if one is of a vehicle is interpolated, of which it is not."""
    import cv2

    owner = found.owner.cpu().numpy()
    # Towards the outline the next vehicle's pixels decide, but strays that `group` let go stay out.
    away, nearest = cv2.distanceTransformWithLabels(
        (owner < 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    names = np.full(int(nearest.max(initial=0)) + 1, -1, np.int32)
    names[nearest[owner >= 0]] = owner[owner >= 0]
    filled = np.where(away <= _RIM, names[nearest], -1).astype(np.float32)
    whole = cv2.resize(filled, inside.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return [
        FoundVehicle(inside & (whole == k), float(score), bool(van))
        for k, (score, van) in enumerate(zip(found.score, found.van, strict=True))
    ]
