"""The road under a camera as a plane, and how far it is believed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["CAMERA_HEIGHT", "Road"]

CAMERA_HEIGHT = 1.65  # metres, KITTI's rig (Geiger et al. 2013, fig. 3)


@dataclass(frozen=True)
class Road:
    """The plane y = height + slope z + bank x in the frame of the labels (y points down).

    Attributes:
        height: of the camera above it, metres.
        slope, bank: metres of y per metre of z and of x.
        near: standard deviation of feet on it, metres: kerbs, unevenness.
        bend: standard deviation of feet per metre of z: a road is no plane.
        doubt: standard deviation of the slope, for all that stands there alike.

    Raises:
        InputError: no height above the road, or nothing that may deviate.
    """

    height: float = CAMERA_HEIGHT
    slope: float = 0.0
    bank: float = 0.0
    near: float = 0.10
    bend: float = 0.004
    doubt: float = 0.0145

    def __post_init__(self) -> None:
        spread = (self.near, self.bend, self.doubt)
        if not self.height > 0 or not min(spread) >= 0 or not sum(spread) > 0:
            raise InputError(
                f"Road: height {self.height}, near {self.near}, bend {self.bend}, doubt "
                f"{self.doubt}: expected a camera above the road and deviations of which one at "
                "least is positive, metres"
            )

    def y(self, location: Tensor) -> Tensor:  # (..., 3) -> (...)
        """Where the road is at the x and z of points in the frame of the labels, metres."""
        return self.height + self.slope * location[..., 2] + self.bank * location[..., 0]

    def sigma(self, location: Tensor) -> Tensor:  # (..., 3) -> (...)
        """Standard deviation of the feet of what stands there, metres."""
        return torch.sqrt(self.near**2 + (self.bend**2 + self.doubt**2) * location[..., 2] ** 2)
