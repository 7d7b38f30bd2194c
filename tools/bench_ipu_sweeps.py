"""Speeds of the IPU model over densities, block sizes and feature sizes, from plans alone."""

from __future__ import annotations

import functools
import math
import statistics
from dataclasses import dataclass

import numpy as np
import torch

from diffrender.blocksparse.ipu import (
    BOW,
    BlockCounts,
    DoesNotFitError,
    plan_dense,
    plan_dynamic,
    plan_static,
)
from diffrender.blocksparse.ipu.dense_planner import EXTRA_CYCLES, EXTRA_SHARE

__all__ = ["COLUMNS", "Speeds", "fit_power_law", "launched", "law"]

COLUMNS = (4, 16, 64, 256, 1024, 2048, 4096, 16384, 65536)


@dataclass(frozen=True)
class Speeds:
    """TFLOP/s of square products on the Bow machine; what was asked for once is remembered.

    Attributes:
        masks: random masks a static cell; its speed is their median.
        columns: n over which the best is taken.
    """

    masks: int = 5
    columns: tuple[int, ...] = COLUMNS

    @functools.cache  # noqa: B019 - as many entries as a benchmark has cells
    def dense(self, size: int, n: int, dtype: torch.dtype = torch.float16) -> float | None:
        """Of all elements; None where it does not fit."""
        try:
            return plan_dense((size, size), n, dtype=dtype).tflops
        except DoesNotFitError:
            return None

    @functools.cache  # noqa: B019
    def counts(self, size: int, side: int, inverse: int, seed: int) -> BlockCounts:
        generator = np.random.default_rng((size, side, inverse, seed))
        return BlockCounts.uniform((size, size), side, 1 / inverse, generator)

    @functools.cache  # noqa: B019
    def static(
        self, size: int, side: int, inverse: int, n: int, dtype: torch.dtype = torch.float16
    ) -> float | None:
        """Of the stored elements, d = 1 / inverse; None where it does not fit."""
        found = []
        # Small blocks are so many that one mask is almost as good as another.
        for seed in range(min(self.masks, {1: 1, 16: self.masks}.get(side, 3))):
            counts = self.counts(size, side, inverse, seed)
            try:
                found.append(plan_static(counts, n, dtype=dtype).tflops)
            except DoesNotFitError:
                found.append(math.nan)
        middle = statistics.median_low([f for f in found if not math.isnan(f)] or [math.nan])
        return None if math.isnan(middle) else middle

    @functools.cache  # noqa: B019
    def dynamic(
        self, size: int, side: int, inverse: int, n: int, dtype: torch.dtype = torch.float16
    ) -> float | None:
        """Of the stored elements, for a perfectly even mask; None where it does not fit."""
        # The dynamic kernels have no 16 × 16 float block.
        side = min(side, 8) if dtype == torch.float32 else side
        blocks = math.ceil((size // side) ** 2 / inverse)
        try:
            return plan_dynamic((size, size), side, blocks, n, dtype=dtype).tflops
        except DoesNotFitError:
            return None

    def best(
        self, mode: str, size: int, side: int, inverse: int, dtype: torch.dtype = torch.float16
    ) -> float:
        """The best of all n, of the stored elements; 0 where nothing fits."""
        if mode == "dense":
            found = [self.dense(size, n, dtype) for n in self.columns]
            return max((f for f in found if f is not None), default=0.0) / inverse
        call = self.static if mode == "static" else self.dynamic
        found = [call(size, side, inverse, n, dtype) for n in self.columns]
        return max((f for f in found if f is not None), default=0.0)

    def speed_up(self, mode: str, size: int, side: int, inverse: int) -> float:
        """Best of all n over dense's best of all n, FP16."""
        return self.best(mode, size, side, inverse) / self.best("dense", size, side, inverse)


def launched(size: int, inverse: int, n: int, tflops: float) -> float:
    """A static speed with what the dense estimate adds for what no term names.

    That share and fixed number of cycles are calibrated to dense rates alone.
    """
    cycles = 2 * size * size * n * BOW.clock / (inverse * tflops * 1e12)
    return tflops * cycles / (cycles * (1 + EXTRA_SHARE) + EXTRA_CYCLES)


Law = tuple[float, float, float, float]


def law(constants: Law, size: float, density: float, side: float) -> float:
    """factor m^x d^y b^z."""
    factor, x, y, z = constants
    return float(factor * size**x * density**y * side**z)


def fit_power_law(cases: dict[tuple[int, int, int], float]) -> Law:
    """Unweighted least squares on the raw speed-up, from ones, as the authors fit.

    Args:
        cases: (m, 1 / d, b) -> speed-up.

    Source: popsparse.md, section 1.8, "Fit details".
    """
    from scipy.optimize import curve_fit

    keys = np.array(list(cases), dtype=float).T
    inputs = np.stack([keys[0], 1 / keys[1], keys[2]])

    def model(at: np.ndarray, factor: float, x: float, y: float, z: float) -> np.ndarray:
        return factor * at[0] ** x * at[1] ** y * at[2] ** z

    found, _ = curve_fit(model, inputs, np.array(list(cases.values())), p0=np.ones(4), maxfev=20000)
    factor, x, y, z = (float(value) for value in found)
    return factor, x, y, z
