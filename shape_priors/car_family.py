"""The procedural car family: parametric profiles and cross-sections laid on one lattice.

A car is drawn in side view by its bonnet, windscreen, roof, rear window and boot, in plan by its
taper and corners, and in section by sill, shoulder, tumblehome and crown; wheels are part of the
skin, so the silhouette bulges down at the axles.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffrender.meshes import Mesh
from diffrender.shape_priors.car_atlas import car_atlas
from diffrender.shape_priors.car_lattice import (
    FRONT_WHEEL,
    NX,
    NY,
    NZ,
    REAR_GLASS,
    REAR_WHEEL,
    WINDSCREEN,
    lattice,
)
from diffrender.shape_priors.car_params import CarParameters, draw_parameters, typical_parameters

__all__ = ["CarSample", "car_surface", "family_atlas", "sample_car"]

Array = NDArray[np.float64]

_BOW = 1.1  # metres from nose or tail over which the curvature in plan fades


@dataclass(frozen=True)
class CarSample:
    """One procedural car.

    Attributes:
        mesh: vertices in the unit box (x in [-.5, .5], y in [-1, 0], z in [-.5, .5]), with the
            parts and the texture atlas that all cars and the shipped prior share.
        size: (3,) length, width, height in metres.
        kind: body style, one of CAR_KINDS.
    """

    mesh: Mesh
    size: Tensor  # (3,)
    kind: str


def sample_car(kind: str, generator: torch.Generator) -> CarSample:
    """Draw a random car of a body style (see CAR_KINDS). Raises InputError for another kind."""
    surface = car_surface(draw_parameters(kind, generator))
    low, high = surface.min(0), surface.max(0)
    unit = (surface - [(low[0] + high[0]) / 2, high[1], 0]) / (high - low)
    size = (high - low)[[0, 2, 1]]
    skin = lattice()
    uv, face_uv = family_atlas()
    mesh = Mesh(
        torch.from_numpy(unit).float(),
        torch.tensor(skin.faces),  # copies: these arrays are kept for the next car
        uv=torch.tensor(uv).float(),
        face_uv=torch.tensor(face_uv),
        face_parts=torch.tensor(skin.face_parts),
    )
    return CarSample(mesh, torch.from_numpy(size).float(), kind)


@lru_cache(maxsize=1)
def family_atlas() -> tuple[Array, NDArray[np.int64]]:
    """Texture coordinates (T, 2) and face_uv (F, 3) of every car: those of a typical hatchback."""
    return car_atlas(car_surface(typical_parameters("hatchback")))


def car_surface(car: CarParameters) -> Array:
    """Vertices (V, 3) of a car in the object frame, metres; x counts from the middle."""
    # Round corners end before the wheel arches begin.
    room = -car.wheel_radius - 0.08
    car = dataclasses.replace(
        car,
        corner_front=min(car.corner_front, car.front_overhang + room),
        corner_rear=min(car.corner_rear, car.rear_overhang + room),
    )
    x_side, heights = _side_view(car)
    half_widths = _half_widths(car, x_side, heights)
    nodes = lattice().nodes
    i, j, k = nodes.T
    x, y = x_side[i, j], heights[i, j]
    across = _across(car, half_widths)[i, j, k]
    z = across * half_widths[i, j]

    # Plan: x_side is the outline at the sides; towards the middle, nose and tail bow outwards.
    bow = 1 - np.abs(across) ** 3
    tail, nose = x_side[0, j], x_side[NX, j]
    x = x - car.corner_rear * bow * np.clip(1 - (x - tail) / _BOW, 0, 1)
    x = x + car.corner_front * bow * np.clip(1 - (nose - x) / _BOW, 0, 1)
    # ... and the roof, bonnet and windows are curved across the car.
    crown = np.interp(i, [0, 3, 5, 10, 12, NX], [1, 1, 0, 0, 1, 1])
    crown = car.bonnet_crown * crown + car.roof_crown * (1 - crown)
    middle = np.where(j == NY, crown * (1 - across**2), 0.0)
    glass_run = np.interp(i, [0, 2, 3, 5, 10, 12, 13, NX], [0, 0, 1, 0, 0, 1, 1, 0])
    x = x + np.where((j == NY) & (i >= WINDSCREEN[0]), 1.5 * glass_run * middle, 0)
    y = y + middle
    # The underside between the tyres stays at the clearance.
    inner = (j == 0) & (k > 1) & (k < NZ - 1)
    y = np.where(inner, np.maximum(y, car.clearance), y)
    return np.stack([x - car.length / 2, -y, z], -1)


def _side_view(car: CarParameters) -> tuple[Array, Array]:
    """Positions (x from the tail, height) of the side's nodes, each (NX + 1, NY + 1)."""
    low_x, arcs_x, arcs_y = _bottom_stations(car)
    top_x, top_y = _top_profile(car)
    blend = np.array([0, 0, 0, 0.25, 1.0, 1.0, 1.0])
    x = low_x[:, None] * (1 - blend) + top_x[:, None] * blend
    x[:, :3] = arcs_x
    nose_rake = np.array([0.0, 0.0, 0.0, 0.2, 0.45, 0.75, 1.0]) * car.nose_rake
    tail_rake = np.array([0.0, 0.0, 0.0, 0.3, 0.6, 0.95, 1.0]) * car.tail_rake
    nose_rake[0] = tail_rake[0] = 0.05  # the bumper's lower lip
    x[0] = car.corner_rear + tail_rake
    x[NX] = car.length - car.corner_front - nose_rake

    y = np.zeros((NX + 1, NY + 1))
    y[:, :3] = arcs_y
    y[:, 6] = top_y
    belt = np.interp(top_x, [0, car.length - car.cowl_x], [car.belt_rear, car.belt_front])
    y[:, 4] = _soft_min(belt, top_y - 0.09)
    tyre = 2 * car.wheel_radius  # a low bonnet leaves little room above it
    over_tyre = np.minimum(tyre + np.minimum(0.08, 0.45 * (top_y - tyre)), top_y - 0.03)
    y[:, 4] = np.maximum(y[:, 4], over_tyre)
    y[:, 5] = top_y - np.minimum(0.06, 0.4 * (top_y - y[:, 4]))
    ends = [0, 1, NX - 1, NX]
    lip = y[ends, 0]
    y[ends, 1] = lip + 0.33 * (y[ends, 4] - lip)
    y[ends, 2] = lip + 0.62 * (y[ends, 4] - lip)
    shoulder = y[:, 4] - 0.45 * (y[:, 4] - 1.9 * car.wheel_radius)
    gap = y[:, 4] - y[:, 2]
    y[:, 3] = np.clip(shoulder, y[:, 2] + 0.3 * gap, y[:, 2] + 0.75 * gap)
    return x, y


def _bottom_stations(car: CarParameters) -> tuple[Array, Array, Array]:
    """x of the bottom's stations (NX + 1,), and x and height of rows 0 to 2, (NX + 1, 3)."""
    x = np.zeros(NX + 1)
    arcs_y = np.zeros((NX + 1, 3))
    radius = car.wheel_radius
    angle = np.linspace(-65, 65, 5) * np.pi / 180
    rim = np.sin(angle) * radius
    for (first, last), axle in (
        (REAR_WHEEL, car.rear_overhang),
        (FRONT_WHEEL, car.length - car.front_overhang),
    ):
        x[first : last + 1] = axle + rim
        arcs_y[first : last + 1] = radius * (1 + np.cos(angle)[:, None] * [-1, 0, 1])
    sill = np.arange(REAR_WHEEL[1] + 1, FRONT_WHEEL[0])
    x[sill] = np.interp(sill, [REAR_WHEEL[1], FRONT_WHEEL[0]], x[[REAR_WHEEL[1], FRONT_WHEEL[0]]])
    arcs_y[sill] = [car.clearance, radius * 1.02, radius * 1.5]
    x[0], x[NX] = car.corner_rear, car.length - car.corner_front
    x[1] = 0.5 * (x[0] + car.rear_overhang - radius)
    x[NX - 1] = 0.5 * (x[NX] + car.length - car.front_overhang + radius)
    arcs_y[[0, 1, NX - 1, NX], 0] = car.clearance + np.array([0.07, 0.03, 0.0, 0.02])
    arcs_x = np.repeat(x[:, None], 3, 1)
    for first, last in (REAR_WHEEL, FRONT_WHEEL):  # the hub row spans the whole diameter
        axle = x[(first + last) // 2]
        arcs_x[first : last + 1, 1] = axle + np.linspace(-1, 1, last - first + 1) * radius
    return x, arcs_x, arcs_y


def _top_profile(car: CarParameters) -> tuple[Array, Array]:
    """x and height of the edge of boot, windows, roof and bonnet, each (NX + 1,)."""
    x, y = np.zeros((2, NX + 1))
    foot, top = REAR_GLASS
    screen_top, screen_foot = WINDSCREEN
    tail, nose = car.tail_rake, car.length - car.nose_rake
    deck = max(car.deck_length, tail + 0.05)
    roof_rear = deck + car.rear_run
    cowl = car.length - car.cowl_x
    roof_front = max(cowl - car.windscreen_run, roof_rear + 0.3)

    def run(first: int, last: int, start: float, end: float) -> Array:
        x[first : last + 1] = np.linspace(start, end, last - first + 1)
        return np.linspace(0, 1, last - first + 1)

    rear_height, front_height = car.height - car.roof_rear, car.height - car.roof_front
    t = run(0, foot, tail, deck)
    y[: foot + 1] = car.tail_height + (car.deck_height - car.tail_height) * t
    t = run(foot, top, deck, roof_rear)
    y[foot : top + 1] = car.deck_height + (rear_height - car.deck_height) * t
    y[foot : top + 1] += 0.10 * car.rear_run * 4 * t * (1 - t)
    t = run(top, screen_top, roof_rear, roof_front)
    y[top : screen_top + 1] = rear_height + (front_height - rear_height) * t
    lift = car.height - 0.5 * (rear_height + front_height)
    y[top : screen_top + 1] += lift * 4 * t * (1 - t)
    t = run(screen_top, screen_foot, roof_front, cowl)
    y[screen_top : screen_foot + 1] = front_height + (car.cowl_height - front_height) * t
    y[screen_top : screen_foot + 1] += 0.06 * car.windscreen_run * 4 * t * (1 - t)
    t = run(screen_foot, NX, cowl, nose)
    y[screen_foot:] = car.cowl_height + (car.nose_height - car.cowl_height) * t**car.bonnet_bulge
    # The profile is that of the car's middle; the crown lifts the middle over this edge.
    crown = np.interp(
        np.arange(NX + 1),
        [0, 3, 5, 10, 12, NX],
        [car.bonnet_crown] * 2 + [car.roof_crown] * 2 + [car.bonnet_crown] * 2,
    )
    # So far x is that of the car's middle too: the sides' outline lies inside the bow.
    x = x + _inside(x - tail, car.corner_rear) - _inside(nose - x, car.corner_front)
    return x, y - crown


def _inside(distance: Array, corner: float) -> Array:
    """How far the side's outline lies inside the middle's, `distance` from the middle's end."""
    return np.clip(corner * (1 - distance / (_BOW - corner)), 0, corner)


def _half_widths(car: CarParameters, x: Array, y: Array) -> Array:
    """Half the width at each side node, (NX + 1, NY + 1)."""
    reach = 1.3
    ahead = np.clip((x - (car.length - reach)) / reach, 0, 1)
    behind = np.clip((reach - x) / reach, 0, 1)
    plan = 1 - car.taper_front * ahead**2.2 - car.taper_rear * behind**2.2
    half = 0.5 * car.width * plan
    inset = np.zeros_like(x)
    inset[:, 0] = car.side_tuck
    inset[:, 1] = 0.35 * car.side_tuck
    for first, last in (REAR_WHEEL, FRONT_WHEEL):
        inset[first : last + 1, :2] = 0.01
        inset[first : last + 1, 2] = 0.005
    inset[:, 4] = 0.035
    lean = car.tumblehome * (y[:, 5] - y[:, 4])
    inset[:, 5] = 0.035 + lean
    inset[:, 6] = inset[:, 5] + np.clip(y[:, 6] - y[:, 5], 0.03, 0.06)
    return half - inset


def _across(car: CarParameters, half_widths: Array) -> Array:
    """Share of the half width at which each column lies, (NX + 1, NY + 1, NZ + 1)."""
    even = np.linspace(-1, 1, NZ + 1)
    across = np.broadcast_to(even, (NX + 1, NY + 1, NZ + 1)).copy()
    for first, last in (REAR_WHEEL, FRONT_WHEEL):
        tyre = 1 - car.tyre_width / half_widths[first : last + 1, 0]
        across[first : last + 1, 0, 1] = -tyre
        across[first : last + 1, 0, 2] = -tyre + 0.03
        across[first : last + 1, 0, 4] = tyre - 0.03
        across[first : last + 1, 0, 5] = tyre
    return across


def _soft_min(a: Array, b: Array) -> Array:
    """Smaller of two, rounded over a few centimetres, so that averages stay smooth."""
    return 0.5 * (a + b - np.sqrt((a - b) ** 2 + 0.03**2))
