"""The procedural pedestrian: a walking figure of closed pieces, in metres.

Proportions are general knowledge of adults and children (rounded; none was fitted to labels).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from diffrender.shape_priors.solids import Array, Body, Piece, assemble, bent, tube

__all__ = ["PedestrianParameters", "draw_pedestrian", "pedestrian_body"]


@dataclass(frozen=True)
class PedestrianParameters:
    """A figure. Lengths in metres, angles in radians.

    Attributes:
        height: to the crown.
        build: width of everything against the average.
        shoulders: width over the upper arms, at average build.
        stride: swing of the legs from the vertical; positive: the left one ahead.
        knee: how far the leg behind is drawn up, as a share of its length.
        arms: swing of the arms against the legs', as a share of it.
        elbow: bend of the forearms.
        lean: of the trunk, forward.
        coat: how far the clothes reach over the thighs, as a share of these.
    """

    height: float = 1.74
    build: float = 1.0
    shoulders: float = 0.45
    stride: float = 0.0
    knee: float = 0.05
    arms: float = 0.8
    elbow: float = 0.25
    lean: float = 0.04
    coat: float = 0.25


def draw_pedestrian(generator: torch.Generator) -> PedestrianParameters:
    """A random figure: mostly adults, one in ten a child, standing or in mid stride."""
    n = torch.randn(8, generator=generator).tolist()
    u = torch.rand(4, generator=generator).tolist()
    child = u[0] < 0.1
    height = 1.20 + 0.12 * n[0] if child else 1.73 + 0.09 * n[0]
    return PedestrianParameters(
        height=min(max(height, 0.95), 2.05),
        build=min(max(1.05 + 0.13 * n[1], 0.75), 1.5),
        shoulders=0.45 + 0.02 * n[2],
        stride=0.55 * (2 * u[1] - 1),
        knee=0.02 + 0.10 * u[2],
        arms=min(max(0.7 + 0.3 * n[3], 0.0), 1.4),
        elbow=min(max(0.25 + 0.2 * n[4], 0.0), 1.5),
        lean=0.04 + 0.04 * n[5],
        coat=min(max(0.25 + 0.2 * n[6], 0.0), 0.8),
    )


def pedestrian_body(p: PedestrianParameters) -> Body:
    """The figure, its lowest point at y = 0 (y points down)."""
    h = p.height
    leg, trunk = 0.49 * h, 0.33 * h
    girth = p.build * h / 1.74
    half = 0.5 * p.shoulders * girth
    hip = np.array([0.0, -leg, 0.0])
    up = np.array([np.sin(p.lean), -np.cos(p.lean), 0.0])
    neck = hip + up * trunk
    pieces = [_trunk(p, hip, neck, girth, half), _head(neck, up, h, girth)]
    for side in (1.0, -1.0):  # z points to the left
        pieces += _leg(p, side, hip, girth, leg)
        pieces.append(_arm(p, side, neck, half, girth))
    body = assemble(pieces)
    lowest = body.vertices[:, 1].max()
    return Body(body.vertices - [0, lowest, 0], body.faces, body.face_parts, body.part_names)


def _trunk(p: PedestrianParameters, hip: Array, neck: Array, girth: float, half: float) -> Piece:
    way = neck - hip
    skirt = hip + np.array([0.0, p.coat * 0.24 * p.height, 0.0])
    path = [skirt, hip, hip + 0.35 * way, hip + 0.75 * way, hip + 0.95 * way]
    wide = [0.17 * girth, 0.165 * girth, 0.15 * girth, 0.9 * half, 0.55 * half]
    deep = [0.115, 0.12, 0.11, 0.12, 0.08]
    return tube(np.array(path), [(a, b * girth) for a, b in zip(wide, deep, strict=True)],
                "torso", 10)  # fmt: skip


def _head(neck: Array, up: Array, height: float, girth: float) -> Piece:
    size = 0.5 * height * 0.132
    thin = 0.055 * girth
    middle = neck + up * (0.18 * height - size)
    path = [neck - 0.02 * up, neck + 0.25 * (middle - neck)]
    radii = [(thin, thin)] * 2
    for angle in (-1.0, -0.5, 0.0, 0.5, 1.0):
        path.append(middle + up * size * np.sin(angle))
        radii.append((0.68 * size * np.cos(angle), 0.85 * size * np.cos(angle)))
    return tube(np.array(path), radii, "head")


def _leg(p: PedestrianParameters, side: float, hip: Array, girth: float, leg: float) -> list[Piece]:
    swing = side * p.stride
    top = hip + np.array([0.0, 0.0, side * 0.085 * girth])
    behind = swing < 0
    reach = leg * (1 - 0.045 - (p.knee if behind else 0.01))
    ankle = top + reach * np.array([np.sin(swing), np.cos(swing), 0.0])
    knee = bent(top, ankle, 0.49 * leg, 0.46 * leg, forward=True)
    path = [top, 0.5 * (top + knee), knee, 0.6 * knee + 0.4 * ankle, ankle]
    radii = [(r * girth, r * girth) for r in (0.085, 0.08, 0.06, 0.06, 0.042)]
    # The foot behind stands on its toes, the one ahead on its heel.
    pitch = 0.55 * swing
    toe = ankle + 0.155 * p.height * np.array([np.cos(pitch), -np.sin(pitch) + 0.2, 0.0]) * 0.75
    heel = ankle + np.array([-0.05, 0.03, 0.0])
    foot = tube(
        np.array([heel, 0.5 * (heel + toe), toe]),
        [(0.035, 0.04), (0.05, 0.04), (0.035, 0.025)],
        "foot",
    )
    return [tube(np.array(path), radii, "leg"), foot]


def _arm(p: PedestrianParameters, side: float, neck: Array, half: float, girth: float) -> Piece:
    swing = -side * p.stride * p.arms
    top = neck + np.array([0.0, 0.045 * p.height, side * (half - 0.04 * girth)])
    upper, lower = 0.175 * p.height, 0.235 * p.height
    out = side * 0.10
    elbow = top + upper * np.array([np.sin(swing), np.cos(swing), out])
    turned = swing + p.elbow
    hand = elbow + lower * np.array([np.sin(turned), np.cos(turned), 0.0])
    path = [top, 0.5 * (top + elbow), elbow, 0.5 * (elbow + hand), hand]
    radii = [(r * girth, r * girth) for r in (0.055, 0.05, 0.043, 0.04, 0.035)]
    return tube(np.array(path), radii, "arm", 6)
