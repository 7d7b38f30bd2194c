"""Which way vehicles head: with right-hand traffic those on the right drive as the camera does.

An outline seen end on fits a car and the same car turned around. Where the picture does not tell
front from rear, the rule of the road does, better than chance and less than certainly: parked cars
and crossings break it. So it has a small weight, and moves no pose: it only weighs headings.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.reconstruct.hypotheses import Hypotheses

__all__ = ["VEHICLES", "TrafficSide", "against_traffic"]

TrafficSide = Literal["right", "left"]
VEHICLES = frozenset({"Car", "Van", "Truck", "Bus"})
_MIDDLE = 1.75  # metres from the camera's path to the road's middle: half a lane
_BLUR = 1.0  # metres over which the other side begins


def against_traffic(
    hypotheses: Hypotheses,  # (N,)
    camera: Camera,
    boxes: Tensor,  # (B, 4)
    side: TrafficSide,
) -> Tensor:  # (N,)
    """How far each hypothesis heads against its side: 0 with the traffic, 1/2 across it, 1 against.

    Args:
        camera: of the whole image, looking along the road, in a lane of the traffic's side.
        boxes: the masks' boxes, pixels.
        side: "right" where one drives on the right.

    Not differentiable: what follows from it is a choice between headings.
    """
    with torch.no_grad():
        rotation, place, _ = hypotheses.pose(camera, boxes)
    ahead = rotation[:, 2, 0]  # of the car's x axis, its front, along the camera's z
    across = place[:, 0] if side == "right" else -place[:, 0]
    wanted = torch.tanh((across + _MIDDLE) / _BLUR)
    return (1 - wanted * ahead) / 2
