"""Noise: what is added to depth has the statistics it promises, and textures fade with distance."""

from __future__ import annotations

import numpy as np
import pytest

from diffrender.datasets.synthetic import add_depth_noise
from diffrender.datasets.synthetic_noise import noise_map, sample_noise
from diffrender.errors import InputError


def _relative(sigma: float, correlation: float, seed: int = 3) -> np.ndarray:
    depth = np.full((240, 320), 20.0, np.float32)
    noisy = add_depth_noise(depth, sigma, np.random.default_rng(seed), correlation)
    assert noisy.dtype == np.float32
    return noisy / depth - 1


def _correlation(field: np.ndarray, lag: int) -> float:
    return float((field[:, lag:] * field[:, :-lag]).mean() / (field * field).mean())


def test_independent_noise_has_the_stated_deviation_and_no_correlation() -> None:
    field = _relative(0.1, 0.0)
    assert field.std() == pytest.approx(0.1, rel=0.02)
    assert abs(field.mean()) < 0.002
    assert abs(_correlation(field, 1)) < 0.02


def test_correlated_noise_has_the_stated_deviation_and_correlation() -> None:
    fields = np.stack([_relative(0.1, 6.0, seed) for seed in range(12)])
    assert fields.std() == pytest.approx(0.1, rel=0.06)
    for lag in (3, 6, 12):
        measured = np.mean([_correlation(field, lag) for field in fields])
        assert measured == pytest.approx(np.exp(-((lag / 6.0) ** 2)), abs=0.05)


def test_unknown_depth_stays_unknown_and_depth_stays_positive() -> None:
    depth = np.ones((50, 60), np.float32)
    depth[:10] = 0
    noisy = add_depth_noise(depth, 1.0, np.random.default_rng(0))
    assert (noisy[:10] == 0).all()
    assert (noisy[10:] >= 0.05 - 1e-6).all()
    assert np.array_equal(add_depth_noise(depth, 0.0, np.random.default_rng(0)), depth)


def test_noise_comes_from_the_generator_alone() -> None:
    assert np.array_equal(_relative(0.1, 4.0), _relative(0.1, 4.0))
    assert not np.array_equal(_relative(0.1, 4.0), _relative(0.1, 4.0, seed=4))


def test_bad_noise_is_refused() -> None:
    depth = np.ones((4, 4), np.float32)
    with pytest.raises(InputError, match="sigma is -1"):
        add_depth_noise(depth, -1, np.random.default_rng(0))
    with pytest.raises(InputError, match="depth has shape"):
        add_depth_noise(depth[0], 0.1, np.random.default_rng(0))


def test_texture_noise_repeats_and_fades_where_pixels_are_coarse() -> None:
    noise = noise_map(0.9, 12)
    draw = np.random.default_rng(0)
    u, v = draw.uniform(-5, 5, (2, 4000))
    fine = np.full(4000, 1e-4)
    once = sample_noise(noise, u, v, 4.0, fine)
    again = sample_noise(noise, u + 4.0, v - 8.0, 4.0, fine)
    assert np.abs(once - again).max() < 0.05
    assert once.std() == pytest.approx(1.0, abs=0.2)
    assert sample_noise(noise, u, v, 4.0, np.full(4000, 0.5)).std() < 0.5 * once.std()
    assert np.abs(sample_noise(noise, u, v, 4.0, np.full(4000, 50.0))).max() < 1e-3


@pytest.mark.parametrize("pixels", [1001.0, float("inf")])
def test_errors_wider_than_a_map_are_refused(pixels: float) -> None:
    with pytest.raises(InputError, match="expected at most 1000"):
        add_depth_noise(np.ones((4, 5)), 0.1, np.random.default_rng(0), pixels)
