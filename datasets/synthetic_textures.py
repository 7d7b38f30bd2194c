"""Procedural materials: colour and gloss of surface points from their texture coordinates.

A material is a function of the points it covers, so only visible pixels are ever shaded.
Colours are linear RGB reflectances. `looks` are the per-object numbers laid down by the layout:
0:3 colour, 3:6 second colour, 6:8 texture offsets, 8: meaning by material.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diffrender.datasets.synthetic_geometry import Material
from diffrender.datasets.synthetic_noise import noise_map, sample_noise

__all__ = ["Points", "Surface", "shade_material"]

_BLOTCH, _GRAIN, _CLOUD, _WHITE = (1.6, 11), (0.9, 12), (1.2, 13), (0.2, 14)


@dataclass(frozen=True)
class Points:
    """N visible points of one material."""

    coords: np.ndarray  # (N, 3) texture coordinates, metres
    looks: np.ndarray  # (N, PARAMETERS)
    footprint: np.ndarray  # (N,) pixel size across, metres
    stretch: np.ndarray  # (N,) pixel size along a grazing surface, metres

    def noise(self, kind: tuple[float, int], tile: float, squeeze: float = 1.0) -> np.ndarray:
        """Noise over the first two coordinates; `squeeze` stretches the second."""
        x = self.coords[:, 0] + self.looks[:, 6]
        y = (self.coords[:, 1] + self.looks[:, 7]) * np.float32(squeeze)
        size = np.sqrt(self.footprint * self.stretch)
        return sample_noise(noise_map(*kind), x, y, tile, size)


@dataclass(frozen=True)
class Surface:
    """What the light meets.

    Attributes:
        colour: (N, 3) linear reflectance.
        gloss: (N,) share of mirror-like reflection at normal incidence.
        glow: (N,) emitted light, in units of the colour.
    """

    colour: np.ndarray  # (N, 3)
    gloss: np.ndarray | float = 0.0
    glow: np.ndarray | float = 0.0


def shade_material(material: Material, points: Points) -> Surface:
    """Colour and gloss of the points."""
    return _MATERIALS[material](points)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * share[:, None]


def _band(distance: np.ndarray, half: np.ndarray | float, blur: np.ndarray) -> np.ndarray:
    """Share of a pixel covered by |distance| < half, antialiased over `blur`."""
    return np.clip((half - np.abs(distance)) / np.maximum(blur, 1e-4) + 0.5, 0, 1) * np.clip(
        2 * half / np.maximum(blur, 1e-4), 0, 1
    )


def _hash(*values: np.ndarray) -> np.ndarray:
    """Repeatable number in [0, 1) per combination of integers."""
    total = np.zeros(values[0].shape, np.int64)
    for value, prime in zip(values, (73856093, 19349663, 83492791, 49979687), strict=False):
        total ^= value.astype(np.int64) * prime
    total = (total ^ (total >> 13)) * 1274126177 & 0x7FFFFFFF
    return ((total ^ (total >> 16)) & 0xFFFF).astype(np.float32) / 65536


def _road(p: Points) -> Surface:
    """Asphalt with marks. looks 8: lane width, 9: right edge, 10: lanes, 11: centre line from the
    right edge in lanes, 12: edge lines (0/1), 13: crossing start, 14: crossing end, 15: wear."""
    u, s = p.coords[:, 0], p.coords[:, 1]
    looks = p.looks
    shade = 1 + 0.10 * p.noise(_BLOTCH, 23.0, 0.35) + 0.10 * p.noise(_GRAIN, 2.2)
    shade += 0.09 * p.noise(_WHITE, 3.0)
    lane = looks[:, 8]
    # tyres polish two tracks in each lane
    from_right = (looks[:, 9] - u) / lane
    track = np.cos((from_right % 1.0) * 4 * np.pi)
    shade -= 0.05 * track * looks[:, 15]
    patch = p.noise(_CLOUD, 37.0, 0.4)
    shade *= np.where(patch > 1.25, 0.72, 1.0)
    crack = _band(p.noise(_BLOTCH, 16.0), 0.012, 0.01 + 0.3 * p.footprint)
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
    line = _band(across, 0.065, blur) * inner * np.where(solid, 1.0, dash)
    mark = np.maximum(mark, line * (looks[:, 12] > 0.2))
    edge = np.abs(from_right - 0.06) * lane < np.abs(from_right - lanes + 0.06) * lane
    to_edge = np.where(edge, from_right - 0.06, from_right - lanes + 0.06) * lane
    mark = np.maximum(mark, _band(to_edge, 0.08, blur) * (looks[:, 12] > 0.6))
    mark *= outside
    # stop line before a crossing
    mark = np.maximum(
        mark,
        _band(s - looks[:, 13] + 1.2, 0.22, p.stretch)
        * ((from_right > 0) & (from_right < looks[:, 11])),
    )
    worn = np.clip(0.95 + 0.25 * p.noise(_GRAIN, 1.5) - 0.35 * looks[:, 15], 0.1, 1)
    colour = _mix(colour, np.full(3, 0.72, np.float32), mark * worn)
    return Surface(colour, 0.015)


def _pavement(p: Points) -> Surface:
    """Slabs. looks 8: slab width, 9: slab length, 10: strength of the joints."""
    u, s = p.coords[:, 0], p.coords[:, 1]
    wide, long = np.maximum(p.looks[:, 8], 0.1), np.maximum(p.looks[:, 9], 0.1)
    row = np.floor(s / long)
    x, y = u / wide + 0.5 * (row % 2), s / long
    tone = _hash(np.floor(x), row, p.looks[:, 6] * 100) - 0.5
    near = np.clip(0.3 * wide / np.maximum(p.stretch, 1e-3), 0, 1)
    joint = np.maximum(
        _band((x - np.round(x)) * wide, 0.012, p.footprint),
        _band((y - np.round(y)) * long, 0.012, p.stretch),
    )
    shade = 1 + 0.12 * p.noise(_BLOTCH, 9.0) + 0.09 * p.noise(_GRAIN, 1.7) + 0.16 * tone * near
    shade *= 1 - 0.45 * joint * p.looks[:, 10]
    return Surface(p.looks[:, 0:3] * np.clip(shade, 0.2, 2)[:, None], 0.01)


def _grass(p: Points) -> Surface:
    dry = np.clip(0.5 + 0.45 * p.noise(_BLOTCH, 19.0) + 0.25 * p.noise(_GRAIN, 3.1), 0, 1)
    colour = _mix(p.looks[:, 0:3], p.looks[:, 3:6], dry)
    shade = 1 + 0.33 * p.noise(_WHITE, 2.9, 0.6) + 0.28 * p.noise(_GRAIN, 1.3)
    flowers = p.noise(_WHITE, 5.3) > 3.1
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
    luck = _hash(column, floor, p.looks[:, 6] * 100, p.coords[:, 2])
    open_ = (luck > 0.08) & ~((floor == 0) & (p.looks[:, 12] == 2))
    blur = p.footprint
    pane = _band(x, half_x, blur) * _band(y, half_y, p.stretch) * open_
    mullion = np.maximum(_band(x, 0.03, blur), _band(y - 0.3 * half_y, 0.025, blur)) * pane
    frame = _band(x, half_x + 0.1, blur) * _band(y, half_y + 0.1, p.stretch) * open_
    frame = np.clip(frame - pane + mullion, 0, 1)
    return pane * (1 - mullion), frame, luck


def _facade(p: Points) -> Surface:
    """House front. looks 13: kind (0 plaster, 1 brick, 2 concrete panels), 14: wall height,
    15: shutters (0/1)."""
    a, h = p.coords[:, 0], p.coords[:, 1]
    kind = p.looks[:, 13]
    dirt = 1 + 0.05 * p.noise(_BLOTCH, 11.0) + 0.05 * p.noise(_GRAIN, 2.0)
    dirt -= 0.06 * np.clip(p.noise(_CLOUD, 7.0, 0.12), 0, 2)
    colour = p.looks[:, 0:3] * np.clip(dirt, 0.3, 1.5)[:, None]
    brick_row = np.floor(h / 0.08)
    brick = np.floor(a / 0.25 + 0.5 * (brick_row % 2))
    joint = np.maximum(
        _band((h / 0.08 - np.round(h / 0.08)) * 0.08, 0.006, p.footprint),
        _band((a / 0.25 + 0.5 * (brick_row % 2) - brick - 0.5) * 0.25, 0.006, p.footprint) * 0.5,
    )
    near = np.clip(0.1 / np.maximum(p.footprint, 1e-3), 0, 1)
    bricks = colour * (1 + 0.35 * (_hash(brick, brick_row) - 0.5) * near)[:, None]
    bricks = _mix(bricks, np.full(3, 0.35, np.float32), joint * 0.7)
    panel = np.maximum(
        _band((a / 3.0 - np.round(a / 3.0)) * 3.0, 0.02, p.footprint),
        _band((h / 2.8 - np.round(h / 2.8)) * 2.8, 0.02, p.footprint),
    )
    panels = colour * (1 - 0.4 * panel)[:, None]
    colour = np.where((kind == 1)[:, None], bricks, np.where((kind == 2)[:, None], panels, colour))
    plinth = np.clip((0.7 - h) / 0.05, 0, 1) * (p.looks[:, 6] % 1 > 0.4)
    colour = _mix(colour, colour * 0.55, plinth)
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
    colour = _mix(colour, np.clip(p.looks[:, 3:6] + 0.15, 0, 0.85), frame)
    curtain = np.where(luck > 0.6, 0.22 * (luck - 0.5), 0.015).astype(np.float32)
    glass = np.stack([curtain, curtain, curtain * 1.05], axis=1)
    colour = _mix(colour, glass, pane)
    eaves = np.clip((h - p.looks[:, 14] + 0.3) / 0.05, 0, 1)
    return Surface(_mix(colour, colour * 0.6, eaves), 0.01 + 0.13 * pane)


def _roof(p: Points) -> Surface:
    row = p.coords[:, 1] / 0.35
    near = np.clip(0.15 / np.maximum(p.stretch, 1e-3), 0, 1)
    shade = 1 + 0.2 * (row % 1.0 - 0.5) * near + 0.12 * p.noise(_BLOTCH, 5.0)
    shade += 0.1 * p.noise(_GRAIN, 1.9)
    return Surface(p.looks[:, 0:3] * np.clip(shade, 0.3, 1.7)[:, None], 0.02)


def _foliage(p: Points) -> Surface:
    """Leaves; coords 2 is the depth into the crown. looks 8: contrast."""
    leaf = p.noise(_GRAIN, 3.0) * 0.30 + p.noise(_WHITE, 5.0) * 0.34
    clump = p.noise(_BLOTCH, 6.0)
    tint = np.clip(0.45 + 0.4 * clump + 0.25 * leaf, 0, 1)
    colour = _mix(p.looks[:, 0:3], p.looks[:, 3:6], tint)
    inside = np.clip((p.coords[:, 2] - 0.3) / 0.65, 0, 1)
    shade = (0.12 + 0.88 * inside**1.5) * np.clip(1 + p.looks[:, 8] * leaf, 0.05, 3.0)
    return Surface(colour * shade[:, None], 0.01)


def _bark(p: Points) -> Surface:
    shade = 1 + 0.3 * p.noise(_GRAIN, 1.1, 0.2) + 0.2 * p.noise(_WHITE, 2.0, 0.3)
    return Surface(p.looks[:, 0:3] * np.clip(shade, 0.2, 2)[:, None])


def _plain(p: Points) -> Surface:
    """Smooth matter with faint dirt. looks 8: gloss, 9: glow; 10: stripe length (0 none)."""
    shade = 1 + 0.06 * p.noise(_GRAIN, 2.0)
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
    tone = 1 + 0.3 * (_hash(index, p.looks[:, 6] * 100) - 0.5) * near
    tone += 0.12 * p.noise(_GRAIN, 1.4, 0.15)
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
        _band((x - np.round(x)) * wide, 0.014, p.footprint),
        _band((y - np.round(y)) * tall, 0.014, p.footprint),
    )
    shade = 1 + p.looks[:, 10] * (0.5 * (_hash(np.floor(x), row) - 0.5) * near - 0.5 * joint)
    shade += 0.13 * p.noise(_BLOTCH, 6.0) + 0.12 * p.noise(_GRAIN, 1.6)
    streak = np.clip(p.noise(_CLOUD, 5.0, 0.1), 0, 2)
    return Surface(p.looks[:, 0:3] * np.clip(shade - 0.1 * streak, 0.15, 2)[:, None], 0.01)


def _poster(p: Points) -> Surface:
    """Boards and signs: random blocks of colour. looks 8: block size."""
    size = np.maximum(p.looks[:, 8], 0.05)
    x, y = np.floor(p.coords[:, 0] / size), np.floor(p.coords[:, 1] / size * 1.7)
    luck = _hash(x, y, p.looks[:, 6] * 100)
    colour = np.where((luck < 0.4)[:, None], p.looks[:, 3:6], p.looks[:, 0:3])
    other = np.stack([_hash(x, y + 7 * k, p.looks[:, 7] * 100) for k in range(3)], axis=1)
    return Surface(np.where((luck > 0.9)[:, None], other * np.float32(0.7), colour), 0.03)


def _plate(p: Points, colour: np.ndarray) -> np.ndarray:
    """Number plates at both ends of a car. Coords are the object frame in metres; looks 13 is
    half the length."""
    x, y, z = p.coords.T
    at_end = np.abs(x) > p.looks[:, 13] - 0.45
    low = y + 0.52
    plate = _band(z, 0.26, p.footprint) * _band(low, 0.056, p.footprint) * at_end
    ink = (np.abs(z) < 0.22) & (np.abs(low) < 0.035)
    letters = ink & (_hash(np.floor(z / 0.045), p.looks[:, 6] * 100) > 0.3)
    letters &= _hash(np.floor(z / 0.013), np.floor(y / 0.025)) > 0.45
    tone = np.where(letters, 0.05, 0.7).astype(np.float32)
    return _mix(colour, np.repeat(tone[:, None], 3, axis=1), plate * (p.looks[:, 13] > 0))


def _paint(p: Points) -> Surface:
    """Car body. looks 8: gloss, 9: strip height (0 none), 10:13 door seams along x, 13: half the
    length, 14: height of the car."""
    x, y, z = p.coords.T
    colour = p.looks[:, 0:3] * (1 + 0.02 * p.noise(_GRAIN, 1.3))[:, None]
    flank = (y < -0.3) & (y > -0.62 * p.looks[:, 14]) & (np.abs(x) < p.looks[:, 13] * 0.72)
    flank &= np.abs(z) > 0.6
    seam = np.zeros(len(x), np.float32)
    for k in (10, 11, 12):
        seam = np.maximum(seam, _band(x - p.looks[:, k], 0.008, p.footprint))
    sill = _band(y + 0.30, 0.01, p.footprint)
    handle = _band(y + 0.53 * p.looks[:, 14], 0.02, p.footprint)
    reach = np.minimum(np.abs(x - p.looks[:, 11] - 0.14), np.abs(x - p.looks[:, 12] - 0.14))
    handle = handle * np.clip((0.09 - reach) / 0.01, 0, 1)
    colour = (
        colour * (1 - 0.75 * np.maximum(np.maximum(seam, sill) * flank, handle * flank))[:, None]
    )
    strip = _band(y + p.looks[:, 9], 0.035, p.footprint) * (p.looks[:, 9] > 0) * (np.abs(z) > 0.6)
    colour = _mix(colour, np.full(3, 0.03, np.float32), strip)
    dirt = np.clip((y + 0.45) / 0.4, 0, 1) * np.clip(0.5 + 0.4 * p.noise(_BLOTCH, 2.0), 0, 1)
    colour = _mix(colour, np.full(3, 0.10, np.float32), 0.35 * dirt)
    return Surface(_plate(p, colour), p.looks[:, 8] * (1 - 0.6 * dirt))


def _glass(p: Points) -> Surface:
    """Car windows: dark with seats and headrests behind, and pillars. looks 10:13: seams."""
    x, y, z = p.coords.T
    height = np.maximum(p.looks[:, 14], 1.0)
    seat = np.clip(0.5 + 0.5 * np.cos(7.5 * z) * np.cos(3.0 * x + p.looks[:, 6]), 0, 1)
    seat *= np.clip((y + 0.82 * height) / (0.12 * height), 0, 1)
    shade = 0.012 + 0.03 * seat + 0.01 * np.clip(p.noise(_CLOUD, 1.9), 0, 2)
    colour = np.repeat(shade[:, None], 3, axis=1).astype(np.float32)
    pillar = np.maximum(
        _band(x - p.looks[:, 11], 0.045, p.footprint), _band(x - p.looks[:, 12], 0.03, p.footprint)
    ) * (np.abs(z) > 0.45)
    return Surface(colour * (1 - 0.6 * pillar)[:, None], 0.10 * (1 - pillar) + 0.02)


def _tyre(p: Points) -> Surface:
    """Wheels. Coords are relative to the hub; looks 0:3 paint, 8: radius, 9: rim brightness,
    10: spokes, 11: share of the radius that is rim."""
    x, y = p.coords[:, 0], p.coords[:, 1]
    radius = p.looks[:, 8]
    reach = np.hypot(x, y)
    blur = np.maximum(p.footprint, 0.004)
    tyre = np.clip((radius - reach) / blur + 0.5, 0, 1)
    arch = np.clip((radius + 0.05 - reach) / blur + 0.5, 0, 1)
    rim = np.clip((radius * p.looks[:, 11] - reach) / blur + 0.5, 0, 1)
    spoke = np.cos(np.arctan2(y, x) * p.looks[:, 10] + p.looks[:, 6])
    open_ = (spoke < -0.1) & (reach > 0.25 * radius) & (reach < radius * p.looks[:, 11] * 0.88)
    metal = p.looks[:, 9] * np.where(open_, 0.25, 1.0)
    colour = _mix(p.looks[:, 0:3], np.full(3, 0.008, np.float32), arch)
    colour = _mix(colour, p.looks[:, 3:6], tyre)
    colour = _mix(colour, np.repeat(metal[:, None], 3, axis=1), rim)
    return Surface(colour, 0.04 + 0.05 * (rim - arch * (1 - rim)))


def _lamp(p: Points) -> Surface:
    """Lamps. looks 8: reflector pattern, 9: glow."""
    cell = 0.8 + 0.4 * _hash(np.floor(p.coords[:, 1] / 0.05), np.floor(p.coords[:, 2] / 0.07))
    return Surface(p.looks[:, 0:3] * cell[:, None], 0.10, p.looks[:, 9])


def _trim(p: Points) -> Surface:
    bars = 1 + 0.8 * (np.cos(p.coords[:, 1] * 110) > 0.4) * np.clip(0.02 / p.footprint, 0, 1)
    return Surface(_plate(p, p.looks[:, 0:3] * bars[:, None]), 0.03)


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
    Material.PAINT: _paint,
    Material.GLASS: _glass,
    Material.TYRE: _tyre,
    Material.LAMP: _lamp,
    Material.TRIM: _trim,
}
