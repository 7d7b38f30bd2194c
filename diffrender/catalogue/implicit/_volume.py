"""Volume rendering along rays: sections, their opacities, and the sums over them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffrender.catalogue.implicit._rays import Rays, paint
from diffrender.catalogue.scene import Rendering

__all__ = [
    "Sections",
    "absorption",
    "blend_weights",
    "even_edges",
    "resample",
    "sections",
    "volume_picture",
]

_FLOOR = 0.1  # share of the samples that is spread evenly, whatever the weights say


class Sections(NamedTuple):
    """Pieces of rays: where they are and how long."""

    middle: Tensor  # (P, S) depth
    length: Tensor  # (P, S) metres


def sections(edges: Tensor, rays: Rays) -> Sections:  # (P, S + 1)
    """The pieces between edges along the rays. Differentiable to nothing."""
    length = edges.diff(dim=1) * rays.lengths()[:, None]
    return Sections((edges[:, 1:] + edges[:, :-1]) / 2, length)


def even_edges(rays: Rays, count: int) -> Tensor:
    """(P, count + 1) depths that divide each ray's piece within the box evenly."""
    share = torch.linspace(0, 1, count + 1).to(rays.near)
    return rays.near[:, None] + share * (rays.far - rays.near)[:, None]


def absorption(density: Tensor, length: Tensor) -> Tensor:  # (P, S), (P, S)
    """Opacity of sections of constant density, 1 - exp(-σ δ). Differentiable to both."""
    return -torch.expm1(-density * length)


def blend_weights(opacity: Tensor) -> Tensor:  # (P, S)
    """w_i = α_i Π_{j<i} (1 - α_j), front to back. Differentiable."""
    passed = torch.cumprod(1 - opacity, dim=1)
    before = torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], dim=1)
    return opacity * before


def resample(edges: Tensor, weights: Tensor, count: int) -> Tensor:  # (P, C + 1), (P, C)
    """Edges of `count` sections that share the weights evenly, without gradient.

    The inverse of the piecewise linear cumulative weight at even steps; a tenth of the weight is
    spread evenly, so that the sections reach from the first edge to the last.

    Shapes: -> (P, count + 1). Source: Mildenhall et al., NeRF, 2020, hierarchical sampling.
    """
    with torch.no_grad():
        total = weights.sum(1, keepdim=True)
        even = edges.diff(dim=1) / (edges[:, -1:] - edges[:, :1])
        share = torch.where(total > 1e-6, weights / total.clamp(min=1e-6), even)
        share = (1 - _FLOOR) * share + _FLOOR * even
        below = torch.cat([torch.zeros_like(total), share.cumsum(1)], dim=1)
        below = below / below[:, -1:]
        wanted = torch.linspace(0, 1, count + 1).to(edges).expand(len(edges), -1).contiguous()
        index = torch.searchsorted(below, wanted, right=True).clamp(1, edges.shape[1] - 1)
        first, last = below.gather(1, index - 1), below.gather(1, index)
        place = ((wanted - first) / (last - first).clamp(min=1e-12)).clamp(0, 1)
        return torch.lerp(edges.gather(1, index - 1), edges.gather(1, index), place)


def volume_picture(
    rays: Rays,
    weights: Tensor,  # (P, S)
    middle: Tensor,  # (P, S)
    radiance: Tensor,  # (P, S, 3)
    background: Tensor,  # (3,)
) -> Rendering:
    """The picture of weighted samples. Depth is the mean over the weights, 0 below 1 % coverage."""
    coverage = weights.sum(1)
    safe = coverage.clamp(min=1e-2)
    depth = torch.where(coverage > 1e-2, (weights * middle).sum(1) / safe, 0.0)
    colour = (weights[..., None] * radiance).sum(1) / safe[:, None]
    return paint(rays, colour, coverage, depth, background)
