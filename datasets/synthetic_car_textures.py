"""Procedural materials of cars; texture coordinates are the object frame in metres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffrender.datasets.synthetic_geometry import Material
from diffrender.datasets.synthetic_surface import (
    BLOTCH,
    CLOUD,
    GRAIN,
    Points,
    Surface,
    band,
    lattice_hash,
    mix,
)

__all__ = ["CAR_MATERIALS"]


def _plate(p: Points, colour: np.ndarray) -> np.ndarray:
    """Number plates at both ends of a car. Coords are the object frame in metres; looks 13 is
    half the length."""
    x, y, z = p.coords.T
    at_end = np.abs(x) > p.looks[:, 13] - 0.45
    low = y + 0.52
    plate = band(z, 0.26, p.footprint) * band(low, 0.056, p.footprint) * at_end
    ink = (np.abs(z) < 0.22) & (np.abs(low) < 0.035)
    letters = ink & (lattice_hash(np.floor(z / 0.045), p.looks[:, 6] * 100) > 0.3)
    letters &= lattice_hash(np.floor(z / 0.013), np.floor(y / 0.025)) > 0.45
    tone = np.where(letters, 0.05, 0.7).astype(np.float32)
    return mix(colour, np.repeat(tone[:, None], 3, axis=1), plate * (p.looks[:, 13] > 0))


def _paint(p: Points) -> Surface:
    """Car body. looks 8: gloss, 9: strip height (0 none), 10:13 door seams along x, 13: half the
    length, 14: height of the car."""
    x, y, z = p.coords.T
    colour = p.looks[:, 0:3] * (1 + 0.02 * p.noise(GRAIN, 1.3))[:, None]
    flank = (y < -0.3) & (y > -0.62 * p.looks[:, 14]) & (np.abs(x) < p.looks[:, 13] * 0.72)
    flank &= np.abs(z) > 0.6
    seam = np.zeros(len(x), np.float32)
    for k in (10, 11, 12):
        seam = np.maximum(seam, band(x - p.looks[:, k], 0.008, p.footprint))
    sill = band(y + 0.30, 0.01, p.footprint)
    handle = band(y + 0.53 * p.looks[:, 14], 0.02, p.footprint)
    reach = np.minimum(np.abs(x - p.looks[:, 11] - 0.14), np.abs(x - p.looks[:, 12] - 0.14))
    handle = handle * np.clip((0.09 - reach) / 0.01, 0, 1)
    colour = (
        colour * (1 - 0.75 * np.maximum(np.maximum(seam, sill) * flank, handle * flank))[:, None]
    )
    strip = band(y + p.looks[:, 9], 0.035, p.footprint) * (p.looks[:, 9] > 0) * (np.abs(z) > 0.6)
    colour = mix(colour, np.full(3, 0.03, np.float32), strip)
    dirt = np.clip((y + 0.45) / 0.4, 0, 1) * np.clip(0.5 + 0.4 * p.noise(BLOTCH, 2.0), 0, 1)
    colour = mix(colour, np.full(3, 0.10, np.float32), 0.35 * dirt)
    return Surface(_plate(p, colour), p.looks[:, 8] * (1 - 0.6 * dirt))


def _glass(p: Points) -> Surface:
    """Car windows: dark with seats and headrests behind, and pillars. looks 10:13: seams."""
    x, y, z = p.coords.T
    height = np.maximum(p.looks[:, 14], 1.0)
    seat = np.clip(0.5 + 0.5 * np.cos(7.5 * z) * np.cos(3.0 * x + p.looks[:, 6]), 0, 1)
    seat *= np.clip((y + 0.82 * height) / (0.12 * height), 0, 1)
    shade = 0.012 + 0.03 * seat + 0.01 * np.clip(p.noise(CLOUD, 1.9), 0, 2)
    colour = np.repeat(shade[:, None], 3, axis=1).astype(np.float32)
    pillar = np.maximum(
        band(x - p.looks[:, 11], 0.045, p.footprint), band(x - p.looks[:, 12], 0.03, p.footprint)
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
    colour = mix(p.looks[:, 0:3], np.full(3, 0.008, np.float32), arch)
    colour = mix(colour, p.looks[:, 3:6], tyre)
    colour = mix(colour, np.repeat(metal[:, None], 3, axis=1), rim)
    return Surface(colour, 0.04 + 0.05 * (rim - arch * (1 - rim)))


def _lamp(p: Points) -> Surface:
    """Lamps. looks 8: reflector pattern, 9: glow."""
    cell = 0.8 + 0.4 * lattice_hash(
        np.floor(p.coords[:, 1] / 0.05), np.floor(p.coords[:, 2] / 0.07)
    )
    return Surface(p.looks[:, 0:3] * cell[:, None], 0.10, p.looks[:, 9])


def _trim(p: Points) -> Surface:
    bars = 1 + 0.8 * (np.cos(p.coords[:, 1] * 110) > 0.4) * np.clip(0.02 / p.footprint, 0, 1)
    return Surface(_plate(p, p.looks[:, 0:3] * bars[:, None]), 0.03)


CAR_MATERIALS: dict[Material, Callable[[Points], Surface]] = {
    Material.PAINT: _paint,
    Material.GLASS: _glass,
    Material.TYRE: _tyre,
    Material.LAMP: _lamp,
    Material.TRIM: _trim,
}
