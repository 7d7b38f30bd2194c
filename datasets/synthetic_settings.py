"""Settings and fixed seeds of the synthetic streets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffrender.errors import InputError

__all__ = ["DEVELOPMENT_SEED", "HELD_OUT_SEED", "TRAINING_SEED", "StreetSettings"]

DEVELOPMENT_SEED = 1  # for trials: look at these as much as you like
TRAINING_SEED = 7  # for fitting networks
HELD_OUT_SEED = 20260101  # for reported figures only: never look, never tune


@dataclass(frozen=True)
class StreetSettings:
    """Ranges that a street is drawn from. Ranges are (low, high), both included.

    Attributes:
        cars: number of cars and vans to place; fewer where the street has no room.
        distance: z of the cars' centres, metres.
        van_share: probability that a vehicle is a van.
        focal: horizontal focal length in units of KITTI's (721.5 px at 1242 px width).
        camera_height: metres above the road.
        pitch_degrees, roll_degrees: standard deviation of the camera's tilt to the road.
        road_grade: standard deviation of the road's slope changes; 0 is a flat road.
        sunny: probability of direct sun.
        clutter: factor on the number of trees, poles and bushes.
        close: probability of a close place: a lane between walls and hedges, a paved yard, or a
            street that a house, wall or wood closes ahead. At 0 the draws are those of a generator
            without this setting, bit for bit; so too for the next two.
        lorries: mean number of lorries, buses and trailers, which have no labels.
        hard_light: probability that direct sun comes with little light from the sky.
        photometry: exposure, white balance, blur, noise and JPEG as from a real camera; False
            gives the plain tone-mapped picture.
        minimum_pixels: `instances()` leaves out cars with fewer visible pixels.
    """

    cars: tuple[int, int] = (3, 11)
    distance: tuple[float, float] = (5.0, 50.0)
    van_share: float = 0.1
    focal: tuple[float, float] = (0.98, 1.02)
    camera_height: tuple[float, float] = (1.6, 1.7)
    pitch_degrees: float = 0.7
    roll_degrees: float = 0.5
    road_grade: float = 0.012
    sunny: float = 0.75
    clutter: float = 1.0
    close: float = 0.0
    lorries: float = 0.0
    hard_light: float = 0.0
    photometry: bool = True
    minimum_pixels: int = 60

    def __post_init__(self) -> None:
        for name in ("cars", "distance", "focal", "camera_height"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < math.inf:
                raise InputError(
                    f"StreetSettings.{name} is ({low}, {high}), expected 0 <= low <= high, finite"
                )
        for name in ("focal", "camera_height"):
            if getattr(self, name)[0] == 0:
                raise InputError(
                    f"StreetSettings.{name} is {getattr(self, name)}, expected more than 0"
                )
        if self.distance[0] < 4:
            raise InputError(
                f"StreetSettings.distance starts at {self.distance[0]} m, expected at least 4 m: "
                "a car must not touch the camera"
            )
        for name in ("van_share", "sunny", "close", "hard_light"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"StreetSettings.{name} is {getattr(self, name)}, expected 0 to 1")
        for name in ("pitch_degrees", "roll_degrees", "road_grade", "clutter"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"StreetSettings.{name} is {getattr(self, name)}, expected a finite number of "
                    "0 or more"
                )
        if not 0 <= self.lorries <= 20:
            raise InputError(f"StreetSettings.lorries is {self.lorries}, expected 0 to 20")
