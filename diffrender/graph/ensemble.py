"""Weighted ensembles: the mean of several networks' predictions, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

__all__ = ["EnsemblePrediction", "combine_predictions"]


@dataclass(frozen=True)
class EnsemblePrediction:
    """Attributes:
    value: (n,) weighted mean.
    spread: (n,) weighted standard deviation of the members; 0 for one member.
    """

    value: Tensor
    spread: Tensor


def combine_predictions(
    predictions: Tensor,  # (M, n), a row a member
    weights: Sequence[float] | Tensor,  # (M,)
) -> EnsemblePrediction:
    """Weighted mean and spread over members; weights need not sum to 1.

    Whole numbers are taken in torch's default dtype. Differentiable; the spread's gradient is 0
    where members agree.

    Raises:
        InputError: another number of weights than members, or weights that are not positive.

    Source: GPS++ report (arXiv 2212.02229), table 4: the weighted mean of 112 members.
    """
    if isinstance(weights, Tensor):
        check_shape("weights", weights, None)
        weights = weights.tolist()
    if not predictions.is_floating_point():
        if predictions.is_complex():
            raise InputError(f"predictions are {predictions.dtype}, expected real numbers")
        predictions = predictions.to(torch.get_default_dtype())
    if predictions.ndim != 2 or len(predictions) != len(weights) or not weights:
        raise InputError(
            f"predictions have shape {tuple(predictions.shape)} and {len(weights)} weights came, "
            "expected a row and a weight for each member"
        )
    if not all(0 < weight < float("inf") for weight in weights):
        raise InputError(f"weights are {list(weights)}, expected positive numbers")
    share = torch.tensor(weights, dtype=predictions.dtype)[:, None] / sum(weights)
    value = (share * predictions).sum(0)
    variance = (share * (predictions - value) ** 2).sum(0)
    # The root's slope at 0 is infinite: where members agree their spread has no gradient.
    apart = variance != 0  # NaN stays what it is
    spread = torch.where(apart, torch.where(apart, variance, 1.0).sqrt(), 0.0)
    return EnsemblePrediction(value, spread)
