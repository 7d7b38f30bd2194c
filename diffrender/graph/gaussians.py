"""Distances as the values of learnable Gaussian kernels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["KERNELS", "GaussianKernels"]

KERNELS = 128


class GaussianKernels(nn.Module):
    """psi_k(r) = 0.1 / (sqrt(2 pi) s_k) exp(-((r - mu_k) / s_k)^2 / 2), s_k = |sigma_k| + 0.01.

    In the report's variant the factor is -1 instead of 0.1 and s_k = |sigma_k|. mu and sigma
    begin uniform in [0, 1.5]. Source: GPS++ (arXiv 2212.02229), section on 3D features, and the
    released code.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.empty(KERNELS).uniform_(0.0, 1.5))
        self.spread = nn.Parameter(torch.empty(KERNELS).uniform_(0.0, 1.5))
        self.factor, self.floor = (0.1, 0.01) if variant == "code" else (-1.0, 0.0)

    def forward(self, distances: Tensor) -> Tensor:  # (M,)
        """Shapes: (M,) -> (M, 128). Differentiable in the distances too."""
        spread = self.spread.abs() + self.floor
        scaled = (distances[:, None] - self.mean) / spread
        return torch.exp(-0.5 * scaled**2) * (self.factor / math.sqrt(2 * math.pi) / spread)
