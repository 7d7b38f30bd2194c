"""The procedural cyclist: a bicycle and its rider, of closed pieces, in metres.

Wheels, frame and limbs are general knowledge, rounded; none was fitted to labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from diffrender.shape_priors.solids import Array, Body, Piece, assemble, bent, tube

__all__ = ["CyclistParameters", "cyclist_body", "draw_cyclist"]


@dataclass(frozen=True)
class CyclistParameters:
    """A cyclist. Lengths in metres, angles in radians.

    Attributes:
        height: of the rider, standing.
        build: width of the rider against the average.
        wheel: radius of the wheels.
        base: distance of the axles.
        lean: of the trunk from the vertical, forward.
        crank: angle of the cranks.
        head: nod of the head against the trunk.
    """

    height: float = 1.74
    build: float = 1.0
    wheel: float = 0.34
    base: float = 1.06
    lean: float = 0.40
    crank: float = 0.0
    head: float = 0.3


def draw_cyclist(generator: torch.Generator) -> CyclistParameters:
    """A random cyclist: from the upright ride of a town bicycle to a sporting one."""
    n = torch.randn(5, generator=generator).tolist()
    u = torch.rand(2, generator=generator).tolist()
    return CyclistParameters(
        height=min(max(1.73 + 0.09 * n[0], 1.45), 2.0),
        build=min(max(1.05 + 0.12 * n[1], 0.75), 1.45),
        wheel=min(max(0.34 + 0.012 * n[2], 0.30), 0.37),
        base=min(max(1.06 + 0.05 * n[3], 0.92), 1.2),
        lean=0.2 + 0.6 * u[0],
        crank=2 * np.pi * u[1],
        head=0.3 + 0.1 * n[4],
    )


def cyclist_body(p: CyclistParameters) -> Body:
    """Bicycle and rider; the wheels stand at y = 0 (y points down), x counts from their middle."""
    r = p.wheel
    rear, front = np.array([-p.base / 2, -r, 0.0]), np.array([p.base / 2, -r, 0.0])
    crank = np.array([-0.09, -r + 0.05, 0.0])
    leg = 0.49 * p.height
    saddle = crank + 0.86 * leg * np.array([-0.28, -0.96, 0.0])
    bar = np.array([front[0] - 0.14, min(saddle[1], -0.95) - 0.02, 0.0])
    pieces = _bicycle(p, rear, front, crank, saddle, bar)
    girth = p.build * p.height / 1.74
    hip = saddle + np.array([0.02, -0.07, 0.0])
    up = np.array([np.sin(p.lean), -np.cos(p.lean), 0.0])
    neck = hip + up * 0.33 * p.height
    pieces += _rider(p, girth, hip, neck)
    for side in (1.0, -1.0):  # z points to the left
        turn = p.crank + (0 if side > 0 else np.pi)
        pedal = crank + np.array([0.17 * np.cos(turn), 0.17 * np.sin(turn), side * 0.12])
        pieces += _leg(side, girth, leg, hip, pedal)
        pieces.append(_arm(p, side, girth, neck, bar))
    body = assemble(pieces)
    lowest = body.vertices[:, 1].max()
    return Body(body.vertices - [0, lowest, 0], body.faces, body.face_parts, body.part_names)


def _bicycle(
    p: CyclistParameters, rear: Array, front: Array, crank: Array, saddle: Array, bar: Array
) -> list[Piece]:
    pieces = [_wheel(hub, p.wheel) for hub in (rear, front)]
    head = bar + np.array([0.03, 0.12, 0.0])
    seat = saddle + 0.25 * (crank - saddle)
    for start, end, radius in (
        (seat, head, 0.02), (crank, head, 0.025), (crank, saddle, 0.02), (crank, rear, 0.02),
        (seat, rear, 0.018), (bar, front, 0.02),
    ):  # fmt: skip
        pieces.append(tube(np.array([start, end]), [(radius, radius)] * 2, "frame", 5))
    across = np.array([bar + [0, 0, z] for z in (-0.28, 0.28)])
    pieces.append(tube(across, [(0.018, 0.018)] * 2, "frame", 5))
    seated = np.array([saddle + [x, 0, 0] for x in (-0.14, 0.0, 0.14)])
    pieces.append(tube(seated, [(0.08, 0.03), (0.06, 0.03), (0.02, 0.02)], "frame", 6))
    return pieces


def _wheel(hub: Array, radius: float) -> Piece:
    """A disc: spokes are too thin to be told from one at the size of a mask."""
    path = np.array([hub + [0, 0, z] for z in (-0.022, 0.022)])
    return tube(path, [(radius, radius)] * 2, "cycle_wheel", 20, 0.008)


def _rider(p: CyclistParameters, girth: float, hip: Array, neck: Array) -> list[Piece]:
    way = neck - hip
    path = np.array([hip - 0.04 * way, hip + 0.3 * way, hip + 0.72 * way, hip + 0.96 * way])
    radii = [(0.165, 0.12), (0.15, 0.11), (0.195, 0.12), (0.11, 0.08)]
    trunk = tube(path, [(a * girth, b * girth) for a, b in radii], "torso", 10)
    nod = p.lean - p.head - 0.5 * p.lean
    up = np.array([np.sin(nod), -np.cos(nod), 0.0])
    size = 0.5 * 0.132 * p.height
    middle = neck + up * (0.18 * p.height - size)
    spots, rings = [neck - 0.02 * up, neck + 0.25 * (middle - neck)], [(0.055, 0.055)] * 2
    for angle in (-1.0, -0.5, 0.0, 0.5, 1.0):
        spots.append(middle + up * size * np.sin(angle))
        rings.append((0.75 * size * np.cos(angle), 0.95 * size * np.cos(angle)))
    return [trunk, tube(np.array(spots), rings, "head")]


def _leg(side: float, girth: float, leg: float, hip: Array, pedal: Array) -> list[Piece]:
    top = hip + np.array([0.0, 0.0, side * 0.085 * girth])
    ankle = pedal + np.array([-0.09, -0.09, 0.0])
    knee = bent(top, ankle, 0.5 * leg, 0.46 * leg, forward=True)
    path = np.array([top, 0.5 * (top + knee), knee, 0.6 * knee + 0.4 * ankle, ankle])
    radii = [(r * girth, r * girth) for r in (0.085, 0.08, 0.06, 0.06, 0.042)]
    sole = np.array([ankle + [-0.05, 0.05, 0], ankle + [0.06, 0.07, 0], ankle + [0.17, 0.08, 0]])
    foot = tube(sole, [(0.035, 0.04), (0.05, 0.04), (0.035, 0.025)], "foot")
    return [tube(path, radii, "leg"), foot]


def _arm(p: CyclistParameters, side: float, girth: float, neck: Array, bar: Array) -> Piece:
    top = neck + np.array([-0.01, 0.06, side * 0.185 * girth])
    hand = bar + np.array([0.0, -0.02, side * 0.25])
    elbow = bent(top, hand, 0.175 * p.height, 0.2 * p.height, forward=False)
    path = np.array([top, 0.5 * (top + elbow), elbow, 0.5 * (elbow + hand), hand])
    radii = [(r * girth, r * girth) for r in (0.055, 0.05, 0.043, 0.04, 0.035)]
    return tube(path, radii, "arm", 6)
