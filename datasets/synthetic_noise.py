"""Tileable noise with mip levels: the raw material of the procedural textures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from diffrender.errors import InputError, check_shape

__all__ = ["NoiseMap", "add_depth_noise", "noise_map", "sample_noise"]

_MOST_CORRELATION = 1000  # pixels: the field is made on a torus larger by four times that
_SIDE = 512


@dataclass(frozen=True)
class NoiseMap:
    """A square tileable map (zero mean, unit deviation) with its mip levels, flattened."""

    values: np.ndarray  # (sum of level sizes,) float32
    offsets: np.ndarray  # (levels,) int64
    side: int


@lru_cache(maxsize=16)
def noise_map(slope: float, seed: int) -> NoiseMap:
    """Gaussian noise whose amplitude falls as frequency^-slope; 0 is white, 1.5 is cloudy."""
    draw = np.random.default_rng(seed)
    spectrum = np.fft.fft2(draw.standard_normal((_SIDE, _SIDE)))
    fy, fx = np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.fftfreq(_SIDE), indexing="ij")
    frequency = np.hypot(fx, fy) * _SIDE
    frequency[0, 0] = 1
    spectrum *= frequency**-slope
    spectrum[0, 0] = 0
    level = np.fft.ifft2(spectrum).real
    level = (level / level.std()).astype(np.float32)
    levels, offsets, total = [], [], 0
    while True:
        levels.append(level.ravel())
        offsets.append(total)
        total += level.size
        if len(level) == 1:
            break
        level = level.reshape(len(level) // 2, 2, -1, 2).mean(axis=(1, 3))
    return NoiseMap(np.concatenate(levels), np.array(offsets), _SIDE)


def sample_noise(
    noise: NoiseMap,
    u: np.ndarray,  # (N,)
    v: np.ndarray,  # (N,)
    tile: float,
    footprint: np.ndarray,  # (N,)
) -> np.ndarray:
    """Bilinear look-up at (u, v) metres of a map that repeats every `tile` metres.

    `footprint` is the size of a pixel on the surface, metres; it picks the mip level, so that
    what is finer than a pixel fades to the mean instead of flickering. Returns (N,) float32.
    """
    texel = tile / noise.side
    top = len(noise.offsets) - 1
    level = np.clip(np.log2(np.maximum(footprint / texel, 1e-6)), 0, top).astype(np.int32)
    side = (noise.side >> level).astype(np.int32)
    scale = side.astype(np.float32) / np.float32(tile)
    x = u.astype(np.float32) * scale - np.float32(0.5)
    y = v.astype(np.float32) * scale - np.float32(0.5)
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    mask = side - 1
    xa, ya = x0.astype(np.int32) & mask, y0.astype(np.int32) & mask
    xb, yb = (xa + 1) & mask, (ya + 1) & mask
    offset = noise.offsets.astype(np.int32)[level]
    ya = ya * side + offset
    yb = yb * side + offset
    values = noise.values
    upper = values[ya + xa] * (1 - fx) + values[ya + xb] * fx
    lower = values[yb + xa] * (1 - fx) + values[yb + xb] * fx
    return upper * (1 - fy) + lower * fy


def add_depth_noise(
    depth: np.ndarray,  # (H, W)
    sigma: float,
    generator: np.random.Generator,
    correlation_pixels: float = 0.0,
) -> np.ndarray:
    """Multiply a depth map by 1 + sigma n, with n standard Gaussian at every pixel.

    Args:
        depth: (H, W) metres; 0 (unknown) stays 0.
        sigma: relative standard deviation, 0.1 for 10 %.
        generator: source of the noise.
        correlation_pixels: 0 draws every pixel on its own. Otherwise n is a smooth field whose
            correlation between pixels d apart is exp(-(d / correlation_pixels)^2); depth
            networks err like that, and averaging over a car does not remove it.

    Returns:
        (H, W) float32; factors are kept above 0.05 so that depth stays positive.

    Raises:
        InputError: not a matrix, a negative sigma or correlation, or one over 1000 pixels.
    """
    check_shape("depth", depth, None, None)
    if not (sigma >= 0 and correlation_pixels >= 0):
        raise InputError(
            f"sigma is {sigma} and correlation_pixels {correlation_pixels}, expected both >= 0"
        )
    if correlation_pixels > _MOST_CORRELATION:
        raise InputError(
            f"correlation_pixels is {correlation_pixels:g}, expected at most {_MOST_CORRELATION}: "
            "beyond, the error is one factor for the whole map"
        )
    field = generator.standard_normal(depth.shape)
    if correlation_pixels > 0:
        # white noise through exp(-2 d^2 / c^2) is correlated as exp(-d^2 / c^2); the field is
        # made on a torus larger than the image, so that opposite edges stay independent
        margin = int(4 * correlation_pixels) + 1
        shape = (depth.shape[0] + margin, depth.shape[1] + margin)
        fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
        gain = np.exp(-0.5 * (np.pi * correlation_pixels) ** 2 * (fx**2 + fy**2))
        white = np.fft.rfft2(generator.standard_normal(shape))
        smooth = np.fft.irfft2(white * gain, s=shape)
        full = np.exp(
            -((np.pi * correlation_pixels) ** 2) * (fy**2 + np.fft.fftfreq(shape[1]) ** 2)
        )
        field = smooth[: depth.shape[0], : depth.shape[1]] / np.sqrt(full.mean())
    return (depth * np.maximum(1 + sigma * field, 0.05)).astype(np.float32)
