"""Depth errors over many frames: the mean of each frame's, as papers print them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffrender.errors import InputError
from diffrender.evaluate.depth_metrics import DepthMetrics

__all__ = ["ERRORS", "DepthSummary", "resize_inverse", "summarise_depth"]

ERRORS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")


@dataclass(frozen=True)
class DepthSummary:
    """Attributes:
    frames: how many.
    mean: name of an error -> mean over the frames; names and units as in `DepthMetrics`.
    pixels, missing: pixels compared; pixels with a truth where the prediction is unknown.
    factor_median, factor_spread: median of the frames' scale factors, and the standard
        deviation of the factors over that median; 1 and 0 without median scaling.
    crop, cap, median_scaling: the settings, which must not differ between frames.
    """

    frames: int
    mean: dict[str, float]
    pixels: int
    missing: int
    factor_median: float
    factor_spread: float
    crop: str | None
    cap: float
    median_scaling: bool


def summarise_depth(frames: Sequence[DepthMetrics]) -> DepthSummary:
    """Mean over frames, each frame counting the same however many pixels it has.

    Raises:
        InputError: no frame, or frames measured under different settings.
    """
    if not frames:
        raise InputError("there is no frame to summarise")
    settings = {(f.crop, f.cap, f.median_scaling) for f in frames}
    if len(settings) > 1:
        raise InputError(
            f"frames were measured under different settings: {sorted(map(str, settings))}"
        )
    factors = np.array([f.factor for f in frames])
    values = [dataclasses.asdict(f) for f in frames]
    return DepthSummary(
        len(frames),
        {name: float(np.mean([v[name] for v in values])) for name in ERRORS},
        sum(f.count for f in frames),
        sum(f.missing for f in frames),
        float(np.median(factors)),
        float(np.std(factors / np.median(factors))),
        *next(iter(settings)),
    )


def resize_inverse(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:  # (h, w)
    """Bring a dense depth map to `size` (H, W): bilinear in inverse depth, as disparities are.

    Corners of the two maps coincide, so pixel centres at +0.5 scale with the sides. A pixel whose
    four neighbours are not all known is unknown (0).

    Shapes: (h, w) metres -> (H, W) float64 metres.
    """
    import cv2

    known = (depth > 0).astype(np.float64)
    inverse = np.where(depth > 0, 1.0 / np.where(depth > 0, depth, 1.0), 0.0)
    wide = (size[1], size[0])
    resized = cv2.resize(inverse, wide, interpolation=cv2.INTER_LINEAR)
    whole = cv2.resize(known, wide, interpolation=cv2.INTER_LINEAR) > 1 - 1e-9
    out: np.ndarray = np.where(whole, 1.0 / np.where(whole, resized, 1.0), 0.0)
    return out
