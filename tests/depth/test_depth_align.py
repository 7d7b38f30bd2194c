"""Scale and shift from lidar-like measurements."""

from __future__ import annotations

import numpy as np
import pytest

from diffrender.depth import DepthPrediction, align_to_sparse
from diffrender.depth.model import DepthKind
from diffrender.depth.robust import huber_least_squares, ransac_rows, robust_mean
from diffrender.errors import InputError

SIZE = (40, 60)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True depth and a sparse exact measurement of it."""
    draw = np.random.default_rng(seed)
    depth = np.exp(draw.uniform(np.log(4), np.log(70), SIZE))
    sparse = np.where(draw.random(SIZE) < 0.2, depth, 0.0)
    return depth, sparse


def spoil(sparse: np.ndarray, share: float) -> np.ndarray:
    """Replace a share of the measurements by nonsense, mostly too near."""
    draw = np.random.default_rng(5)
    wrong = (sparse > 0) & (draw.random(SIZE) < share)
    return np.where(wrong, draw.uniform(2, 30, SIZE), sparse)


@pytest.mark.parametrize("outliers", [0.0, 0.3])
@pytest.mark.parametrize(("scale", "shift"), [(0.02, 0.004), (3.0, -0.05), (1e-4, 0.0)])
def test_affine_inverse_recovers_scale_and_shift(
    scale: float, shift: float, outliers: float
) -> None:
    depth, sparse = scene()
    prediction = DepthPrediction(((1 / depth - shift) / scale).astype(np.float32), "affine_inverse")
    aligned = align_to_sparse(prediction, spoil(sparse, outliers))
    assert aligned.scale == pytest.approx(scale, rel=2e-3)
    assert aligned.shift == pytest.approx(shift, abs=2e-4)
    np.testing.assert_allclose(aligned.depth, depth, rtol=0.02)
    assert aligned.inliers > 0.99 - outliers
    assert aligned.anchors[0].name == "lidar"
    assert abs(aligned.anchors[0].residual) < 0.02


@pytest.mark.parametrize("kind", ["relative_depth", "metric"])
@pytest.mark.parametrize("outliers", [0.0, 0.3])
def test_one_factor_is_recovered(kind: DepthKind, outliers: float) -> None:
    depth, sparse = scene()
    prediction = DepthPrediction((depth / 7.5).astype(np.float32), kind)
    aligned = align_to_sparse(prediction, spoil(sparse, outliers), rescale_metric=True)
    assert aligned.scale == pytest.approx(7.5, rel=2e-3 if outliers else 1e-5)
    assert aligned.shift == 0


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_measurements_that_are_wrong_to_one_side_do_not_move_the_factor(factor: float) -> None:
    depth, sparse = scene()
    noisy = depth * np.random.default_rng(3).normal(1, 0.03, SIZE)
    prediction = DepthPrediction((noisy / 7.5).astype(np.float32), "relative_depth")
    wrong = np.random.default_rng(5).random(SIZE) < 0.3
    aligned = align_to_sparse(prediction, np.where(wrong, factor * sparse, sparse))
    assert aligned.scale == pytest.approx(align_to_sparse(prediction, sparse).scale, rel=3e-3)


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["affine_inverse", "relative_depth", "metric"])
def test_pixels_without_a_finite_prediction_are_left_out(kind: DepthKind, nothing: float) -> None:
    depth, sparse = scene()
    values = (1 / depth if kind == "affine_inverse" else depth / 7.5).astype(np.float32)
    spoilt = spoil(sparse, 0.3)
    hole = tuple(np.argwhere(spoilt > 0)[::9].T)
    fewer = spoilt.copy()
    fewer[hole] = 0
    expected = align_to_sparse(DepthPrediction(values, kind), fewer, rescale_metric=True)
    values[hole] = nothing
    aligned = align_to_sparse(DepthPrediction(values, kind), spoilt, rescale_metric=True)
    assert (aligned.scale, aligned.shift) == (expected.scale, expected.shift)


def test_noise_of_the_network_averages_out() -> None:
    depth, sparse = scene()
    noisy = depth * np.random.default_rng(3).normal(1, 0.08, SIZE)
    prediction = DepthPrediction((1 / noisy / 0.5).astype(np.float32), "affine_inverse")
    aligned = align_to_sparse(prediction, spoil(sparse, 0.3))
    # Noise in d flattens the slope a little (regression dilution), so look at the depth itself.
    for near, far in ((4, 15), (15, 40), (40, 70)):
        band = (depth > near) & (depth < far)
        assert np.median(aligned.depth[band] / depth[band]) == pytest.approx(1, abs=0.04)


def test_metric_is_left_untouched_unless_asked() -> None:
    depth, sparse = scene()
    prediction = DepthPrediction((depth * 1.2).astype(np.float32), "metric")
    same = align_to_sparse(prediction, sparse)
    np.testing.assert_array_equal(same.depth, prediction.values)
    assert (same.scale, same.shift, same.method) == (1.0, 0.0, "metric as is")
    assert same.inliers == 0.0
    scaled = align_to_sparse(prediction, sparse, rescale_metric=True)
    np.testing.assert_allclose(scaled.depth, depth, rtol=1e-5)


def test_convention_inverse_depth_below_zero_is_unknown() -> None:
    depth, sparse = scene()
    values = (1 / depth).astype(np.float32)
    values[0, :4] = [-0.1, 0.0, 1e-6, 0.01]
    sparse[0, :4] = 0
    aligned = align_to_sparse(DepthPrediction(values, "affine_inverse"), sparse)
    np.testing.assert_array_equal(aligned.depth[0, :3], 0)
    assert aligned.depth[0, 3] == pytest.approx(100, rel=0.01)


def test_same_seed_same_bits() -> None:
    depth, sparse = scene()
    prediction = DepthPrediction((1 / depth).astype(np.float32), "affine_inverse")
    first, second = (align_to_sparse(prediction, spoil(sparse, 0.3), seed=4) for _ in range(2))
    assert (first.scale, first.shift) == (second.scale, second.shift)


def test_unfit_measurements_are_refused() -> None:
    depth, sparse = scene()
    prediction = DepthPrediction((1 / depth).astype(np.float32), "affine_inverse")
    with pytest.raises(InputError, match="must cover the same image"):
        align_to_sparse(prediction, sparse[:-1])
    with pytest.raises(InputError, match="at least 10"):
        align_to_sparse(prediction, np.zeros(SIZE))
    flat = DepthPrediction(np.ones(SIZE, np.float32), "affine_inverse")
    with pytest.raises(InputError, match="not determined"):
        align_to_sparse(flat, np.where(sparse > 0, 9.0, 0))
    grows = DepthPrediction((-1 / depth).astype(np.float32), "affine_inverse")
    aligned_error = "no scale s > 0|negative|not determined"
    with pytest.raises(InputError, match=aligned_error):
        align_to_sparse(grows, np.where(sparse > 0, sparse, 0))


def test_huber_is_least_squares_for_small_residuals() -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(30, 3))
    right = rows @ np.array([1.0, -2.0, 0.5]) + 0.01 * draw.normal(size=30)
    expected = np.linalg.lstsq(rows, right, rcond=None)[0]
    np.testing.assert_allclose(huber_least_squares(rows, right, np.full(30, 1.0)), expected)


def test_huber_bounds_the_pull_of_an_outlier() -> None:
    values = np.array([1.0, 1.1, 0.9, 1.05, 0.95])
    sigma = np.full(6, 0.1)
    near, far = (robust_mean(np.append(values, x), sigma) for x in (50.0, 5000.0))
    assert near == pytest.approx(far)
    assert near == pytest.approx(1.0, abs=0.05)


def test_ransac_passes_over_candidates_of_the_wrong_sign() -> None:
    draw = np.random.default_rng(0)
    x = draw.random(50)
    rows = np.stack([x, np.ones(50)], axis=1)
    right = np.where(np.arange(50) < 30, -2 * x, 3 * x + 1)
    free, _ = ransac_rows(rows, right, 0.01, draw)
    np.testing.assert_allclose(free, [-2, 0], atol=1e-9)
    rising, agree = ransac_rows(rows, right, 0.01, draw, accept=np.array([1.0, 0.0]))
    np.testing.assert_allclose(rising, [3, 1], atol=1e-9)
    assert agree.sum() == 20
    with pytest.raises(InputError, match="at least 2 are needed"):
        ransac_rows(rows[:1], right[:1], 0.1, draw)
