"""Lorries, buses and trailers for synthetic streets: scenery, without labels."""

from __future__ import annotations

import numpy as np

from diffrender.datasets.synthetic_geometry import Material, Soup, cylinder
from diffrender.datasets.synthetic_objects import add_box
from diffrender.datasets.synthetic_roadside import Roadside

__all__ = ["add_lorries", "add_lorry"]


def add_lorries(roadside: Roadside, mean: float) -> None:
    """Place a Poisson number of them with that mean in lanes and at kerbs, clear of the cars."""
    draw, street = roadside.draw, roadside.street
    for _ in range(int(draw.poisson(mean))):
        lanes = street.lanes_right + street.lanes_left
        lane = int(draw.integers(0, lanes + 1))  # the last one: parked at the right kerb
        u = street.right_edge - street.lane * (lane + 0.5) if lane < lanes else street.right_edge
        s = draw.uniform(8, 45)
        spot, turn = street.place(u, s), street.direction(s) + draw.normal(0, 0.03)
        forward = np.array([np.sin(turn), 0, np.cos(turn)])
        length = draw.choice([3.0, 6.0, 9.0, 12.0]) * draw.uniform(0.85, 1.15)
        # far enough for a gap of two metres; the circles along it keep clear of every car
        reach = np.arange(-length / 2, length / 2 + 0.1, 1.5)
        middle = spot + forward * (length / 2)
        if all(roadside.free(middle + forward * r, 1.6) for r in reach):
            away = lane < street.lanes_right or lane == lanes
            add_lorry(roadside.soup, middle, turn + (0 if away else np.pi), length, draw)


def add_lorry(
    soup: Soup, foot: np.ndarray, turn: float, length: float, draw: np.random.Generator
) -> None:
    """One vehicle whose footprint is centred at `foot`; heading `turn` to the right of z.

    Up to 4 m it is a trailer, up to 7 m a box van, then a lorry or a bus.
    """
    forward = np.array([np.sin(turn), 0.0, np.cos(turn)])
    width = draw.uniform(1.7, 2.1) if length < 7 else draw.uniform(2.3, 2.55)
    tall = draw.uniform(1.4, 2.0) if length < 4 else draw.uniform(2.3, 3.0 + 0.08 * length)
    lift = 0.45 if length < 7 else 0.85
    body, dark = draw.uniform(0.02, 0.75, 3), (0.02, 0.02, 0.022)
    if draw.random() < 0.5:
        body = draw.uniform(0.05, 0.8) * np.ones(3)
    rib = draw.choice([0.0, 0.3, 1.2])
    paint = soup.add_looks(*body, *(body * 0.8), *draw.uniform(0, 9, 2), 0.04, 0, rib)
    black = soup.add_looks(*dark, *dark, 0, 0, 0.03)
    glass = soup.add_looks(*dark, *dark, 0, 0, 0.12)
    bus = length > 7 and draw.random() < 0.35
    cab = 0.0 if length < 4 or bus else min(1.9, 0.35 * length)
    box = length - cab - (0.2 if cab else 0.0)
    rear = foot - forward * (length - box) / 2
    add_box(soup, rear, (box, tall - lift, width), turn, Material.PLAIN, paint, lift)
    add_box(soup, foot, (length * 0.94, lift, width * 0.8), turn, Material.PLAIN, black, 0.3)
    if cab:
        colour = soup.add_looks(*draw.uniform(0.03, 0.75, 3), 0, 0, 0, *draw.uniform(0, 9, 2), 0.05)
        front = foot + forward * (length - cab) / 2
        roof = tall * draw.uniform(0.75, 1.0)
        add_box(soup, front, (cab, roof - 0.4, width * 0.96), turn, Material.PLAIN, colour, 0.4)
        pane = (cab * 0.6, 0.75, width * 0.98)
        add_box(soup, front + forward * cab * 0.21, pane, turn, Material.PLAIN, glass, roof - 1.1)
    if bus:
        add_box(soup, foot, (length * 0.97, 1.0, width + 0.02), turn, Material.PLAIN, glass, 1.5)
        add_box(soup, foot, (length + 0.02, 1.3, width * 0.9), turn, Material.PLAIN, glass, 1.2)
    lamp = soup.add_looks(0.4, 0.02, 0.02, 0, 0, 0, 0, 0, 0.05, 0.15)
    right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
    for side in (-1, 1):
        spot = foot - forward * length / 2 + right * side * width * 0.4
        add_box(soup, spot, (0.06, 0.15, 0.3), turn, Material.PLAIN, lamp, lift)
        for place in (0.0,) if length < 4 else (-0.32, 0.36):
            hub = foot + forward * length * place + right * side * width / 2 - [0, 0.42, 0]
            _wheel(soup, hub, right * side, black)


def _wheel(soup: Soup, hub: np.ndarray, outward: np.ndarray, owner: int) -> None:
    """A closed drum of 84 cm diameter."""
    inner = hub - outward * 0.3
    for low, high, radii in ((inner, hub, (0.42, 0.42)), (hub, hub + outward * 0.02, (0.42, 0.01))):
        corners, coords, normals = cylinder(low, high, radii, 14)
        soup.add(corners, coords, Material.PLAIN, owner, normals)
