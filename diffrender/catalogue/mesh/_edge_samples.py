"""Monte Carlo samples of the curves in an image along which its colour jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.catalogue.mesh._outlines import Outlines, clip_to_image
from diffrender.errors import InputError

__all__ = ["EdgeSamples", "add_jumps", "sample_edges"]

_MOST = 1 << 24  # samples


@dataclass(frozen=True)
class EdgeSamples:
    """S points on jumps of an image.

    Attributes:
        points: (S, 2) pixels, differentiable: they move with what makes the jump.
        normal: (S, 2) unit normal of the curve.
        weight: (S,) the length of curve that the sample stands for, in pixels.
    """

    points: Tensor  # (S, 2)
    normal: Tensor  # (S, 2)
    weight: Tensor  # (S,)


def sample_edges(
    homogeneous: Tensor,  # (V, 3)
    outlines: Outlines,
    size: tuple[int, int],
    per_pixel: float,
    generator: torch.Generator,
) -> EdgeSamples:
    """Stratified samples of edges in the image, uniform in its length.

    A sample keeps its place on the edge in space, so that it moves as the edge does.
    Differentiable to the homogeneous pixels.
    """
    start, end = homogeneous[outlines.start], homogeneous[outlines.end]
    part, there = clip_to_image(start, end, size)
    with torch.no_grad():
        low = torch.lerp(start, end, part[:, :1])
        high = torch.lerp(start, end, part[:, 1:])
        along = high[:, :2] / high[:, 2:] - low[:, :2] / low[:, 2:]
        length = torch.where(there, torch.linalg.vector_norm(along, dim=1), 0)
        edge, u = stratify(length, per_pixel, generator)
        # From the place in the image to the place in space: the nearer end is stretched.
        u = u * low[edge, 2] / (u * low[edge, 2] + (1 - u) * high[edge, 2])
        s = torch.lerp(part[edge, 0], part[edge, 1], u)[:, None]
        normal = torch.stack([-along[:, 1], along[:, 0]], dim=1) / length[:, None]
        weight = outlines.share[edge] * length.sum() / max(len(edge), 1)
    points = torch.lerp(start[edge], end[edge], s)
    return EdgeSamples(points[:, :2] / points[:, 2:], normal[edge], weight)


def stratify(
    length: Tensor,  # (E,)
    per_unit: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Samples at random places within equal steps along all edges laid end to end.

    (S,) int64 the edge, (S,) the place on it in [0, 1].

    Raises:
        InputError: there would be more samples than memory is meant for.
    """
    ends = length.cumsum(0)
    wanted = ends[-1].item() * per_unit if len(ends) else 0.0
    if not wanted <= _MOST:
        raise InputError(
            f"edges of {wanted / per_unit:.3g} in length, at {per_unit:g} samples a unit, are more "
            f"than {_MOST} samples; scale the scene down (it is in metres), or take fewer a unit"
        )
    count = int(wanted)
    jitter = torch.rand(count, generator=generator, dtype=length.dtype)
    place = (torch.arange(count) + jitter) * (ends[-1:] / max(count, 1))
    edge = torch.searchsorted(ends, place).clamp(max=max(len(ends) - 1, 0))
    u = 1 - (ends[edge] - place) / length[edge]
    return edge, u.clamp(0, 1)


def add_jumps(
    image: Tensor,  # (H, W, C)
    samples: EdgeSamples,
    colour_at: Callable[[Tensor], Tensor],
    offset: float,
) -> Tensor:
    """The image, its value as it was, with the gradient of its jumps' places.

    A curve that moves by n · dx gives its pixel (f⁻ - f⁺) n · dx for a unit of its length, where
    f⁻ and f⁺ are the colours behind and before it along n, `offset` pixels away.
    """
    height, width, channels = image.shape
    points = samples.points.detach()
    with torch.no_grad():
        step = offset * samples.normal
        jump = (colour_at(points - step) - colour_at(points + step)) * samples.weight[:, None]
        column, row = points.floor().long().unbind(1)
        pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    moved = (samples.normal * (samples.points - points)).sum(1, keepdim=True)  # zero
    flat = image.reshape(-1, channels).index_add(0, pixel, jump * moved)
    return flat.view_as(image)
