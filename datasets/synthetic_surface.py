"""What the procedural materials are written with: points, noise, antialiased bands, hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.datasets.synthetic_noise import noise_map, sample_noise

__all__ = ["BLOTCH", "CLOUD", "GRAIN", "WHITE", "Points", "Surface", "band", "lattice_hash", "mix"]

BLOTCH, GRAIN, CLOUD, WHITE = (1.6, 11), (0.9, 12), (1.2, 13), (0.2, 14)


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


def mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:  # (N, 3), (3,), (N,)
    """Colours a to b by a share per point."""
    return a + (b - a) * share[:, None]


def band(distance: np.ndarray, half: np.ndarray | float, blur: np.ndarray) -> np.ndarray:
    """Share of a pixel covered by |distance| < half, antialiased over `blur`."""
    return np.clip((half - np.abs(distance)) / np.maximum(blur, 1e-4) + 0.5, 0, 1) * np.clip(
        2 * half / np.maximum(blur, 1e-4), 0, 1
    )


def lattice_hash(*values: np.ndarray) -> np.ndarray:
    """Repeatable number in [0, 1) per combination of integers."""
    total = np.zeros(values[0].shape, np.int64)
    for value, prime in zip(values, (73856093, 19349663, 83492791, 49979687), strict=False):
        total ^= value.astype(np.int64) * prime
    total = (total ^ (total >> 13)) * 1274126177 & 0x7FFFFFFF
    return ((total ^ (total >> 16)) & 0xFFFF).astype(np.float32) / 65536
