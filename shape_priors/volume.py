"""Voxels inside a closed mesh, and the overlap of two meshes by volume."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

__all__ = ["volumetric_iou", "voxel_occupancy"]

_CHUNK = 2**21  # face-column pairs tested at once
_MOST_VOXELS = 2**26


def voxel_occupancy(
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    low: Tensor,  # (3,)
    high: Tensor,  # (3,)
    resolution: tuple[int, int, int] = (64, 32, 32),
) -> Tensor:
    """Which voxel centres lie inside a closed mesh. Shape `resolution`, bool.

    Every column of voxels along x is a ray; a centre is inside where the signed crossings ahead
    of it do not cancel (nonzero winding number, so overlapping closed parts count as solid).

    Args:
        vertices: (V, 3) of a closed, consistently oriented mesh.
        faces: (F, 3) int64.
        low: (3,) smallest corner of the voxel grid.
        high: (3,) largest corner.
        resolution: voxels along x, y, z.

    Raises:
        InputError: an empty grid, too many voxels, or a mesh that is not finite or not closed.
    """
    check_shape("vertices", vertices, None, 3)
    check_shape("faces", faces, None, 3)
    nx, ny, nz = resolution
    if min(resolution) < 1 or nx * ny * nz > _MOST_VOXELS:
        raise InputError(f"resolution {resolution}, expected 1 to {_MOST_VOXELS} voxels in all")
    points = vertices.detach().double()
    if not bool(torch.isfinite(points).all()):
        raise InputError("vertices hold NaN or infinite values")
    low, high = low.to(points), high.to(points)
    if not bool((high > low).all()):
        raise InputError(f"voxel grid from {low.tolist()} to {high.tolist()} is empty")
    step = (high - low) / torch.tensor(resolution).to(points)
    # A column moved by a hair does not meet the edges that modelled meshes put on round numbers.
    y = low[1] + (torch.arange(ny).to(points) + 0.5 + 1.3e-5) * step[1]
    z = low[2] + (torch.arange(nz).to(points) + 0.5 + 0.7e-5) * step[2]
    columns = torch.stack([t.reshape(-1) for t in torch.meshgrid(y, z, indexing="ij")], -1)
    tally = torch.zeros(len(columns) * (nx + 1), dtype=torch.int64, device=points.device)
    for part in faces.split(max(1, _CHUNK // len(columns))):
        column, x, turn = _crossings(points, part, columns)
        # Centres below index `behind` see this crossing ahead of them.
        behind = ((x - low[0]) / step[0] + 0.5).floor().clamp(0, nx).long()
        tally.index_add_(0, column * (nx + 1) + behind, turn)
    table = tally.view(len(columns), nx + 1)
    if bool(table.sum(1).any()):
        raise InputError(
            "the mesh is not closed or its faces are not consistently oriented: "
            "a ray enters it without leaving; fill the holes and unify the winding"
        )
    ahead = table.flip(1).cumsum(1).flip(1)[:, 1:]
    return (ahead != 0).view(ny, nz, nx).permute(2, 0, 1).contiguous()


def _crossings(points: Tensor, faces: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Column index, x and direction (+1 leaving, -1 entering) of every ray-face crossing."""
    sides = []
    offsets = []
    for i in range(3):
        start, end = faces[:, i], faces[:, (i + 1) % 3]
        # Both faces of an edge evaluate it in the same direction: no ray slips between them.
        swap = start > end
        a = points[torch.where(swap, end, start)][:, None]
        b = points[torch.where(swap, start, end)][:, None]
        turn = (b[..., 1] - a[..., 1]) * (columns[:, 1] - a[..., 2])
        turn = turn - (b[..., 2] - a[..., 2]) * (columns[:, 0] - a[..., 1])  # (F, C)
        sides.append((turn >= 0) ^ swap[:, None])
        offsets.append(torch.where(swap[:, None], -turn, turn))
    leaving = sides[0] & sides[1] & sides[2]
    entering = ~(sides[0] | sides[1] | sides[2])
    face, column = (leaving | entering).nonzero(as_tuple=True)
    weights = torch.stack([offsets[i][face, column] for i in (1, 2, 0)], -1)
    total = weights.sum(-1, keepdim=True)
    weights = torch.where(total == 0, 1 / 3, weights / torch.where(total == 0, 1, total))
    x = (weights * points[faces[face], 0]).sum(-1)
    direction = torch.where(leaving[face, column], 1, -1)
    return column, x, direction


def volumetric_iou(
    vertices_a: Tensor,  # (V, 3)
    faces_a: Tensor,  # (F, 3)
    vertices_b: Tensor,  # (W, 3)
    faces_b: Tensor,  # (G, 3)
    resolution: tuple[int, int, int] = (96, 40, 40),
) -> float:
    """Intersection over union of two closed meshes by volume, on a grid over both.

    Raises:
        InputError: a mesh is not closed.
    """
    both = torch.cat([vertices_a.detach().double(), vertices_b.detach().double()])
    low, high = both.amin(0), both.amax(0)
    a = voxel_occupancy(vertices_a, faces_a, low, high, resolution)
    b = voxel_occupancy(vertices_b, faces_b, low, high, resolution)
    union = int((a | b).sum())
    if union == 0:
        raise InputError("neither mesh holds a voxel centre: raise the resolution")
    return int((a & b).sum()) / union
