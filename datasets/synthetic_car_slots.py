"""Where a car may stand on a synthetic street: lanes, kerbs, lots and crossings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.datasets.synthetic_street import Side, Street

__all__ = ["Slot", "draw_slots"]


@dataclass(frozen=True)
class Slot:
    """A place for a car: across the road (u) and along it (s), metres; how likely it is taken."""

    u: float
    s: float
    turn: float  # heading relative to the road, radians to the right
    weight: float


def draw_slots(draw: np.random.Generator, street: Street) -> list[Slot]:
    """Every place on the street, taken or not."""
    slots = [_lane_slots(draw, street), _crossing_slots(draw, street)]
    for side in (street.left, street.right):
        slots += [_parking_slots(draw, street, side), _lot_slots(draw, street, side)]
    return [slot for some in slots for slot in some]


def _lane_slots(draw: np.random.Generator, street: Street) -> list[Slot]:
    slots = []
    for lane in range(street.lanes_right + street.lanes_left):
        u = street.right_edge - street.lane * (lane + 0.5)
        turn = 0.0 if lane < street.lanes_right else np.pi
        s = draw.uniform(5, 18)
        while s < 60:
            jitter = draw.normal(0, 0.25)
            angle = turn + draw.normal(0, 0.025)
            if draw.random() < 0.06:  # changing lane or turning off
                angle += draw.uniform(-0.5, 0.5)
            slots.append(Slot(u + jitter, s, angle, 1.0))
            s += draw.uniform(6.5, 22)
    return slots


def _parking_slots(draw: np.random.Generator, street: Street, side: Side) -> list[Slot]:
    if side.parking_kind == "none":
        return []
    perpendicular = side.parking_kind == "perpendicular"
    u = side.sign * (street.edge(side) + side.parking / 2)
    pitch = draw.uniform(2.6, 3.0) if perpendicular else draw.uniform(5.3, 6.8)
    slant = draw.choice([0.0, 0.0, 0.5]) if perpendicular else 0.0
    slots = []
    for s in np.arange(draw.uniform(4, 9), 58, pitch):
        if street.in_crossing(s, 3.0):
            continue
        turn = side.sign * (np.pi / 2 - slant) if perpendicular else 0.0
        turn += np.pi * (draw.random() < (0.4 if perpendicular else 0.15))
        jitter = draw.normal(0, 0.12, 2)
        slots.append(Slot(u + jitter[0], s + jitter[1], turn + draw.normal(0, 0.03), 1.1))
    return slots


def _lot_slots(draw: np.random.Generator, street: Street, side: Side) -> list[Slot]:
    if side.zone != "lot":
        return []
    slots = []
    along = draw.random() < 0.5
    for row in range(3):
        u = side.sign * (street.edge(side) + side.width + 4.5 + 8.0 * row)
        for s in np.arange(draw.uniform(6, 12), 58, 5.8 if along else 2.8):
            if street.in_crossing(s, 4.0):
                continue
            turn = (0.0 if along else np.pi / 2) + np.pi * (draw.random() < 0.5)
            slots.append(Slot(u, s + draw.normal(0, 0.1), turn + draw.normal(0, 0.04), 0.6))
    return slots


def _crossing_slots(draw: np.random.Generator, street: Street) -> list[Slot]:
    begin, end = street.crossing
    if not np.isfinite(begin):
        return []
    slots = []
    for turn, s in (
        (-np.pi / 2, begin + 0.3 * (end - begin)),
        (np.pi / 2, end - 0.3 * (end - begin)),
    ):
        for u in np.arange(-30, 30, 9.0):
            angle = turn + draw.normal(0, 0.08)
            if abs(u) < 8:
                angle += draw.uniform(-0.9, 0.9)  # turning
            slots.append(Slot(u + draw.uniform(-3, 3), s, angle, 0.5))
    return slots
