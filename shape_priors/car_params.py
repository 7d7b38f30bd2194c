"""What describes one car in metres, and the seven body styles it is drawn from.

The figures are round numbers from general knowledge of cars on the road, not measured on any
data set: a style is a table of typical values, and a sample varies each of them a little.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from diffrender.errors import InputError

__all__ = ["CAR_KINDS", "CarParameters", "draw_parameters", "typical_parameters"]


@dataclass(frozen=True)
class CarParameters:
    """One car. Metres, except where said; x distances are measured from the nearer end."""

    length: float
    width: float
    height: float
    clearance: float  # lowest point of the body over the road
    wheel_radius: float
    tyre_width: float
    front_overhang: float  # nose to front axle
    rear_overhang: float  # tail to rear axle
    nose_height: float  # leading edge of the bonnet
    nose_rake: float  # how far that edge lies behind the bumper
    cowl_x: float  # nose to the foot of the windscreen
    cowl_height: float
    bonnet_bulge: float  # 1: straight bonnet; larger: level first, falling at the nose
    windscreen_run: float  # horizontal extent of the windscreen
    roof_front: float  # how far the top of the windscreen lies below the highest point
    roof_rear: float  # the same for the top of the rear window
    rear_run: float  # horizontal extent of the rear window
    deck_length: float  # tail to the foot of the rear window
    deck_height: float
    tail_height: float  # trailing edge of boot lid or tailgate sill
    tail_rake: float
    belt_front: float  # foot of the side windows at the windscreen
    belt_rear: float
    tumblehome: float  # inward lean of the side windows, metres per metre
    side_tuck: float  # how far the sill lies inside the widest line
    taper_front: float  # narrowing in plan at the nose, share of the half width
    taper_rear: float
    corner_front: float  # how far the bumper's corners lie behind its middle
    corner_rear: float
    roof_crown: float
    bonnet_crown: float


CAR_KINDS = ("saloon", "hatchback", "estate", "suv", "van", "coupe", "pickup")

# Columns in the order of CAR_KINDS.
_TYPICAL: dict[str, tuple[float, ...]] = {
    "length": (4.55, 3.95, 4.60, 4.50, 4.60, 4.40, 5.20),
    "width": (1.78, 1.70, 1.78, 1.84, 1.83, 1.80, 1.85),
    "height": (1.45, 1.50, 1.49, 1.68, 1.83, 1.34, 1.78),
    "clearance": (0.19, 0.19, 0.19, 0.24, 0.20, 0.17, 0.27),
    "wheel_radius": (0.315, 0.30, 0.315, 0.355, 0.325, 0.325, 0.37),
    "tyre_width": (0.22, 0.20, 0.22, 0.25, 0.22, 0.24, 0.26),
    "front_overhang": (0.88, 0.78, 0.88, 0.88, 0.90, 0.88, 0.90),
    "rear_overhang": (1.00, 0.68, 1.00, 0.92, 0.85, 0.95, 1.20),
    "nose_height": (0.80, 0.82, 0.80, 0.97, 0.93, 0.76, 1.05),
    "nose_rake": (0.14, 0.13, 0.14, 0.11, 0.13, 0.16, 0.08),
    "cowl_x": (1.30, 1.00, 1.28, 1.25, 0.95, 1.40, 1.35),
    "cowl_height": (1.00, 1.03, 1.01, 1.17, 1.21, 0.94, 1.23),
    "bonnet_bulge": (1.7, 1.6, 1.7, 1.8, 1.4, 1.7, 1.9),
    "windscreen_run": (0.82, 0.78, 0.80, 0.68, 0.78, 0.80, 0.62),
    "roof_front": (0.07, 0.07, 0.06, 0.06, 0.07, 0.07, 0.05),
    "roof_rear": (0.10, 0.10, 0.08, 0.09, 0.06, 0.12, 0.05),
    "rear_run": (0.80, 0.40, 0.35, 0.35, 0.20, 0.95, 0.15),
    "deck_length": (0.50, 0.08, 0.06, 0.08, 0.05, 0.32, 1.65),
    "deck_height": (1.08, 1.04, 1.04, 1.18, 1.12, 1.02, 1.22),
    "tail_height": (1.07, 0.99, 0.99, 1.11, 1.05, 0.99, 1.20),
    "tail_rake": (0.08, 0.07, 0.06, 0.07, 0.05, 0.08, 0.03),
    "belt_front": (0.92, 0.93, 0.92, 1.06, 1.02, 0.88, 1.04),
    "belt_rear": (0.98, 1.00, 0.98, 1.14, 1.08, 0.95, 1.04),
    "tumblehome": (0.53, 0.43, 0.50, 0.40, 0.28, 0.55, 0.38),
    "side_tuck": (0.07, 0.07, 0.07, 0.06, 0.06, 0.08, 0.05),
    "taper_front": (0.14, 0.14, 0.14, 0.12, 0.14, 0.14, 0.09),
    "taper_rear": (0.12, 0.10, 0.10, 0.09, 0.06, 0.12, 0.04),
    "corner_front": (0.30, 0.28, 0.30, 0.26, 0.28, 0.30, 0.20),
    "corner_rear": (0.22, 0.20, 0.20, 0.18, 0.14, 0.22, 0.08),
    "roof_crown": (0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.04),
    "bonnet_crown": (0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05),
}

# Standard deviation of each draw as a share of the typical value (uniform, so bounded).
_SPREAD = {
    "length": 0.055,
    "width": 0.03,
    "height": 0.03,
    "clearance": 0.12,
    "wheel_radius": 0.04,
    "tyre_width": 0.08,
    "front_overhang": 0.07,
    "rear_overhang": 0.10,
    "nose_height": 0.05,
    "nose_rake": 0.30,
    "cowl_x": 0.08,
    "cowl_height": 0.035,
    "bonnet_bulge": 0.15,
    "windscreen_run": 0.12,
    "roof_front": 0.25,
    "roof_rear": 0.35,
    "rear_run": 0.22,
    "deck_length": 0.30,
    "deck_height": 0.04,
    "tail_height": 0.04,
    "tail_rake": 0.40,
    "belt_front": 0.035,
    "belt_rear": 0.035,
    "tumblehome": 0.15,
    "side_tuck": 0.25,
    "taper_front": 0.20,
    "taper_rear": 0.25,
    "corner_front": 0.15,
    "corner_rear": 0.20,
    "roof_crown": 0.25,
    "bonnet_crown": 0.25,
}
# Lengths along x that grow with the car rather than on their own.
_ALONG = ("front_overhang", "rear_overhang", "cowl_x", "windscreen_run", "rear_run", "deck_length")


def typical_parameters(kind: str) -> CarParameters:
    """The typical car of one body style. Raises InputError for an unknown kind."""
    if kind not in CAR_KINDS:
        raise InputError(f"unknown kind of car {kind!r}, expected one of {', '.join(CAR_KINDS)}")
    column = CAR_KINDS.index(kind)
    return CarParameters(**{name: values[column] for name, values in _TYPICAL.items()})


def draw_parameters(kind: str, generator: torch.Generator) -> CarParameters:
    """A random car of one body style: every value uniform around the typical one."""
    typical = dataclasses.asdict(typical_parameters(kind))
    draws = torch.rand(len(typical), generator=generator, dtype=torch.float64) * 2 - 1
    factors = {
        name: 1 + 3**0.5 * _SPREAD[name] * draw
        for name, draw in zip(typical, draws.tolist(), strict=True)
    }
    for name in _ALONG:
        factors[name] *= factors["length"]
    for name in ("nose_height", "cowl_height", "deck_height", "tail_height"):
        factors[name] *= factors["height"]
    for name in ("belt_front", "belt_rear"):
        factors[name] *= factors["height"]
    return CarParameters(**{name: typical[name] * factors[name] for name in typical})
