"""Buildings of a synthetic street: walls that follow it, with pitched or flat roofs."""

from __future__ import annotations

import numpy as np

from diffrender.datasets.synthetic_geometry import Material, Soup, prism, quad
from diffrender.datasets.synthetic_objects import add_box
from diffrender.datasets.synthetic_street import Side, Street

__all__ = ["add_house"]

_TOWN_COLOURS = np.array(
    [
        [0.72, 0.68, 0.58], [0.75, 0.73, 0.70], [0.62, 0.50, 0.34], [0.66, 0.58, 0.44],
        [0.45, 0.20, 0.13], [0.52, 0.30, 0.20], [0.50, 0.50, 0.48], [0.58, 0.42, 0.32],
        [0.70, 0.60, 0.36], [0.40, 0.44, 0.46], [0.32, 0.42, 0.48], [0.80, 0.79, 0.75],
    ]
)  # fmt: skip


def add_house(
    soup: Soup, street: Street, side: Side, span: tuple[float, float], setback: float,
    draw: np.random.Generator, kind: str,
) -> None:  # fmt: skip
    """A building whose front follows the street over `span` (s), `setback` behind the zone's edge.

    `kind`: town (rows, several storeys), house (one or two storeys) or works (a shed).
    """
    sign = side.sign
    front = sign * (street.edge(side) + side.width + setback)
    storey = draw.uniform(2.7, 3.5)
    floors = {"town": int(draw.integers(2, 6)), "house": int(draw.integers(1, 3))}.get(kind, 1)
    height = float(storey * floors + draw.uniform(0.3, 1.0) + (3.0 if kind == "works" else 0))
    depth = draw.uniform(8, 13) if kind != "works" else draw.uniform(15, 40)
    a, b = street.place(front, span[0]), street.place(front, span[1])
    run = (b - a) * [1, 0, 1]
    length = float(np.linalg.norm(run))
    out = sign * np.array([run[2], 0, -run[0]]) / length
    footprint = np.stack([a, b, b + out * depth, a + out * depth])
    footprint[:, 1] = max(a[1], b[1]) + 0.5
    total = height + 0.5 + float(abs(a[1] - b[1]))
    base = _TOWN_COLOURS[draw.integers(0, len(_TOWN_COLOURS))] * draw.uniform(0.75, 1.1)
    base = np.clip(base + draw.normal(0, 0.03, 3), 0.05, 0.85)
    accent = draw.choice(
        np.array([[0.1, 0.2, 0.1], [0.25, 0.12, 0.07], [0.6, 0.6, 0.58], [0.1, 0.12, 0.2]])
    )
    looks = soup.add_looks(
        *base, *accent, *draw.uniform(0, 50, 2), draw.uniform(2.0, 4.0), storey,
        draw.uniform(0.9, 1.5), draw.uniform(1.1, 1.9),
        draw.choice([0, 1, 2], p=[0.6, 0.25, 0.15]) if kind == "town" else 0,
        {"works": 2}.get(kind, int(base[0] > 1.7 * base[1])), total - 0.1,
        draw.random() < (0.35 if kind != "works" else 0),
    )  # fmt: skip
    walls, coords, top, top_coords = prism(footprint, total)
    coords[..., 1] -= 0.5
    soup.add(walls, coords, Material.FACADE, looks)
    tile = np.array([0.26, 0.10, 0.06]) if draw.random() < 0.65 else np.array([0.08, 0.08, 0.09])
    roof = soup.add_looks(*(tile * draw.uniform(0.6, 1.4)), 0, 0, 0, *draw.uniform(0, 9, 2))
    if kind == "works" or (kind == "town" and draw.random() < 0.25):
        soup.add(top, top_coords, Material.ROOF, roof)
        return
    _add_gable(soup, footprint, total, draw, roof, looks, along=draw.random() < 0.7)
    if draw.random() < 0.5:
        spot = footprint.mean(0) + run / length * draw.uniform(-0.3, 0.3) * length
        add_box(soup, spot - [0, total + 1.5, 0], (0.7, 2.4, 0.7), 0.0, Material.PLAIN, roof)


def _add_gable(
    soup: Soup, footprint: np.ndarray, height: float, draw: np.random.Generator, roof: int,
    wall: int, along: bool,
) -> None:  # fmt: skip
    """A pitched roof over a rectangle, ridge along its first side or across it."""
    corners = footprint if along else np.roll(footprint, -1, axis=0)
    corners = corners - [0, height, 0]
    a, b, c, d = corners
    half = float(np.linalg.norm(d - a)) / 2
    rise = half * draw.uniform(0.5, 1.1)
    ridge_a, ridge_b = (a + d) / 2 - [0, rise, 0], (b + c) / 2 - [0, rise, 0]
    over = 0.4 * (a - d) / (2 * half)
    slope = float(np.hypot(half, rise))
    length = float(np.linalg.norm(b - a))
    drop = np.array([0, rise * 0.4 / half, 0])
    soup.add(*quad(a + over + drop, b + over + drop, ridge_b, ridge_a, length, slope),
             Material.ROOF, roof)  # fmt: skip
    soup.add(*quad(c - over + drop, d - over + drop, ridge_a, ridge_b, length, slope),
             Material.ROOF, roof)  # fmt: skip
    for left, right, peak in ((a, d, ridge_a), (c, b, ridge_b)):
        triangle = np.stack([left, right, peak])[None]
        flat = np.array([[[0, height, 0], [2 * half, height, 0], [half, height + rise, 0]]])
        flat[..., 1] -= 0.5
        soup.add(triangle, flat, Material.FACADE, wall)
