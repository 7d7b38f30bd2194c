"""GELU in its tanh form, alone or after a LayerNorm in the same pass."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from diffrender.graph._gelu_ops import native_norm_gelu
from diffrender.graph._kernels import as_written, native_inputs

__all__ = ["gelu", "norm_gelu"]


def gelu(x: Tensor) -> Tensor:  # (M, F)
    """x S(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3). Shapes: (M, F) -> (M, F); differentiable."""
    if (taken := native_inputs(x)) is not None:
        return native_norm_gelu(*taken, None, None, 0.0)[0].to(x.dtype)
    return F.gelu(x, approximate="tanh")


def _fits(x: Tensor, norm: nn.LayerNorm) -> bool:
    """Whether the kernel may do what the layer would: it reads a number for every column of x."""
    if x.dim() != 2 or not as_written(norm, nn.LayerNorm) or norm.bias is None:
        return False
    return norm.weight.shape == norm.bias.shape == x.shape[1:]


def norm_gelu(x: Tensor, norm: nn.LayerNorm) -> Tensor:  # (M, F)
    """GELU of the LayerNorm of every row. Shapes: (M, F) -> (M, F); differentiable, also in norm.

    One pass over memory forward and two backward where the native kernel is there.
    """
    if _fits(x, norm) and (taken := native_inputs(x, norm.weight, norm.bias)) is not None:
        return native_norm_gelu(*taken, norm.eps)[0].to(x.dtype)
    return F.gelu(norm(x), approximate="tanh")
