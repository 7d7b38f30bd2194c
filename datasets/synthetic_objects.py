"""Things that stand along a synthetic street, as triangles: trees, poles, walls, boxes."""

from __future__ import annotations

import numpy as np

from diffrender.datasets.synthetic_foliage import cloud
from diffrender.datasets.synthetic_geometry import Material, Soup, cylinder, grid_strip, prism
from diffrender.datasets.synthetic_ground import Palette

__all__ = ["add_box", "add_bush", "add_pole", "add_tree", "add_wall", "soup_cloud"]


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
        add_box(soup, top + facing * 0.13 + [0, 0.05 - 0.28 * (2 - lit), 0],
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
