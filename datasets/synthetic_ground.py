"""The ground of a synthetic street: road, kerbs, paths, verges; and the colours of the street."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.datasets.synthetic_geometry import Material, Soup, grid_strip
from diffrender.datasets.synthetic_street import Street

__all__ = ["Palette", "add_ground", "draw_palette"]


@dataclass(frozen=True)
class Palette:
    """Colours of a street that its things share, linear RGB."""

    leaf: np.ndarray  # (3,)
    leaf_light: np.ndarray  # (3,)
    grass: np.ndarray  # (3,)
    grass_dry: np.ndarray  # (3,)
    asphalt: np.ndarray  # (3,)
    stone: np.ndarray  # (3,)
    bark: np.ndarray  # (3,)


def draw_palette(draw: np.random.Generator) -> Palette:
    """Season, soil and road surface."""
    autumn = draw.random() ** 3
    leaf = np.array([0.045, 0.085, 0.022]) * draw.uniform(0.6, 1.3)
    light = np.array([0.13, 0.21, 0.04]) * draw.uniform(0.7, 1.3)
    light = light + autumn * (np.array([0.33, 0.20, 0.05]) - light)
    grass = np.array([0.07, 0.13, 0.03]) * draw.uniform(0.7, 1.3)
    dry = np.array([0.20, 0.20, 0.08]) * draw.uniform(0.6, 1.3)
    tone = draw.uniform(0.10, 0.30)
    asphalt = tone * np.array([1.0, 1.0, 1.0]) * (1 + draw.normal(0, 0.025, 3))
    stone = draw.uniform(0.2, 0.42) * np.array([1.0, 0.97, 0.92]) * (1 + draw.normal(0, 0.03, 3))
    if draw.random() < 0.12:
        stone = stone * np.array([1.1, 0.75, 0.6])
    bark = draw.uniform(0.05, 0.14) * np.array([1.0, 0.85, 0.68])
    return Palette(leaf, light, grass, dry, asphalt, stone, bark)


def add_ground(soup: Soup, street: Street, palette: Palette, draw: np.random.Generator) -> None:
    """Road, kerbs, paths, verges and the land beyond, as strips that follow the street."""
    rows = np.unique(
        np.concatenate(
            [
                np.arange(-4, 40, 2.0),
                np.arange(40, 120, 5.0),
                [120, 135, 150, 170, 200, 260, 340, 450],
                [c for c in street.crossing if np.isfinite(c)],
                [c - 1.5 for c in street.crossing[:1] if np.isfinite(c)],
                [c + 1.5 for c in street.crossing[1:] if np.isfinite(c)],
            ]
        )
    )
    begin, end = (c if np.isfinite(c) else 1e6 for c in street.crossing)
    lanes = street.lanes_left + street.lanes_right
    marks = {"country": 2.0, "avenue": 1.0, "works": 1.0}.get(street.style, 0.5)
    marks = marks * (draw.random() < 0.75) + (draw.random() < 0.2)
    road = soup.add_looks(
        *palette.asphalt, *palette.asphalt, *draw.uniform(0, 50, 2), street.lane,
        street.right_edge, lanes, street.lanes_right, min(marks, 2.0), begin, end, draw.random(),
    )  # fmt: skip
    path = soup.add_looks(
        *palette.stone, *palette.stone, *draw.uniform(0, 50, 2), draw.uniform(0.25, 1.2),
        draw.uniform(0.25, 1.2), draw.random(),
    )  # fmt: skip
    paved_looks = soup.add_looks(*(palette.asphalt * draw.uniform(0.8, 1.3)), 0, 0, 0, 3, 9, 9, 9)
    grass = soup.add_looks(*palette.grass, *palette.grass_dry, *draw.uniform(0, 50, 2))
    kerb = soup.add_looks(*(palette.stone * 1.15), 0, 0, 0, 7, 5, 1.0, 0.3, 0.5)

    def strip(
        u0: float, u1: float, material: Material, owner: int, first: float, last: float
    ) -> None:
        count = 2 if abs(u1 - u0) < 12 else 6
        share = np.linspace(0, 1, count)
        across = u0 + (u1 - u0) * (share if count == 2 else share**2)
        # heights are read a hair inside, so that a step in the ground falls between two strips
        inside = across.copy()
        inside[0] += np.sign(u1 - u0) * 2e-3
        inside[-1] -= np.sign(u1 - u0) * 2e-3
        kept = rows[(rows >= first) & (rows <= last)]
        if len(kept) < 2:
            return
        points = street.place(across[None, :], kept[:, None])
        points[..., 1] = street.ground(inside[None, :], kept[:, None])
        coords = np.stack(
            [
                np.broadcast_to(across[None, :], points.shape[:2]),
                np.broadcast_to(kept[:, None], points.shape[:2]),
                np.zeros(points.shape[:2]),
            ],
            axis=-1,
        )
        soup.add(*grid_strip(points, coords), material, owner)

    spans = [(-4.0, 450.0)]
    if np.isfinite(street.crossing[0]):
        spans = [(-4.0, street.crossing[0]), (street.crossing[1], 450.0)]
    surface = (Material.PAVEMENT, path) if street.style == "yard" else (Material.ROAD, road)
    strip(street.left_edge, street.right_edge, *surface, -4, 450)
    for side in (street.left, street.right):
        sign, edge = side.sign, street.edge(side)
        bend = np.abs(np.gradient(street.heading)).max()
        far = min(220.0, 0.8 / max(bend, 1e-6) - 10)
        lines = [edge, edge + side.parking, edge + side.parking + 0.14]
        order = ("path", "verge") if draw.random() < 0.4 else ("verge", "path")
        for name in order:
            lines.append(lines[-1] + max(getattr(side, name), 0.0))
        soft = side.zone in ("houses", "woods", "field", "park")
        beyond = (Material.GRASS, grass) if soft else (Material.PAVEMENT, paved_looks)
        kinds = [(Material.ROAD, road), (Material.WALL, kerb)]
        kinds += [
            (Material.PAVEMENT, path) if name == "path" else (Material.GRASS, grass)
            for name in order
        ]
        kinds.append(beyond)
        lines.append(far)
        for i, (material, owner) in enumerate(kinds):
            if lines[i + 1] - lines[i] < 0.02:
                continue
            everywhere = [(-4.0, 450.0)] if i == 0 else spans
            for first, last in everywhere:
                strip(sign * lines[i], sign * lines[i + 1], material, owner, first, last)
        for first, last in spans:  # the kerb's face
            kept = rows[(rows >= first) & (rows <= last)]
            if side.kerb < 0.01 or len(kept) < 2:
                continue
            u = sign * lines[1]
            low, high = street.place(u, kept), street.place(u, kept)
            low[:, 1] = street.ground(u - sign * 2e-3, kept)
            high[:, 1] = street.ground(u + sign * 2e-3, kept)
            coords = np.stack([kept, 0 * kept, 0 * kept], axis=-1)
            up = coords + [0, side.kerb, 0]
            soup.add(
                *grid_strip(np.stack([low, high], 1), np.stack([coords, up], 1)),
                Material.WALL, kerb,
            )  # fmt: skip
        if np.isfinite(street.crossing[0]):
            strip(sign * lines[1], sign * far, Material.ROAD, road, *street.crossing)
    _add_base(soup, street, grass)


def _add_base(soup: Soup, street: Street, owner: int) -> None:
    """A sheet below everything, out to the horizon."""
    z = np.concatenate([np.arange(-5, 150, 12.0), [150, 250, 500, 899]])
    height = 0.45 + np.interp(z, np.arange(len(street.elevation)) - 10.0, -street.elevation)
    x = np.array([-900.0, -60, 60, 900])
    points = np.stack(np.broadcast_arrays(x[None, :], height[:, None], z[:, None]), axis=-1)
    coords = np.stack(np.broadcast_arrays(x[None, :], z[:, None], 0.0), axis=-1)
    soup.add(*grid_strip(points, coords), Material.GRASS, owner)
