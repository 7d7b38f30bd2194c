"""What stands along a synthetic street: rows of houses, walls, trees, people, the backdrop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.datasets.synthetic_cars import PlacedCar
from diffrender.datasets.synthetic_geometry import Material, Soup, cylinder, grid_strip
from diffrender.datasets.synthetic_ground import Palette
from diffrender.datasets.synthetic_houses import add_house
from diffrender.datasets.synthetic_objects import (
    add_box,
    add_bush,
    add_pole,
    add_tree,
    add_wall,
    soup_cloud,
)
from diffrender.datasets.synthetic_street import Side, Street

__all__ = ["Roadside"]


@dataclass
class Roadside:
    """Places things beside the road where no car stands."""

    soup: Soup
    street: Street
    palette: Palette
    draw: np.random.Generator
    cars: list[PlacedCar]
    clutter: float
    half_view: float

    def free(self, spot: np.ndarray, margin: float) -> bool:
        """Whether `spot` is worth a thing of radius `margin`: in view or near enough to cast a
        shadow into it, and clear of the cars and the camera's vehicle."""
        if spot[2] < -4 or abs(spot[0]) > self.half_view * max(spot[2], 0) + 9:
            return False
        if spot[2] < 4 and abs(spot[0]) < 2.0:
            return False
        for car in self.cars:
            local = (spot - car.foot) @ car.rotation
            if (
                abs(local[0]) < car.size[0] / 2 + margin
                and abs(local[2]) < car.size[1] / 2 + margin
            ):
                return False
        return True

    def furnish(self, side: Side) -> None:
        """Fill the zone of one side, of those that an ordinary street has."""
        {
            "town": self.town,
            "houses": self.houses,
            "woods": self.woods,
            "field": self.field,
            "park": self.park,
            "lot": self.lot,
            "works": self.works,
        }[side.zone](side)

    def outward(self, side: Side, distance: float) -> float:
        """u of a place `distance` beyond where the zone starts, metres."""
        return side.sign * (self.street.edge(side) + side.width + distance)

    def kerbside(self, side: Side) -> None:
        """Poles, a row of trees and small things beside the road."""
        draw, street = self.draw, self.street
        base = street.edge(side) + side.parking + 0.45
        s = draw.uniform(5, 25)
        while s < 90:
            if not street.in_crossing(s, 0.5) and draw.random() < min(self.clutter, 1.5) * 0.67:
                spot = street.place(side.sign * base, s)
                if self.free(spot, 0.25):
                    add_pole(self.soup, spot, draw, street.direction(s), side.sign)
            s += draw.uniform(5, 28)
        room = side.width - side.parking
        chance = {"country": 0.3, "avenue": 0.8, "suburb": 0.4, "town": 0.35}
        if draw.random() < chance.get(street.style, 0.3) and room > 1.0:
            pitch, phase = draw.uniform(6, 14), draw.uniform(4, 14)
            height = draw.uniform(5, 13)
            where = base + draw.uniform(0.4, max(room - 0.4, 0.5))
            for s in np.arange(phase, 110, pitch):
                spot = street.place(side.sign * where, s + draw.normal(0, 0.4))
                if not street.in_crossing(s, 2.0) and self.free(spot, 0.4):
                    add_tree(self.soup, spot, self.palette, draw, height * draw.uniform(0.8, 1.2))
        for _ in range(int(draw.poisson(0.9 * self.clutter))):
            s = draw.uniform(6, 45)
            spot = street.place(side.sign * (base + draw.uniform(0.2, max(room, 0.4))), s)
            if self.free(spot, 0.5) and not street.in_crossing(s):
                self.small_thing(spot, street.direction(s))

    def small_thing(self, spot: np.ndarray, turn: float) -> None:
        """A person, a bin, a box or a stack of crates."""
        draw = self.draw
        if draw.random() < 0.6:
            self.person(spot, draw.uniform(0, 6.28))
            return
        colour = draw.uniform(0.03, 0.4, 3) * [1, 1, 1]
        owner = self.soup.add_looks(*colour, *(colour * 0.4), *draw.uniform(0, 9, 2), 0.03, 0, 0.3)
        size = (draw.uniform(0.4, 0.9), draw.uniform(0.7, 1.5), draw.uniform(0.4, 0.9))
        add_box(self.soup, spot, size, turn + draw.normal(0, 0.3), Material.PLAIN, owner)

    def person(self, spot: np.ndarray, turn: float) -> None:
        draw = self.draw
        tall = draw.uniform(1.55, 1.9)
        top, legs = draw.uniform(0.02, 0.5, 3), draw.uniform(0.02, 0.2, 3)
        step = np.array([np.sin(turn), 0, np.cos(turn)]) * draw.uniform(0, 0.25)
        aside = np.array([np.cos(turn), 0, -np.sin(turn)]) * 0.09
        hip, neck = spot - [0, 0.5 * tall, 0], spot - [0, 0.84 * tall, 0]
        trousers = self.soup.add_looks(*legs, 0, 0, 0, *draw.uniform(0, 9, 2))
        shirt = self.soup.add_looks(*top, 0, 0, 0, *draw.uniform(0, 9, 2))
        skin = self.soup.add_looks(0.38, 0.22, 0.15)
        limbs = [
            (spot + aside + step, hip + aside, (0.06, 0.09), trousers),
            (spot - aside - step, hip - aside, (0.06, 0.09), trousers),
            (hip, neck, (0.16, 0.20), shirt),
            (hip + 2.4 * aside + step * 0.6, neck + 2.4 * aside, (0.05, 0.06), shirt),
            (hip - 2.4 * aside - step * 0.6, neck - 2.4 * aside, (0.05, 0.06), shirt),
            (neck, neck - [0, 0.16 * tall, 0], (0.10, 0.09), skin),
        ]
        for low, high, radii, owner in limbs:
            corners, coords, normals = cylinder(low, high, radii, 7)
            self.soup.add(corners, coords, Material.PLAIN, owner, normals)

    def line(self, side: Side, distance: float, kind: str, height: float) -> None:
        """A wall along the zone's edge, broken at the crossing and at random gates."""
        draw, street = self.draw, self.street
        s = -2.0
        while s < 110:
            run = draw.uniform(8, 40)
            inside = np.arange(s, min(s + run, 112), 2.5)
            inside = inside[~street.in_crossing(inside, 1.5)]
            for part in np.split(inside, np.flatnonzero(np.diff(inside) > 3) + 1):
                spots = street.place(self.outward(side, distance), part)
                if len(part) >= 2:
                    add_wall(self.soup, spots, height, draw, kind, self.palette)
            s += run + (draw.uniform(1.5, 5) if draw.random() < 0.6 else 0.0)

    def row(self, side: Side, kind: str, length: tuple[float, float], gap: tuple[float, float],
             setback: tuple[float, float]) -> None:  # fmt: skip
        """Buildings one after the other."""
        draw, street = self.draw, self.street
        s = draw.uniform(-14, 6)
        while s < 150:
            run = draw.uniform(*length)
            reach = np.arange(s - 2.5, s + run + 2.6, 1.0)
            if street.in_crossing(reach).any():
                s = street.crossing[1] + 2.6
                continue
            add_house(self.soup, street, side, (s, s + run), draw.uniform(*setback), draw, kind)
            s += run + max(draw.uniform(*gap), 0.0)

    def town(self, side: Side) -> None:
        back = self.draw.choice([0.0, 0.0, 2.5])
        if back:
            self.line(side, 0.2, str(self.draw.choice(["wall", "hedge", "fence"])), 1.0)
        self.row(side, "town", (8, 24), (-6, 3), (back, back + 0.6))

    def houses(self, side: Side) -> None:
        draw = self.draw
        kind = str(draw.choice(["hedge", "wall", "fence", "rail", "none"]))
        if kind != "none":
            self.line(side, 0.15, kind, draw.uniform(0.7, 2.0))
        self.row(side, "house", (8, 15), (3, 16), (4, 9))
        self.scatter(side, (1.5, 7.0), 26, (1.0, 7.5), bushes=0.6)

    def woods(self, side: Side) -> None:
        draw = self.draw
        near = draw.uniform(0.5, 5)
        tall = draw.uniform(7, 16)
        for row in range(3):
            s = draw.uniform(-4, 4)
            while s < 120 - 15 * row:
                spot = self.street.place(
                    self.outward(side, near + 3.5 * row + draw.uniform(-1, 1)), s
                )
                if not self.street.in_crossing(s, 3.0) and self.free(spot, 0.8):
                    add_tree(self.soup, spot, self.palette, draw, tall * draw.uniform(0.6, 1.2))
                s += draw.uniform(2.5, 6.5)
        dense = draw.random() < 0.7
        s = draw.uniform(-4, 2)
        while dense and s < 100:
            spot = self.street.place(self.outward(side, near + draw.uniform(-0.5, 3)), s)
            if not self.street.in_crossing(s, 3.0) and self.free(spot, 1.5):
                add_bush(self.soup, spot, self.palette, draw, draw.uniform(1.0, 3.5))
            s += draw.uniform(1.2, 3.5)

    def field(self, side: Side) -> None:
        self.scatter(side, (1.0, 30.0), 12, (0.8, 9), bushes=0.7)
        if self.draw.random() < 0.4:
            self.line(side, self.draw.uniform(0.5, 6), "rail", 0.8)
        self.treeline(side, self.draw.uniform(25, 80))

    def park(self, side: Side) -> None:
        self.scatter(side, (1.0, 25.0), 34, (4, 14), bushes=0.3)
        if self.draw.random() < 0.5:
            kind = str(self.draw.choice(["hedge", "fence", "rail", "wall"]))
            self.line(side, 0.3, kind, self.draw.uniform(0.6, 1.6))
        self.treeline(side, self.draw.uniform(20, 50))

    def lot(self, side: Side) -> None:
        self.scatter(side, (28.0, 40.0), 18, (4, 12), bushes=0.3)
        kind = "works" if self.draw.random() < 0.6 else "house"
        self.row(side, kind, (15, 50), (2, 25), (30, 40))

    def works(self, side: Side) -> None:
        draw = self.draw
        self.line(
            side, 0.3, str(draw.choice(["fence", "rail", "wall", "hedge"])), draw.uniform(1, 2.2)
        )
        self.row(side, "works", (20, 60), (4, 25), (6, 25))
        self.scatter(side, (1.5, 6.0), 10, (3, 9), bushes=0.5)
        if draw.random() < 0.6:
            spot = self.street.place(self.outward(side, 2.0), draw.uniform(12, 40))
            colours = draw.uniform(0.02, 0.6, 6)
            board = self.soup.add_looks(*colours, *draw.uniform(0, 9, 2), draw.uniform(0.3, 1.2))
            add_box(self.soup, spot, (0.15, 3.0, draw.uniform(2, 5)), draw.normal(0, 0.3),
                    Material.POSTER, board, 1.8)  # fmt: skip

    def scatter(self, side: Side, reach: tuple[float, float], count: int,
                 height: tuple[float, float], bushes: float) -> None:  # fmt: skip
        draw = self.draw
        for _ in range(int(draw.poisson(count * self.clutter))):
            s = 3 + 105 * draw.random() ** 1.3
            spot = self.street.place(self.outward(side, draw.uniform(*reach)), s)
            if self.street.in_crossing(s, 2.5) or not self.free(spot, 1.4):
                continue
            if draw.random() < bushes:
                add_bush(self.soup, spot, self.palette, draw, draw.uniform(0.5, 2.2))
            else:
                add_tree(self.soup, spot, self.palette, draw, draw.uniform(*height))

    def treeline(self, side: Side, distance: float) -> None:
        """A distant row of big crowns beside the road."""
        draw = self.draw
        for s in np.arange(0, 160, 8.0):
            spot = self.street.place(self.outward(side, distance + draw.uniform(-4, 6)), s)
            if self.street.in_crossing(s, 3.0) or not self.free(spot, 4.0):
                continue
            self.crown(spot, draw.uniform(4, 9))

    def crown(self, spot: np.ndarray, radius: float) -> None:
        draw = self.draw
        tint = draw.uniform(0.7, 1.2)
        looks = self.soup.add_looks(
            *(self.palette.leaf * tint), *(self.palette.leaf_light * tint), *draw.uniform(0, 9, 2),
            draw.uniform(0.9, 2.0),
        )  # fmt: skip
        radii = radius * np.array([1.0, draw.uniform(0.7, 1.2), 1.0])
        soup_cloud(self.soup, int(draw.integers(0, 8)), spot - [0, radii[1] * 0.7, 0], radii, draw,
                   looks)  # fmt: skip

    def backdrop(self) -> None:
        """Trees, houses and hills far down the road."""
        draw = self.draw
        for _ in range(int(draw.integers(10, 40))):
            z = draw.uniform(120, 240)
            x = draw.uniform(-0.95, 0.95) * z
            line = self.street.place(0.0, z)
            spot = np.array([x, line[1] + 0.3, z])
            if abs(x - line[0]) < 9 or not self.free(spot, 0.0):
                continue
            self.crown(spot, draw.uniform(4, 11))
        if draw.random() < 0.4:
            owner = self.soup.add_looks(
                *(self.palette.leaf * 1.6 + 0.01),
                *(self.palette.leaf_light * 0.8 + 0.02),
                0,
                0,
                0.4,
            )
            across = np.linspace(-900, 900, 40)
            ridge = 20 + 40 * draw.random() + np.cumsum(draw.normal(0, 9, 40))
            ridge = np.clip(ridge - np.linspace(ridge[0], ridge[-1], 40) * 0.5, 8, 120)
            far = np.full(40, draw.uniform(560, 860))
            low = np.stack([across, np.full(40, 12.0), far], axis=1)
            high = np.stack([across, -ridge, far + 60], axis=1)
            slope = np.stack([low, high], axis=1)
            coords = slope[..., [0, 1, 1]] * 0.05
            coords[..., 2] = 0.8  # as the outside of a crown
            self.soup.add(*grid_strip(slope, coords), Material.FOLIAGE, owner)
