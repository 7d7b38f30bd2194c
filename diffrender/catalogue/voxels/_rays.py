"""Rays through a voxel grid: samples along them, events on them, pictures from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.scene import Rendering
from diffrender.catalogue.voxels._grid import VoxelGrid

__all__ = [
    "RaySamples",
    "box_depths",
    "composite",
    "pixel_rays",
    "sample_box",
    "sample_grid",
    "shared_out",
    "stop_chances",
]

_NEAR = 0.05  # metres in front of the camera where rays begin


@dataclass(frozen=True)
class RaySamples:
    """What S samples on each of P rays meet, nearest first.

    Attributes:
        depth: (P, S) z in the camera frame, metres.
        step: (P, 1) length of ray that a sample stands for, metres.
        occupancy: (P, S).
        colours: (P, S, 3).
    """

    depth: Tensor  # (P, S)
    step: Tensor  # (P, 1)
    occupancy: Tensor  # (P, S)
    colours: Tensor  # (P, S, 3)


def pixel_rays(camera: Camera) -> tuple[Tensor, Tensor]:
    """The camera's centre (3,) and a direction (P, 3) for each pixel's centre, row by row.

    Directions are as long as their depth is one: the point at depth z is centre + z direction.
    """
    height, width = camera.size
    like = camera.intrinsics
    y, x = torch.meshgrid(
        torch.arange(height).to(like) + 0.5, torch.arange(width).to(like) + 0.5, indexing="ij"
    )
    pixels = torch.stack([x, y], dim=-1).reshape(-1, 2)
    ends = camera.unproject(pixels, torch.ones_like(pixels[:, 0]))
    return camera.centre, ends - camera.centre


def sample_box(grid: VoxelGrid, camera: Camera, count: int) -> RaySamples:
    """`count` samples on each ray between where it enters and leaves the grid, evenly spaced.

    Differentiable to the grid and, through the places of the samples, to the camera.
    """
    centre, direction = pixel_rays(camera)
    near, far = box_depths(grid, centre, direction)
    share = (torch.arange(count).to(near) + 0.5) / count
    depth = near[:, None] + (far - near)[:, None] * share
    step = (far - near)[:, None] / count * direction.norm(dim=-1, keepdim=True)
    # Most rays of most pictures miss the grid, and reading it is what costs time.
    hit = far > near
    met = sample_grid(grid, centre + depth[hit][..., None] * direction[hit][:, None])
    occupancy, colours = (
        values.new_zeros(len(hit), *values.shape[1:]).index_put((hit,), values) for values in met
    )
    return RaySamples(depth, step, occupancy, colours)


def box_depths(grid: VoxelGrid, centre: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) depths where rays enter and leave the grid; equal where they miss it."""
    tiny = torch.full_like(direction, 1e-9)
    safe = torch.where(direction.abs() < 1e-9, tiny, direction)
    first, second = (grid.low - centre) / safe, (grid.high - centre) / safe
    near = torch.minimum(first, second).amax(-1).clamp(min=_NEAR)
    far = torch.maximum(first, second).amin(-1)
    return near, torch.maximum(near, far)


def sample_grid(grid: VoxelGrid, points: Tensor) -> tuple[Tensor, Tensor]:  # (..., 3)
    """Trilinear occupancy (...) and colours (..., 3) at world points; nothing outside the grid.

    Differentiable to the grid and the points, twice. Spatial Transformer's sampling, in space.
    """
    counts = grid.occupancy.shape
    values = torch.cat([grid.occupancy[..., None], grid.colours], dim=-1).reshape(-1, 4)
    place = (points - grid.low) / grid.edge
    size = place.new_tensor(counts).flip(0)
    inside = ((place >= 0) & (place <= size)).all(-1, keepdim=True)
    place = (place - 0.5).clamp(min=0).minimum(size - 1)
    base = place.detach().floor().minimum(size - 2).clamp(min=0)
    part = place - base
    corner = base.long()
    strides = torch.tensor([1, counts[2], counts[1] * counts[2]], device=corner.device)
    first = (corner * strides).sum(-1)
    total: Tensor | None = None
    for bits in range(8):
        on = [(bits >> axis) & 1 for axis in range(3)]
        # A grid one voxel thin has no second corner there, and gives it no weight.
        steps = [on[axis] if counts[2 - axis] > 1 else 0 for axis in range(3)]
        ahead = (strides * strides.new_tensor(steps)).sum()
        x, y, z = (part[..., a : a + 1] if on[a] else 1 - part[..., a : a + 1] for a in range(3))
        read = values[first + ahead] * (x * y * z)
        total = read if total is None else total + read
    assert total is not None
    total = total * inside
    return total[..., 0], total[..., 1:]


def stop_chances(occupancy: Tensor) -> Tensor:  # (..., S)
    """Chance that a ray stops at each of S places, and last that it escapes. (..., S + 1).

    p_i = o_i Π_{j<i} (1 - o_j), p_{S+1} = Π_j (1 - o_j): they add up to one. Differentiable.

    Source: Tulsiani et al., Multi-view Supervision ... via Differentiable Ray Consistency, 2017;
    the same weights blend volume rendering with o = 1 - exp(-σ δ).
    """
    before = torch.cumprod(1 - occupancy, dim=-1)
    clear = torch.cat([torch.ones_like(before[..., :1]), before], dim=-1)
    return torch.cat([occupancy * clear[..., :-1], clear[..., -1:]], dim=-1)


def shared_out(amount: Tensor, shares: Tensor) -> Tensor:  # (P, 1), (P, S)
    """An amount a ray, shared among its samples in proportion to `shares`. Shape (P, S).

    Each sample also gets a little, so that the derivative exists on a ray where there are none.
    """
    some = shares + 1e-4
    return amount * some / some.sum(1, keepdim=True)


def composite(
    weights: Tensor,  # (P, S)
    samples: RaySamples,
    background: Tensor,  # (3,)
    size: tuple[int, int],
) -> Rendering:
    """The picture of samples that count with `weights`; what is left of one shows the background.

    Depth is the mean over what counts.
    """
    silhouette = weights.sum(-1)
    colour = (weights[..., None] * samples.colours).sum(1)
    image = colour + (1 - silhouette)[:, None] * background
    some = silhouette > 1e-6
    mean = (weights * samples.depth).sum(-1) / torch.where(some, silhouette, 1)
    depth = torch.where(some, mean, 0)
    return Rendering(image.view(*size, 3), silhouette.view(size), depth.view(size))
