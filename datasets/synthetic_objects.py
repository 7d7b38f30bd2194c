"""Things that stand along a synthetic street, as triangles: ground, houses, trees, poles ..."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.datasets.synthetic_geometry import (
    Material,
    Soup,
    cloud,
    cylinder,
    grid_strip,
    prism,
    quad,
)
from diffrender.datasets.synthetic_street import Side, Street

__all__ = ["Palette", "add_box", "add_bush", "add_ground", "add_house", "add_pole", "add_tree",
           "add_wall", "draw_palette"]  # fmt: skip

_TOWN_COLOURS = np.array(
    [
        [0.72, 0.68, 0.58], [0.75, 0.73, 0.70], [0.62, 0.50, 0.34], [0.66, 0.58, 0.44],
        [0.45, 0.20, 0.13], [0.52, 0.30, 0.20], [0.50, 0.50, 0.48], [0.58, 0.42, 0.32],
        [0.70, 0.60, 0.36], [0.40, 0.44, 0.46], [0.32, 0.42, 0.48], [0.80, 0.79, 0.75],
    ]
)  # fmt: skip


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

    def strip(u0: float, u1: float, material: Material, owner: int, first: float, last: float,
              raise0: float = 0.0) -> None:  # fmt: skip
        count = 2 if abs(u1 - u0) < 12 else 6
        share = np.linspace(0, 1, count)
        across = u0 + (u1 - u0) * (share if count == 2 else share**2)
        # sampled a hair inside, so that a step in the ground falls between two strips
        inside = across.copy()
        inside[0] += np.sign(u1 - u0) * 2e-3
        inside[-1] -= np.sign(u1 - u0) * 2e-3
        kept = rows[(rows >= first) & (rows <= last)]
        if len(kept) < 2:
            return
        points = street.place(inside[None, :], kept[:, None])
        points[:, 0, 1] += raise0
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
    strip(street.left_edge, street.right_edge, Material.ROAD, road, -4, 450)
    for side in (street.left, street.right):
        sign, edge = side.sign, street.edge(side)
        bend = np.abs(np.gradient(street.heading)).max()
        far = min(220.0, 0.8 / max(bend, 1e-6) - 10)
        lines = [edge, edge + side.parking, edge + side.parking + 0.14]
        order = ("path", "verge") if side.sign * street.lane % 1 < 0.5 else ("verge", "path")
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
            low = street.place(u - sign * 2e-3, kept)
            high = street.place(u + sign * 2e-3, kept)
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


def add_tree(
    soup: Soup, foot: np.ndarray, palette: Palette, draw: np.random.Generator, height: float
) -> None:
    """Trunk and crown on the ground at `foot`."""
    conifer = draw.random() < 0.12
    clear = height * (0.08 if conifer else draw.uniform(0.18, 0.42))
    lean = draw.normal(0, 0.02, 2) * height
    top = foot + [lean[0], -(clear + 0.35 * (height - clear)), lean[1]]
    thick = height * draw.uniform(0.009, 0.02)
    bark = soup.add_looks(*palette.bark, 0, 0, 0, *draw.uniform(0, 9, 2))
    soup.add(*_with_normals(cylinder(foot + [0, 0.1, 0], top, (thick, thick * 0.55), 7)),
             material=Material.BARK, owner=bark)  # fmt: skip
    tint = 1 + draw.normal(0, 0.12, 3)
    leaf = _leaf_looks(soup, palette, draw, tint)
    centre = foot + [lean[0], -(clear + height) / 2, lean[1]]
    up = (height - clear) / 2 * 1.12
    across = up * (draw.uniform(0.3, 0.45) if conifer else draw.uniform(0.6, 1.05))
    across = min(across, 4.5)
    radii = np.array([across, up, across * draw.uniform(0.85, 1.15)])
    soup_cloud(soup, int(draw.integers(0, 8)), centre, radii, draw, leaf)


def _with_normals(
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    return parts[0], parts[1]


def _leaf_looks(
    soup: Soup, palette: Palette, draw: np.random.Generator, tint: np.ndarray | float = 1.0
) -> int:
    dark, light = palette.leaf * tint, palette.leaf_light * tint
    if draw.random() < 0.06:
        light = np.array([0.30, 0.19, 0.05]) * draw.uniform(0.6, 1.1)
    return soup.add_looks(*dark, *light, *draw.uniform(0, 9, 2), draw.uniform(1.0, 2.2))


def soup_cloud(
    soup: Soup, kind: int, centre: np.ndarray, radii: np.ndarray, draw: np.random.Generator,
    owner: int,
) -> None:  # fmt: skip
    """A crown of leaves, with more and smaller leaves near the camera."""
    distance = float(np.hypot(centre[0], centre[2]))
    spread = radii.mean() / max(distance - radii.mean(), 2.0)
    leaves = 2400 if spread > 0.3 else 1300 if spread > 0.12 else 600 if spread > 0.05 else 260
    corners, coords, normals = cloud(kind, leaves, centre, radii, draw.uniform(0, 6.28))
    soup.add(corners, coords, Material.FOLIAGE, owner, normals)


def add_bush(
    soup: Soup, foot: np.ndarray, palette: Palette, draw: np.random.Generator, height: float
) -> None:
    """A crown that sits on the ground."""
    wide = height * draw.uniform(0.6, 1.1)
    radii = np.array([wide, height * 0.75, wide])
    soup_cloud(soup, int(draw.integers(0, 8)), foot - [0, 0.3 * height, 0], radii, draw,
               _leaf_looks(soup, palette, draw))  # fmt: skip


def add_box(
    soup: Soup, foot: np.ndarray, size: tuple[float, float, float], turn: float,
    material: Material, owner: int, lift: float = 0.0,
) -> None:  # fmt: skip
    """A box (along, up, across) turned by `turn` (heading to the right of z)."""
    along, up, across = size
    f = np.array([np.sin(turn), 0, np.cos(turn)]) * along / 2
    r = np.array([np.cos(turn), 0, -np.sin(turn)]) * across / 2
    base = foot - [0, lift, 0]
    footprint = np.stack([base - f - r, base - f + r, base + f + r, base + f - r])
    walls, wall_coords, top, top_coords = prism(footprint, up)
    soup.add(walls, wall_coords, material, owner)
    soup.add(top, top_coords, material, owner)


def add_pole(
    soup: Soup, foot: np.ndarray, draw: np.random.Generator, turn: float, outward: float
) -> None:
    """Lamp post, traffic light, sign, delineator, bollard or tram mast."""
    kind = draw.choice(["lamp", "sign", "light", "mast", "marker", "bollard"],
                       p=[0.3, 0.27, 0.12, 0.1, 0.12, 0.09])  # fmt: skip
    grey = draw.uniform(0.1, 0.5)
    metal = soup.add_looks(grey, grey, grey * 1.03, 0, 0, 0, *draw.uniform(0, 9, 2), 0.04)
    height = {"lamp": draw.uniform(5, 9), "sign": draw.uniform(2.4, 3.4), "light": 3.4,
              "mast": draw.uniform(7, 9), "marker": 1.0, "bollard": 0.9}[str(kind)]  # fmt: skip
    thick = {"lamp": 0.07, "sign": 0.035, "light": 0.07, "mast": 0.14, "marker": 0.06,
             "bollard": 0.06}[str(kind)]  # fmt: skip
    top = foot - [0, height, 0]
    if kind == "marker":
        metal = soup.add_looks(0.75, 0.75, 0.75, 0.03, 0.03, 0.03, 0, 0, 0.02, 0, 0.42)
    soup.add(*_with_normals(cylinder(foot + [0, 0.1, 0], top, (thick, thick * 0.7))),
             material=Material.PLAIN, owner=metal)  # fmt: skip
    right = np.array([np.cos(turn), 0, -np.sin(turn)])
    if kind == "lamp" or (kind == "mast" and draw.random() < 0.6):
        arm = top - right * outward * draw.uniform(0.8, 2.5)
        soup.add(*_with_normals(cylinder(top, arm, (0.04, 0.04), 5)), material=Material.PLAIN,
                 owner=metal)  # fmt: skip
        add_box(soup, arm, (0.3, 0.12, 0.6), turn, Material.PLAIN, metal)
    if kind == "light":
        dark = soup.add_looks(0.03, 0.03, 0.03, 0, 0, 0, 0, 0, 0.03)
        add_box(soup, top, (0.25, 0.9, 0.3), turn, Material.PLAIN, dark, -0.1)
        glow = [(0.8, 0.05, 0.03), (0.7, 0.4, 0.02), (0.05, 0.7, 0.4)]
        lit = int(draw.integers(0, 3))
        lamp = soup.add_looks(*glow[lit], 0, 0, 0, 0, 0, 0, 1.6)
        facing = np.array([-np.sin(turn), 0, -np.cos(turn)])
        add_box(soup, top + facing * 0.13 + [0, 0.15 - 0.27 * (2 - lit) + 0.1, 0],
                (0.05, 0.18, 0.18), turn, Material.PLAIN, lamp)  # fmt: skip
    if kind == "sign":
        colours = [(0.6, 0.03, 0.03), (0.03, 0.12, 0.5), (0.75, 0.75, 0.75), (0.7, 0.5, 0.02)]
        a, b = draw.permutation(4)[:2]
        board = soup.add_looks(*colours[a], *colours[b], *draw.uniform(0, 9, 2),
                               draw.uniform(0.15, 0.5))  # fmt: skip
        size = draw.uniform(0.5, 0.9)
        add_box(soup, top, (0.04, size, size * draw.uniform(0.7, 1.3)),
                turn + draw.normal(0, 0.15), Material.POSTER, board, -size * 0.5)  # fmt: skip


def add_wall(
    soup: Soup, points: np.ndarray, height: float, draw: np.random.Generator, kind: str,
    palette: Palette,
) -> None:  # fmt: skip
    """A wall, fence or hedge along `points` (N, 3) on the ground."""
    thick = {"hedge": 0.5, "wall": 0.25, "fence": 0.05, "rail": 0.05}[kind]
    across = np.gradient(points, axis=0)[:, [2, 1, 0]] * [1, 0, -1]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    up = np.array([0, -height, 0])
    profile = np.stack(
        [points - across * thick, points - across * thick * 0.9 + up,
         points + across * thick * 0.9 + up, points + across * thick], axis=1,
    )  # fmt: skip
    profile[:, [0, 3], 1] += 0.3  # below the ground, so that no gap shows on a slope
    rise = np.array([-0.3, height, height + 2 * thick, -0.3])
    coords = np.stack(np.broadcast_arrays(steps[:, None], rise[None, :], 0.85), axis=-1)
    if kind == "hedge":
        owner = _leaf_looks(soup, palette, draw)
        profile[:, 1:3] += draw.normal(0, 0.07, profile[:, 1:3].shape)
        soup.add(*grid_strip(profile, coords), Material.FOLIAGE, owner)
        return
    if kind == "wall":
        tone = draw.uniform(0.15, 0.6) * (np.array([1, 0.95, 0.88]) + draw.normal(0, 0.04, 3))
        if draw.random() < 0.2:
            tone = np.array([0.36, 0.16, 0.10])
        owner = soup.add_looks(*tone, 0, 0, 0, *draw.uniform(0, 9, 2), draw.uniform(0.25, 0.8),
                               draw.uniform(0.1, 0.4), draw.choice([0, 0.6, 1.0]))  # fmt: skip
        soup.add(*grid_strip(profile, coords), Material.WALL, owner)
        return
    wood = draw.uniform(0.08, 0.35) * np.array([1, 0.8, 0.58]) + draw.uniform(0, 0.1)
    owner = soup.add_looks(*wood, 0, 0, 0, *draw.uniform(0, 9, 2), draw.uniform(0.08, 0.2),
                           draw.uniform(0.02, 0.5))  # fmt: skip
    if kind == "fence":
        soup.add(*grid_strip(profile, coords), Material.FENCE, owner)
        return
    for level in (0.35, 0.62):  # rail: two bars and posts
        bar = profile.copy()
        bar[:, [0, 3], 1] = points[:, None, 1] - level * height / 0.7
        bar[:, [1, 2], 1] = points[:, None, 1] - level * height / 0.7 - 0.12
        soup.add(*grid_strip(bar, coords), Material.PLAIN, owner)
    for point in points[::1]:
        soup.add(*_with_normals(cylinder(point, point + up, (0.05, 0.05), 5)),
                 material=Material.PLAIN, owner=owner)  # fmt: skip


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
    floors = {"town": draw.integers(2, 6), "house": draw.integers(1, 3), "works": 1}[kind]
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
