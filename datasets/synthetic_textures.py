"""Procedural materials: colour and gloss of surface points from their texture coordinates.

A material is a function of the points it covers, so only visible pixels are ever shaded.
Colours are linear RGB reflectances. `looks` are the per-object numbers laid down by the layout:
0:3 colour, 3:6 second colour, 6:8 texture offsets, 8: meaning by material.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffrender.datasets.synthetic_car_textures import CAR_MATERIALS
from diffrender.datasets.synthetic_geometry import Material
from diffrender.datasets.synthetic_surface import (
    BLOTCH,
    CLOUD,
    GRAIN,
    WHITE,
    Points,
    Surface,
    band,
    lattice_hash,
    mix,
)

__all__ = ["shade_material"]


def shade_material(material: Material, points: Points) -> Surface:
    """Colour and gloss of the points."""
    return _MATERIALS[material](points)


def _road(p: Points) -> Surface:
    """Asphalt with marks. looks 8: lane width, 9: right edge, 10: lanes, 11: centre line from the
    right edge in lanes, 12: edge lines (0/1), 13: crossing start, 14: crossing end, 15: wear."""
    u, s = p.coords[:, 0], p.coords[:, 1]
    looks = p.looks
    shade = 1 + 0.10 * p.noise(BLOTCH, 23.0, 0.35) + 0.10 * p.noise(GRAIN, 2.2)
    shade += 0.09 * p.noise(WHITE, 3.0)
    lane = looks[:, 8]
    # tyres polish two tracks in each lane
    from_right = (looks[:, 9] - u) / lane
    track = np.cos((from_right % 1.0) * 4 * np.pi)
    shade -= 0.05 * track * looks[:, 15]
    patch = p.noise(CLOUD, 37.0, 0.4)
    shade *= np.where(patch > 1.25, 0.72, 1.0)
    crack = band(p.noise(BLOTCH, 16.0), 0.012, 0.01 + 0.3 * p.footprint)
    shade *= 1 - 0.45 * crack * (looks[:, 15] > 0.5)
    colour = looks[:, 0:3] * np.clip(shade, 0.3, 1.8)[:, None]
    blur = p.footprint
    mark = np.zeros(len(u), np.float32)
    outside = (s < looks[:, 13]) | (s > looks[:, 14])
    lanes = looks[:, 10]
    index = np.round(from_right)
    across = (from_right - index) * lane
    inner = (index > 0) & (index < lanes)
    is_centre = index == looks[:, 11]
    dash_length, gap = np.where(is_centre, 4.0, 3.0), np.where(is_centre, 4.0, 6.0)
    phase = (s + looks[:, 7]) % (dash_length + gap)
    dash = np.clip((dash_length - phase) / np.maximum(p.stretch, 1e-3) + 0.5, 0, 1)
    solid = is_centre & (looks[:, 12] > 1.5)
    line = band(across, 0.065, blur) * inner * np.where(solid, 1.0, dash)
    mark = np.maximum(mark, line * (looks[:, 12] > 0.2))
    edge = np.abs(from_right - 0.06) * lane < np.abs(from_right - lanes + 0.06) * lane
    to_edge = np.where(edge, from_right - 0.06, from_right - lanes + 0.06) * lane
    mark = np.maximum(mark, band(to_edge, 0.08, blur) * (looks[:, 12] > 0.6))
    mark *= outside
    # stop line before a crossing
    mark = np.maximum(
        mark,
        band(s - looks[:, 13] + 1.2, 0.22, p.stretch)
        * ((from_right > 0) & (from_right < looks[:, 11])),
    )
    worn = np.clip(0.95 + 0.25 * p.noise(GRAIN, 1.5) - 0.35 * looks[:, 15], 0.1, 1)
    colour = mix(colour, np.full(3, 0.72, np.float32), mark * worn)
    return Surface(colour, 0.015)


def _pavement(p: Points) -> Surface:
    """Slabs. looks 8: slab width, 9: slab length, 10: strength of the joints."""
    u, s = p.coords[:, 0], p.coords[:, 1]
    wide, long = np.maximum(p.looks[:, 8], 0.1), np.maximum(p.looks[:, 9], 0.1)
    row = np.floor(s / long)
    x, y = u / wide + 0.5 * (row % 2), s / long
    tone = lattice_hash(np.floor(x), row, p.looks[:, 6] * 100) - 0.5
    near = np.clip(0.3 * wide / np.maximum(p.stretch, 1e-3), 0, 1)
    joint = np.maximum(
        band((x - np.round(x)) * wide, 0.012, p.footprint),
        band((y - np.round(y)) * long, 0.012, p.stretch),
    )
    shade = 1 + 0.12 * p.noise(BLOTCH, 9.0) + 0.09 * p.noise(GRAIN, 1.7) + 0.16 * tone * near
    shade *= 1 - 0.45 * joint * p.looks[:, 10]
    return Surface(p.looks[:, 0:3] * np.clip(shade, 0.2, 2)[:, None], 0.01)


def _grass(p: Points) -> Surface:
    dry = np.clip(0.5 + 0.45 * p.noise(BLOTCH, 19.0) + 0.25 * p.noise(GRAIN, 3.1), 0, 1)
    colour = mix(p.looks[:, 0:3], p.looks[:, 3:6], dry)
    shade = 1 + 0.33 * p.noise(WHITE, 2.9, 0.6) + 0.28 * p.noise(GRAIN, 1.3)
    flowers = p.noise(WHITE, 5.3) > 3.1
    colour = colour * np.clip(shade, 0.25, 2)[:, None]
    return Surface(np.where(flowers[:, None], np.float32(0.5), colour))


def _window(p: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cover of panes and frames, and a number per window. looks 8: pitch, 9: floor height,
    10: window width, 11: window height, 12: ground floor (0 as above, 1 shop, 2 blank)."""
    a, h = p.coords[:, 0], p.coords[:, 1]
    pitch, storey = np.maximum(p.looks[:, 8], 0.5), np.maximum(p.looks[:, 9], 1.0)
    column, floor = np.floor(a / pitch), np.floor(h / storey)
    x = (a / pitch - column - 0.5) * pitch
    y = (h / storey - floor - 0.55) * storey
    shop = (floor == 0) & (p.looks[:, 12] == 1)
    half_x = np.where(shop, 0.42 * pitch, p.looks[:, 10] / 2)
    half_y = np.where(shop, 0.38 * storey, p.looks[:, 11] / 2)
    luck = lattice_hash(column, floor, p.looks[:, 6] * 100, p.coords[:, 2])
    open_ = (luck > 0.08) & ~((floor == 0) & (p.looks[:, 12] == 2))
    blur = p.footprint
    pane = band(x, half_x, blur) * band(y, half_y, p.stretch) * open_
    mullion = np.maximum(band(x, 0.03, blur), band(y - 0.3 * half_y, 0.025, blur)) * pane
    frame = band(x, half_x + 0.1, blur) * band(y, half_y + 0.1, p.stretch) * open_
    frame = np.clip(frame - pane + mullion, 0, 1)
    return pane * (1 - mullion), frame, luck


def _facade(p: Points) -> Surface:
    """House front. looks 13: kind (0 plaster, 1 brick, 2 concrete panels), 14: wall height,
    15: shutters (0/1)."""
    a, h = p.coords[:, 0], p.coords[:, 1]
    kind = p.looks[:, 13]
    dirt = 1 + 0.05 * p.noise(BLOTCH, 11.0) + 0.05 * p.noise(GRAIN, 2.0)
    dirt -= 0.06 * np.clip(p.noise(CLOUD, 7.0, 0.12), 0, 2)
    colour = p.looks[:, 0:3] * np.clip(dirt, 0.3, 1.5)[:, None]
    brick_row = np.floor(h / 0.08)
    brick = np.floor(a / 0.25 + 0.5 * (brick_row % 2))
    joint = np.maximum(
        band((h / 0.08 - np.round(h / 0.08)) * 0.08, 0.006, p.footprint),
        band((a / 0.25 + 0.5 * (brick_row % 2) - brick - 0.5) * 0.25, 0.006, p.footprint) * 0.5,
    )
    near = np.clip(0.1 / np.maximum(p.footprint, 1e-3), 0, 1)
    bricks = colour * (1 + 0.35 * (lattice_hash(brick, brick_row) - 0.5) * near)[:, None]
    bricks = mix(bricks, np.full(3, 0.35, np.float32), joint * 0.7)
    panel = np.maximum(
        band((a / 3.0 - np.round(a / 3.0)) * 3.0, 0.02, p.footprint),
        band((h / 2.8 - np.round(h / 2.8)) * 2.8, 0.02, p.footprint),
    )
    panels = colour * (1 - 0.4 * panel)[:, None]
    colour = np.where((kind == 1)[:, None], bricks, np.where((kind == 2)[:, None], panels, colour))
    plinth = np.clip((0.7 - h) / 0.05, 0, 1) * (p.looks[:, 6] % 1 > 0.4)
    colour = mix(colour, colour * 0.55, plinth)
    below_roof = h < p.looks[:, 14] - 0.35
    pane, frame, luck = _window(p)
    pane, frame = pane * below_roof, frame * below_roof
    pitch = np.maximum(p.looks[:, 8], 0.5)
    x = np.abs((a / pitch) % 1.0 - 0.5) * pitch
    storey = np.maximum(p.looks[:, 9], 1.0)
    y = np.abs(((h / storey) % 1.0 - 0.55) * storey)
    half = p.looks[:, 10] / 2
    shutter = (x > half + 0.1) & (x < 2 * half + 0.12) & (y < p.looks[:, 11] / 2 + 0.05)
    shutter &= (p.looks[:, 15] > 0.5) & below_roof & (luck > 0.08) & (h > storey)
    colour = np.where(shutter[:, None], p.looks[:, 3:6] * np.float32(0.5), colour)
    colour = mix(colour, np.clip(p.looks[:, 3:6] + 0.15, 0, 0.85), frame)
    curtain = np.where(luck > 0.6, 0.22 * (luck - 0.5), 0.015).astype(np.float32)
    glass = np.stack([curtain, curtain, curtain * 1.05], axis=1)
    colour = mix(colour, glass, pane)
    eaves = np.clip((h - p.looks[:, 14] + 0.3) / 0.05, 0, 1)
    return Surface(mix(colour, colour * 0.6, eaves), 0.01 + 0.13 * pane)


def _roof(p: Points) -> Surface:
    row = p.coords[:, 1] / 0.35
    near = np.clip(0.15 / np.maximum(p.stretch, 1e-3), 0, 1)
    shade = 1 + 0.2 * (row % 1.0 - 0.5) * near + 0.12 * p.noise(BLOTCH, 5.0)
    shade += 0.1 * p.noise(GRAIN, 1.9)
    return Surface(p.looks[:, 0:3] * np.clip(shade, 0.3, 1.7)[:, None], 0.02)


def _foliage(p: Points) -> Surface:
    """Leaves; coords 2 is the depth into the crown. looks 8: contrast."""
    leaf = p.noise(GRAIN, 3.0) * 0.30 + p.noise(WHITE, 5.0) * 0.34
    clump = p.noise(BLOTCH, 6.0)
    tint = np.clip(0.45 + 0.4 * clump + 0.25 * leaf, 0, 1)
    colour = mix(p.looks[:, 0:3], p.looks[:, 3:6], tint)
    inside = np.clip((p.coords[:, 2] - 0.3) / 0.65, 0, 1)
    shade = (0.12 + 0.88 * inside**1.5) * np.clip(1 + p.looks[:, 8] * leaf, 0.05, 3.0)
    return Surface(colour * shade[:, None], 0.01)


def _bark(p: Points) -> Surface:
    shade = 1 + 0.3 * p.noise(GRAIN, 1.1, 0.2) + 0.2 * p.noise(WHITE, 2.0, 0.3)
    return Surface(p.looks[:, 0:3] * np.clip(shade, 0.2, 2)[:, None])


def _plain(p: Points) -> Surface:
    """Smooth matter with faint dirt. looks 8: gloss, 9: glow; 10: stripe length (0 none)."""
    shade = 1 + 0.06 * p.noise(GRAIN, 2.0)
    stripe = p.looks[:, 10]
    second = (np.floor(p.coords[:, 1] / np.maximum(stripe, 0.05)) % 2 == 1) & (stripe > 0)
    colour = np.where(second[:, None], p.looks[:, 3:6], p.looks[:, 0:3])
    return Surface(colour * shade[:, None], p.looks[:, 8], p.looks[:, 9])


def _fence(p: Points) -> Surface:
    """Planks or bars. looks 8: plank width, 9: gap share."""
    plank = np.maximum(p.looks[:, 8], 0.03)
    index = np.floor(p.coords[:, 0] / plank)
    inside = p.coords[:, 0] / plank - index
    near = np.clip(0.5 * plank / np.maximum(p.footprint, 1e-3), 0, 1)
    tone = 1 + 0.3 * (lattice_hash(index, p.looks[:, 6] * 100) - 0.5) * near
    tone += 0.12 * p.noise(GRAIN, 1.4, 0.15)
    gap = ((inside < p.looks[:, 9]) * near) + p.looks[:, 9] * (1 - near)
    return Surface(p.looks[:, 0:3] * (np.clip(tone, 0.2, 2) * (1 - 0.85 * gap))[:, None])


def _wall(p: Points) -> Surface:
    """Rubble, blocks or rendered wall. looks 8: block width, 9: block height, 10: relief."""
    wide, tall = np.maximum(p.looks[:, 8], 0.1), np.maximum(p.looks[:, 9], 0.08)
    row = np.floor(p.coords[:, 1] / tall)
    x = p.coords[:, 0] / wide + 0.5 * (row % 2)
    y = p.coords[:, 1] / tall
    near = np.clip(0.3 * tall / np.maximum(p.footprint, 1e-3), 0, 1)
    joint = np.maximum(
        band((x - np.round(x)) * wide, 0.014, p.footprint),
        band((y - np.round(y)) * tall, 0.014, p.footprint),
    )
    shade = 1 + p.looks[:, 10] * (0.5 * (lattice_hash(np.floor(x), row) - 0.5) * near - 0.5 * joint)
    shade += 0.13 * p.noise(BLOTCH, 6.0) + 0.12 * p.noise(GRAIN, 1.6)
    streak = np.clip(p.noise(CLOUD, 5.0, 0.1), 0, 2)
    return Surface(p.looks[:, 0:3] * np.clip(shade - 0.1 * streak, 0.15, 2)[:, None], 0.01)


def _poster(p: Points) -> Surface:
    """Boards and signs: random blocks of colour. looks 8: block size."""
    size = np.maximum(p.looks[:, 8], 0.05)
    x, y = np.floor(p.coords[:, 0] / size), np.floor(p.coords[:, 1] / size * 1.7)
    luck = lattice_hash(x, y, p.looks[:, 6] * 100)
    colour = np.where((luck < 0.4)[:, None], p.looks[:, 3:6], p.looks[:, 0:3])
    other = np.stack([lattice_hash(x, y + 7 * k, p.looks[:, 7] * 100) for k in range(3)], axis=1)
    return Surface(np.where((luck > 0.9)[:, None], other * np.float32(0.7), colour), 0.03)


_MATERIALS: dict[Material, Callable[[Points], Surface]] = {
    Material.ROAD: _road,
    Material.PAVEMENT: _pavement,
    Material.GRASS: _grass,
    Material.FACADE: _facade,
    Material.ROOF: _roof,
    Material.FOLIAGE: _foliage,
    Material.BARK: _bark,
    Material.PLAIN: _plain,
    Material.FENCE: _fence,
    Material.WALL: _wall,
    Material.POSTER: _poster,
    **CAR_MATERIALS,
}
