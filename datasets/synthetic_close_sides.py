"""What stands close beside a lane or closes it: fronts, garages, gardens, thickets, blank walls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffrender.datasets.synthetic_geometry import Material, grid_strip
from diffrender.datasets.synthetic_objects import add_box, add_bush, add_tree
from diffrender.datasets.synthetic_roadside import Roadside
from diffrender.datasets.synthetic_street import Side

__all__ = ["add_canopy", "add_clutter", "furnish"]


def furnish(roadside: Roadside, side: Side) -> None:
    """Fill the zone of one side, whichever kind of street it belongs to."""
    if side.zone in _ZONES:
        _ZONES[side.zone](roadside, side)
    else:
        roadside.furnish(side)


def add_canopy(roadside: Roadside, side: Side) -> None:
    """Tall trees at the road's edge, also behind the camera: their shadows cross the road."""
    draw = roadside.draw
    s = draw.uniform(-12, 0)
    while s < 55:
        aside = draw.uniform(0.3, 4) + (4 if -5 < s < 6 else 0)  # crowns reach that far
        spot = roadside.street.place(roadside.outward(side, aside), s)
        if s < -5 or roadside.free(spot, 0.5):
            height = draw.uniform(6, 14)
            add_tree(roadside.soup, spot, roadside.palette, draw, height)
        s += draw.uniform(4, 14)


def add_clutter(roadside: Roadside, side: Side) -> None:
    """Bins, boxes, posts and people near the camera."""
    draw, street = roadside.draw, roadside.street
    for _ in range(int(draw.poisson(3.0))):
        s = 4 + 25 * draw.random() ** 1.5
        spot = street.place(side.sign * (street.edge(side) + draw.uniform(0.2, 4)), s)
        if roadside.free(spot, 0.5):
            roadside.small_thing(spot, street.direction(s))


def _fronts(roadside: Roadside, side: Side) -> None:
    """Houses whose fronts stand at the edge itself."""
    kind = str(roadside.draw.choice(["house", "town"]))
    roadside.row(side, kind, (6, 15), (-6, 2.5), (0.0, 0.5))


def _garden(roadside: Roadside, side: Side) -> None:
    """A low wall or fence with dense green behind it, and houses farther back."""
    draw = roadside.draw
    roadside.line(side, 0.1, str(draw.choice(["wall", "fence", "hedge", "rail"])),
                  draw.uniform(0.4, 1.8))  # fmt: skip
    if draw.random() < 0.6:
        roadside.line(side, draw.uniform(0.5, 0.9), "hedge", draw.uniform(1.2, 3.5))
    _green(roadside, side, (0.8, 2.5), (1.0, 3.0), 2.4)
    roadside.row(side, "house", (8, 15), (3, 16), (5, 10))
    roadside.scatter(side, (2.0, 6.0), 16, (3, 9), bushes=0.3)


def _thicket(roadside: Roadside, side: Side) -> None:
    """Bushes and trees that hang over the edge."""
    draw = roadside.draw
    tall = draw.uniform(1.5, 4.0)
    _green(roadside, side, (0.2, 1.5), (0.5 * tall, tall), 1.6)
    _green(roadside, side, (1.5, 4.0), (tall, 1.6 * tall), 2.5)
    roadside.scatter(side, (1.0, 9.0), 22, (5, 14), bushes=0.1)


def _green(roadside: Roadside, side: Side, reach: tuple[float, float],
           height: tuple[float, float], pitch: float) -> None:  # fmt: skip
    draw, street = roadside.draw, roadside.street
    s = draw.uniform(-3, 1)
    while s < 75:
        aside, tall = draw.uniform(*reach), draw.uniform(*height)
        # a bush is up to 1.1 times as wide as it is tall: near the camera none hangs over the edge
        spot = street.place(roadside.outward(side, max(aside, (1.1 if s < 8 else 0.8) * tall)), s)
        if not street.in_crossing(s, 1.5) and roadside.free(spot, 0.8):
            add_bush(roadside.soup, spot, roadside.palette, draw, tall)
        s += pitch * draw.uniform(0.6, 1.6) * (1 + max(s, 0) / 60)


def _garages(roadside: Roadside, side: Side) -> None:
    """Low flat boxes with wide doors, mostly rendered in white."""
    draw, street, soup = roadside.draw, roadside.street, roadside.soup
    s = draw.uniform(-6, 6)
    while s < 70:
        run, deep, height = draw.uniform(3, 10), draw.uniform(4, 7), draw.uniform(2.3, 3.4)
        setback, turn = draw.uniform(0, 1.5), street.direction(s + run / 2)
        if not street.in_crossing(np.arange(s - 1, s + run + 1)).any():
            colour = draw.uniform(0.25, 0.85) * np.array([1, 0.98, 0.94])
            looks = soup.add_looks(*colour, 0, 0, 0, *draw.uniform(0, 9, 2), 3.0, 3.0, 0.0)
            spot = street.place(roadside.outward(side, setback + deep / 2), s + run / 2)
            add_box(soup, spot + [0, 0.3, 0], (run, height + 0.3, deep), turn, Material.WALL, looks)
            _doors(roadside, side, (s, run, setback), height, turn)
        s += run + draw.choice([0.0, 0.0, draw.uniform(1, 10)])
    roadside.row(side, "house", (8, 15), (4, 20), (8, 14))
    roadside.scatter(side, (8, 14), 12, (5, 12), bushes=0.1)


def _doors(roadside: Roadside, side: Side, front: tuple[float, float, float], height: float,
           turn: float) -> None:  # fmt: skip
    draw, soup, street = roadside.draw, roadside.soup, roadside.street
    begin, run, setback = front
    tone = draw.choice([0.03, 0.1, 0.3, 0.6]) * draw.uniform(0.7, 1.3) * draw.uniform(0.7, 1, 3)
    door = soup.add_looks(*tone, *(0.8 * tone), 0, 0, 0.02, 0, draw.choice([0.0, 0.25]))
    for k in range(int(run // 2.9)):
        spot = street.place(roadside.outward(side, setback - 0.02), begin + 1.6 + 2.9 * k)
        size = (2.4, min(2.1, height - 0.2), 0.1)
        add_box(soup, spot, size, turn, Material.PLAIN, door)


def _boards(roadside: Roadside, side: Side) -> None:
    """A tall fence, trees and roofs behind it."""
    roadside.line(side, 0.1, "fence", roadside.draw.uniform(1.6, 2.6))
    roadside.row(side, "house", (8, 15), (3, 20), (4, 12))
    roadside.scatter(side, (1.0, 8.0), 16, (4, 11), bushes=0.3)


def _blank(roadside: Roadside, side: Side) -> None:
    """A tall wall without windows: rendered white, blocks, or tiles of any colour."""
    draw, street = roadside.draw, roadside.street
    height = draw.uniform(1.8, 9.0)
    along = np.arange(-4.0, 112.0, 2.0)
    feet = street.place(roadside.outward(side, 0.1), along)
    top = feet - [0, height, 0]
    feet = feet + [0, 0.4, 0]
    low = np.stack([along, 0 * along, 0 * along], axis=1)
    coords = np.stack([low, low + [0, height, 0]], axis=1)
    white = draw.random() < 0.5
    tone = draw.uniform(0.5, 0.85) * np.ones(3) if white else draw.uniform(0.08, 0.6, 3)
    tile = draw.uniform(0.1, 1.2)
    looks = roadside.soup.add_looks(
        *tone, 0, 0, 0, *draw.uniform(0, 9, 2), tile, tile * draw.uniform(0.3, 1.0),
        draw.choice([0.0, 0.8, 1.6]),
    )  # fmt: skip
    corners, plan = grid_strip(np.stack([feet, top], axis=1), coords)
    clear = ~street.in_crossing(plan[:, :, 0], 0.5).any(axis=1)
    roadside.soup.add(corners[clear], plan[clear], Material.WALL, looks)
    roadside.scatter(side, (1.5, 8.0), 10, (6, 14), bushes=0.1)
    if draw.random() < 0.5:  # something green in front of it
        _green(roadside, side, (-0.6, 0.2), (0.5, 1.8), 4.0)


_ZONES: dict[str, Callable[[Roadside, Side], None]] = {
    "fronts": _fronts,
    "garden": _garden,
    "garages": _garages,
    "thicket": _thicket,
    "boards": _boards,
    "blank": _blank,
}
