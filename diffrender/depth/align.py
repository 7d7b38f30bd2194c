"""Scale and shift of a depth prediction from sparse metric depth such as lidar.

Relative networks give inverse depth up to scale and shift, so 1/z = s d + t is fitted, never
z = s d (Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, section 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffrender.depth.model import DepthPrediction
from diffrender.depth.robust import huber_least_squares, ransac_rows
from diffrender.errors import InputError

__all__ = ["Aligned", "Anchor", "align_to_sparse", "apply_alignment"]


@dataclass(frozen=True)
class Anchor:
    """One measurement that a scale was taken from.

    Attributes:
        name: "lidar", "ground" or the instance's name.
        used: whether it entered the fit.
        reason: why it did not, or "".
        residual: relative depth error (predicted / measured - 1) that remains after the fit.
        sigma: relative spread it was trusted with.
    """

    name: str
    used: bool
    reason: str = ""
    residual: float = float("nan")
    sigma: float = float("nan")


@dataclass(frozen=True)
class Aligned:
    """A metric depth map and how it came about.

    Attributes:
        depth: (H, W) float32 metres, 0 where the fitted inverse depth is not positive or the
            depth is beyond the limit.
        scale, shift: of the prediction d: 1/z = scale d + shift for "affine_inverse",
            z = scale d (shift 0) for the other kinds.
        inliers: share of the measurements within the threshold, in [0, 1].
        method: what was done, in words.
        anchors: the measurements.
    """

    depth: np.ndarray  # (H, W)
    scale: float
    shift: float
    inliers: float
    method: str
    anchors: tuple[Anchor, ...] = ()


def align_to_sparse(
    prediction: DepthPrediction,
    sparse: np.ndarray,  # (H, W)
    *,
    rescale_metric: bool = False,
    threshold: float = 0.1,
    max_depth: float = 200.0,
    seed: int = 0,
) -> Aligned:
    """Fit scale (and shift) of a prediction to sparse metric depth, robustly.

    RANSAC on relative depth error, then Huber's M-estimate over the measurements near its result.

    Args:
        prediction: of a depth network; pixels that are NaN or infinite are left out.
        sparse: (H, W) metres, 0 = unknown; lidar projected into the image.
        rescale_metric: for a "metric" prediction fit one factor; it is left untouched otherwise.
        threshold: relative depth error of an inlier.
        max_depth: farther depths become 0 (unknown), metres.
        seed: of the random samples.

    Raises:
        InputError: shapes differ, fewer than 10 measurements, or no positive scale fits.
    """
    values = prediction.values.astype(np.float64)
    sparse = np.asarray(sparse)
    if sparse.shape != values.shape:
        raise InputError(
            f"sparse depth has shape {sparse.shape}, the prediction {values.shape}: they must "
            "cover the same image"
        )
    if not 0 < threshold < math.inf:
        raise InputError(f"threshold is {threshold}, expected a share above 0, such as 0.1")
    if prediction.kind == "metric" and not rescale_metric:
        return Aligned(
            _limit(values, max_depth),
            1.0,
            0.0,
            _agreement(values, sparse, threshold),
            "metric as is",
        )
    known = np.isfinite(sparse) & (sparse > 0) & np.isfinite(values)
    if prediction.kind != "affine_inverse":
        known &= values > 0
    if int(known.sum()) < 10:
        raise InputError(
            f"{int(known.sum())} pixels have both a measured depth and a prediction, expected at "
            "least 10"
        )
    d, z = values[known], sparse[known].astype(np.float64)
    generator = np.random.default_rng(seed)
    if prediction.kind == "affine_inverse":
        scale, shift = _fit_affine(d, z, threshold, generator)
        method = "1/z = s d + t, RANSAC and Huber on relative depth"
    else:
        scale, shift = _fit_factor(np.log(z / d), threshold, generator), 0.0
        method = "z = s d, RANSAC and Huber on log ratios"
    depth = apply_alignment(prediction, scale, shift, max_depth)
    share = _agreement(depth, sparse, threshold)
    residual = float(np.median(_relative(depth[known], z)))
    anchor = Anchor("lidar", True, residual=residual, sigma=threshold)
    return Aligned(depth, scale, shift, share, method, (anchor,))


def apply_alignment(
    prediction: DepthPrediction, scale: float, shift: float, max_depth: float = 200.0
) -> np.ndarray:  # (H, W)
    """Metric depth of a prediction, 0 where it is not positive or beyond `max_depth` metres."""
    values = prediction.values.astype(np.float64)
    if prediction.kind != "affine_inverse":
        return _limit(values * scale, max_depth)
    inverse = values * scale + shift
    return _limit(np.divide(1.0, inverse, out=np.zeros_like(inverse), where=inverse > 0), max_depth)


def _fit_affine(
    d: np.ndarray, z: np.ndarray, threshold: float, generator: np.random.Generator
) -> tuple[float, float]:
    # (s d + t) z - 1 is the relative depth error to first order, and linear in s and t.
    rows, right = np.stack([d * z, z], axis=1), np.ones(len(z))
    try:
        start, inliers = ransac_rows(rows, right, threshold, generator, accept=np.array([1.0, 0.0]))
    except InputError as error:
        raise InputError(f"no scale s > 0 and shift t fit the measured depth: {error}") from error
    solution = _refine(rows, right, start, inliers, threshold)
    scale, shift = solution
    if scale <= 0:
        raise InputError(
            "the fitted scale is negative: the prediction grows with depth, so its kind is not "
            "'affine_inverse' (larger is nearer)"
        )
    return float(scale), float(shift)


def _fit_factor(log_ratio: np.ndarray, threshold: float, generator: np.random.Generator) -> float:
    rows = np.ones((len(log_ratio), 1))
    start, inliers = ransac_rows(rows, log_ratio, threshold, generator)
    return float(np.exp(_refine(rows, log_ratio, start, inliers, threshold)[0]))


def _refine(
    rows: np.ndarray,  # (N, K)
    right: np.ndarray,  # (N,)
    start: np.ndarray,  # (K,)
    inliers: np.ndarray,  # (N,)
    threshold: float,
) -> np.ndarray:  # (K,)
    # Huber over what lies near, as near as the inliers themselves scatter: outliers that happen
    # to fall just inside the threshold would still pull otherwise.
    solution = start
    for _ in range(4):
        residual = np.abs(rows @ solution - right)
        close = residual <= threshold
        sigma = float(np.clip(1.4826 * np.median(residual[close]), 1e-4, threshold / 2))
        kept = residual <= 3 * sigma
        if int(kept.sum()) < 10:
            kept = inliers
        solution = huber_least_squares(
            rows[kept], right[kept], np.full(int(kept.sum()), sigma), solution
        )
    return solution


def _limit(depth: np.ndarray, max_depth: float) -> np.ndarray:
    good = np.isfinite(depth) & (depth > 0) & (depth <= max_depth)
    return np.where(good, depth, 0.0).astype(np.float32)


def _relative(depth: np.ndarray, measured: np.ndarray) -> np.ndarray:
    return depth / measured - 1.0


def _agreement(depth: np.ndarray, sparse: np.ndarray, threshold: float) -> float:
    known = np.isfinite(sparse) & (sparse > 0)
    if not known.any():
        return 0.0
    return float((np.abs(_relative(depth[known], sparse[known])) <= threshold).mean())
