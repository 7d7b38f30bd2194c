"""Front or rear by the picture: what the heading network says of each hypothesis.

An outline seen end on fits a car and the same car turned around; lights, plates and glass do not.
The network is trained on synthetic streets, so it weighs a heading against its half turn and no
more: where along the half turn the car stands is for the outline and the depth to say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.heading import HeadingNet, object_crops, shipped_heading, to_tensors
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.observations import Observation
from diffrender.rotations import yaw_to_alpha

__all__ = ["FACED", "Facing", "look"]

FACED = frozenset({"Car", "Van"})  # what the network has seen


class Facing:
    """What a heading network made of B objects.

    Attributes:
        net: the network.
        told: (B, bins) log probabilities of directions; rows of zeros where it was not asked.
        asked: (B,) bool.
    """

    def __init__(self, net: HeadingNet, told: Tensor, asked: Tensor) -> None:
        self.net, self.told, self.asked = net, told, asked

    def to(self, device: str) -> Facing:
        """The same on another device."""
        return Facing(self.net, self.told.to(device), self.asked.to(device))

    def against(
        self,
        hypotheses: Hypotheses,  # (N,)
        camera: Camera,
        boxes: Tensor,  # (B, 4)
    ) -> Tensor:  # (N,)
        """-log probability of each heading against its half turn, nats; 0 where it was not asked.

        Not differentiable: what follows from it is a choice between headings.
        """
        with torch.no_grad():
            rotation, place, _ = hypotheses.pose(camera, boxes)
            ends = torch.stack([place, place + rotation[:, :, 0]], dim=1)
            start, end = camera.world_to_camera(ends).unbind(dim=1)
            ahead = end - start
            yaw = torch.atan2(-ahead[:, 2], ahead[:, 0])
            alpha = yaw_to_alpha(yaw, start)
            odds = self.net.odds(self.told[hypotheses.owner], alpha.to(self.told.dtype))
            nats = -odds.log()
            return torch.where(self.asked[hypotheses.owner], nats, torch.zeros_like(nats))


def look(image: np.ndarray, observations: Sequence[Observation]) -> Facing | None:  # (H, W, 3)
    """Ask the shipped network about the cars among the objects; None if there are none."""
    asked = [o.instance.category in FACED for o in observations]
    if not any(asked):
        return None
    net = shipped_heading()
    masks = [o.instance.mask for o, ask in zip(observations, asked, strict=True) if ask]
    crops, covers = object_crops(image, masks, net.config.side)
    with torch.inference_mode():
        found = net.read(*to_tensors(crops, covers))
    told = torch.zeros(len(asked), net.config.bins)
    told[torch.tensor(asked)] = found.clone()
    return Facing(net, told, torch.tensor(asked))
