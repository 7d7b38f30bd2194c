"""The usual errors of a depth map.

Eigen, Puhrsch, Fergus, "Depth Map Prediction from a Single Image", NIPS 2014, section 4.2; the
crops are that paper's and that of Garg et al., "Unsupervised CNN for Single View Depth
Estimation", ECCV 2016.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from diffrender.errors import InputError

__all__ = ["Crop", "DepthMetrics", "depth_metrics"]

Crop: TypeAlias = Literal["garg", "eigen"]

_MIN_DEPTH = 1e-3
# Rows and columns kept, as shares of the height and the width.
_CROPS = {
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}


@dataclass(frozen=True)
class DepthMetrics:
    """Errors of one depth map, and the settings they were computed under.

    Attributes:
        abs_rel: mean of |p - z| / z.
        sq_rel: mean of (p - z)^2 / z, metres.
        rmse: root mean square of p - z, metres.
        rmse_log: root mean square of ln p - ln z.
        delta1, delta2, delta3: share of pixels with max(p/z, z/p) below 1.25, 1.25^2, 1.25^3.
        count: pixels compared.
        missing: pixels with a truth where the prediction is unknown (0); they are not compared.
        factor: what the prediction was multiplied by (1 without median scaling).
        crop, cap, median_scaling: the settings.
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    delta1: float
    delta2: float
    delta3: float
    count: int
    missing: int
    factor: float
    crop: Crop | None
    cap: float
    median_scaling: bool


def depth_metrics(
    pred: np.ndarray,  # (H, W)
    truth: np.ndarray,  # (H, W)
    crop: Crop | None = None,
    cap: float = 80.0,
    median_scaling: bool = False,
) -> DepthMetrics:
    """Errors of a depth map against truth, over the pixels where both are known.

    Args:
        pred: (H, W) metres, 0 = unknown; clipped to [0.001, cap] after scaling.
        truth: (H, W) metres, 0 = unknown; pixels at `cap` or beyond are left out.
        crop: "garg" compares the lower, central part that is customary for KITTI, "eigen" the
            one of Eigen et al., a little higher up; None all.
        cap: metres.
        median_scaling: multiply the prediction by median(truth) / median(pred) first, for
            networks without scale.

    Raises:
        InputError: shapes differ, values that are not finite, or no pixel to compare.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.ndim != 2 or pred.shape != truth.shape:
        raise InputError(
            f"pred has shape {pred.shape} and truth {truth.shape}, expected the same (H, W)"
        )
    if crop is not None and crop not in _CROPS:
        raise InputError(f"crop is {crop!r}, expected 'garg', 'eigen' or None")
    if not cap > _MIN_DEPTH:
        raise InputError(f"cap is {cap}, expected metres above {_MIN_DEPTH}")
    if not (np.isfinite(pred).all() and np.isfinite(truth).all()):
        raise InputError("pred or truth holds NaN or infinite values; write 0 for unknown")
    wanted = (truth > _MIN_DEPTH) & (truth < cap)
    if crop is not None:
        height, width = truth.shape
        top, bottom, left, right = _CROPS[crop]
        window = np.zeros_like(wanted)
        window[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = (
            True
        )
        wanted &= window
    compared = wanted & (pred > 0)
    count = int(compared.sum())
    if count == 0:
        raise InputError(
            f"no pixel to compare: {int(wanted.sum())} have a truth below {cap} m inside the crop, "
            "and the prediction is unknown in all of them"
        )
    p, z = pred[compared].astype(np.float64), truth[compared].astype(np.float64)
    factor = float(np.median(z) / np.median(p)) if median_scaling else 1.0
    p = np.clip(p * factor, _MIN_DEPTH, cap)
    ratio = np.maximum(p / z, z / p)
    return DepthMetrics(
        abs_rel=float(np.mean(np.abs(p - z) / z)),
        sq_rel=float(np.mean((p - z) ** 2 / z)),
        rmse=float(np.sqrt(np.mean((p - z) ** 2))),
        rmse_log=float(np.sqrt(np.mean((np.log(p) - np.log(z)) ** 2))),
        delta1=float(np.mean(ratio < 1.25)),
        delta2=float(np.mean(ratio < 1.25**2)),
        delta3=float(np.mean(ratio < 1.25**3)),
        count=count,
        missing=int(wanted.sum()) - count,
        factor=factor,
        crop=crop,
        cap=float(cap),
        median_scaling=median_scaling,
    )
