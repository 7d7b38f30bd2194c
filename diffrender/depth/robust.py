"""Robust straight-line fits for the alignment of depth."""

from __future__ import annotations

import numpy as np

from diffrender.errors import InputError

__all__ = ["huber_least_squares", "ransac_rows", "robust_mean"]


_MANY = 50_000  # measurements from which candidates are drawn


def huber_least_squares(
    rows: np.ndarray,  # (N, K)
    right: np.ndarray,  # (N,)
    sigma: np.ndarray,  # (N,)
    start: np.ndarray | None = None,  # (K,)
    iterations: int = 30,
) -> np.ndarray:  # (K,)
    """min over p of sum of huber((rows p - right) / sigma), by reweighting (Huber 1964, k = 1.345).

    `sigma` is the spread expected of each residual; it is not estimated from them.
    """
    scaled, target = rows / sigma[:, None], right / sigma
    solution = _solve(scaled, target, np.ones(len(target))) if start is None else start
    for _ in range(iterations):
        residual = np.abs(scaled @ solution - target)
        weights = np.minimum(1.0, 1.345 / np.maximum(residual, 1e-12))
        previous, solution = solution, _solve(scaled, target, weights)
        if np.abs(solution - previous).max() <= 1e-10 * max(1e-12, np.abs(solution).max()):
            break
    return solution


def ransac_rows(
    rows: np.ndarray,  # (N, K)
    right: np.ndarray,  # (N,)
    threshold: float,
    generator: np.random.Generator,
    trials: int = 300,
    scored: int = 4000,
    accept: np.ndarray | None = None,  # (K,)
) -> tuple[np.ndarray, np.ndarray]:  # (K,), (N,)
    """The exact solution of K random rows that most rows agree with to within `threshold`.

    Candidates whose entries have not the sign of `accept` (+1, -1; 0 for either) are passed over.

    Returns:
        The candidate and the (N,) bool rows that agree with it.

    Raises:
        InputError: fewer than K rows, or no acceptable candidate.
    """
    count, unknowns = rows.shape
    if count < unknowns:
        raise InputError(f"{count} measurements, at least {unknowns} are needed for the fit")
    most, fits = (rows, right), count
    if count > _MANY:  # a dense map: drawing from all of it takes longer than the fit
        chosen = generator.choice(count, _MANY, replace=False, shuffle=False)
        most, fits = (rows[chosen], right[chosen]), _MANY
    picks = np.stack([generator.permutation(fits)[:unknowns] for _ in range(trials)])
    systems, targets = most[0][picks], most[1][picks]
    size = np.abs(systems).max(axis=(1, 2))
    regular = np.abs(np.linalg.det(systems)) > 1e-9 * size**unknowns
    if not regular.any():
        raise InputError("the measurements are all alike, so the fit is not determined")
    candidates = np.linalg.solve(systems[regular], targets[regular][..., None])[..., 0]
    if accept is not None:
        candidates = candidates[(candidates * accept >= 0).all(axis=1)]
    if not len(candidates):
        raise InputError("no acceptable solution among the measurements")
    some = generator.permutation(fits)[:scored]
    residual = np.abs(most[0][some] @ candidates.T - most[1][some, None])
    # Truncated squares (MSAC) tell apart candidates that hold the same number of rows.
    cost = np.minimum((residual / threshold) ** 2, 1.0).sum(axis=0)
    best = candidates[int(cost.argmin())]
    return best, np.abs(rows @ best - right) <= threshold


def robust_mean(values: np.ndarray, sigma: np.ndarray) -> float:  # (N,), (N,)
    """Huber mean of a few numbers with known spreads, started at their weighted median."""
    order = np.argsort(values)
    share = np.cumsum(1 / sigma[order] ** 2)
    median = values[order][int(np.searchsorted(share, share[-1] / 2))]
    ones = np.ones((len(values), 1))
    return float(huber_least_squares(ones, values, sigma, np.array([median]))[0])


def _solve(rows: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    root = np.sqrt(weights)
    solution: np.ndarray = np.linalg.lstsq(rows * root[:, None], right * root, rcond=None)[0]
    return solution
