"""Edges at which a picture can jump: silhouettes, borders, and seams between pieces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.raster.fragments import NEAR

__all__ = ["Outlines", "clip_to_image", "facing_camera", "find_outlines", "pixels_beside"]


@dataclass(frozen=True)
class Outlines:
    """E edges, vertices by index.

    Attributes:
        start, end: (E,) int64.
        opposite: (E,) int64, third vertex of the face that ends at the edge (the front one).
        share: (E,) 1 over how many of the edges lie in the same place: pieces that touch without
            sharing vertices have one each, and together they are one discontinuity.
    """

    start: Tensor  # (E,)
    end: Tensor  # (E,)
    opposite: Tensor  # (E,)
    share: Tensor  # (E,)


def facing_camera(homogeneous: Tensor, faces: Tensor) -> Tensor:  # (V, 3), (F, 3)
    """(F,) bool: seen from outside. Holds for faces that cross the camera plane, too."""
    return torch.linalg.det(homogeneous[faces]) < 0


@torch.no_grad()
def find_outlines(
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    *fronts: Tensor,  # (F,) bool
) -> Outlines:
    """Edges of one face only, of more than two, or between a front face and a back one.

    `fronts`: which faces are seen from outside, by the camera, and by a light where one matters.
    """
    halves = torch.stack([faces, faces.roll(-1, dims=1)], dim=-1).view(-1, 2)
    third = faces.roll(-2, dims=1).reshape(-1)
    edges, owner, count = torch.unique(
        halves.sort(dim=1).values, dim=0, return_inverse=True, return_counts=True
    )
    jumps = count != 2
    for front in fronts:
        seen = front.repeat_interleave(3).long()
        jumps |= torch.zeros(len(edges), dtype=torch.int64).index_add(0, owner, seen) == 1
    # One half-edge for each outline, of a face that the camera sees where there is one.
    rank = torch.where(fronts[0].repeat_interleave(3), 0, len(halves)) + torch.arange(len(halves))
    chosen = torch.full((len(edges),), 2 * len(halves)).scatter_reduce(0, owner, rank, "amin")
    chosen = chosen[jumps] % len(halves)
    start, end = halves[chosen].unbind(1)
    welded = torch.unique(vertices, dim=0, return_inverse=True)[1]
    places = torch.stack([welded[start], welded[end]], dim=1).sort(dim=1).values
    _, place, times = torch.unique(places, dim=0, return_inverse=True, return_counts=True)
    return Outlines(start, end, third[chosen], 1 / times[place].to(vertices.dtype))


@torch.no_grad()
def clip_to_image(
    start: Tensor,  # (E, 3)
    end: Tensor,  # (E, 3)
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """The part of each edge, homogeneous pixels, before the camera and within the image.

    (E, 2) parameters from start to end in space, first the lower, and (E,) bool whether there is
    such a part. In homogeneous coordinates each side is a half-space: z > NEAR, x >= 0,
    width z - x >= 0, and so on.
    """
    height, width = size

    def sides(h: Tensor) -> Tensor:
        x, y, z = h.unbind(-1)
        return torch.stack([z - NEAR, x, width * z - x, y, height * z - y], dim=-1)

    a, b = sides(start), sides(end)
    rise = b - a
    cut = -a / torch.where(rise == 0, torch.inf, rise)
    low = torch.where(rise > 0, cut, 0).amax(-1).clamp(min=0)
    high = torch.where(rise < 0, cut, 1).amin(-1).clamp(max=1)
    there = (low < high) & ~((a < 0) & (b < 0)).any(-1)
    return torch.stack([low, high], dim=-1), there


@torch.no_grad()
def pixels_beside(
    start: Tensor,  # (E, 2)
    end: Tensor,  # (E, 2)
    reach: float,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Pixels whose centres may lie within `reach` of an edge: those of its box.

    (P,) int64 the edge, (P,) int64 the pixel, row by row.
    """
    limit = start.new_tensor([size[1], size[0]])
    low = (torch.minimum(start, end) - reach - 0.5).ceil().clamp(min=0).minimum(limit).long()
    high = (torch.maximum(start, end) + reach + 0.5).floor().clamp(min=0).minimum(limit).long()
    columns, rows = (high - low).clamp(min=0).unbind(1)
    count = columns * rows
    edge = torch.repeat_interleave(torch.arange(len(count)), count)
    place = torch.arange(len(edge)) - (count.cumsum(0) - count)[edge]
    row = low[edge, 1] + place // columns[edge]
    return edge, row * size[1] + low[edge, 0] + place % columns[edge]
