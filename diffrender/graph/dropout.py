"""Dropout of whole rows, whole graphs or single values, drawn from a generator that is passed in.

Without a generator nothing is dropped: a network has no hidden state that decides it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["drop", "drop_graphs", "drop_rows", "keep_factors"]


def keep_factors(
    like: Tensor, shape: tuple[int, ...], rate: float, generator: torch.Generator
) -> Tensor:
    """0 with probability `rate`, else 1 / (1 - rate). Not differentiable.

    `rate` is kept to a part in 65536: four draws are cut out of one of 64 bits, since drawing costs
    more than all else that is done with them. Just below 1 it is 65535 parts.
    """
    count = math.prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    # A bound of 65536 parts would not fit the 16 bits that it is compared with.
    kept = words.view(torch.int16)[:count] >= min(round(rate * 65536), 65535) - 32768
    return kept.view(shape).to(like.device, like.dtype) / max(1 - rate, 1 / 65536)


def drop(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:  # (M, F)
    """Drop single values. Shapes: (M, F) -> (M, F)."""
    if generator is None or rate == 0:
        return x
    return x * keep_factors(x, tuple(x.shape), rate, generator)


def drop_rows(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:  # (M, F)
    """Drop whole rows: one draw for all values of a node, an edge or a graph."""
    if generator is None or rate == 0:
        return x
    return x * keep_factors(x, (len(x), 1), rate, generator)


def drop_graphs(
    x: Tensor,  # (N, F)
    node_graph: Tensor,  # (N,)
    graphs: int,
    rate: float,
    generator: torch.Generator | None,
) -> Tensor:
    """Drop all rows of a graph at once (stochastic depth). Shapes: (N, F) -> (N, F)."""
    if generator is None or rate == 0:
        return x
    return x * keep_factors(x, (graphs, 1), rate, generator)[node_graph]
