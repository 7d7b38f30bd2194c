"""Distances from the nodes of a grid to triangles, and which nodes lie inside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Nearest", "Solid", "nearest_points", "thicken", "winding_numbers"]

_BLOCK = 8  # nodes along the side of the first blocks, a power of two
_BLOCKS = 8  # searched at once


class Solid(NamedTuple):
    """Closed triangles, and the face of the original mesh that each came from."""

    vertices: Tensor  # (V, 3)
    faces: Tensor  # (F, 3)
    source: Tensor  # (F,)


class Nearest(NamedTuple):
    """The point of the triangles nearest to each query."""

    distance: Tensor  # (N,)
    face: Tensor  # (N,)
    bary: Tensor  # (N, 3)


def thicken(vertices: Tensor, faces: Tensor, thickness: float) -> Solid:  # (V, 3), (F, 3)
    """Close the open parts of a mesh: a copy below every open sheet, and walls at its rim.

    Vertices at one place are merged first, so that tiles side by side are one sheet. "Below" is
    against the normal of each open vertex. Closed parts stay as they are.
    """
    merged, place = torch.unique(vertices.detach(), dim=0, return_inverse=True)
    corners = place[faces]
    edges = torch.cat([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    key = edges.amin(1) * len(merged) + edges.amax(1)
    _, which, count = torch.unique(key, return_inverse=True, return_counts=True)
    rim = count[which] == 1
    flag = torch.zeros(len(merged), dtype=torch.bool)
    flag[edges[rim].flatten()] = True
    while True:  # spread over everything that hangs together with a rim
        sheet = flag[corners].any(dim=1)
        if flag[corners[sheet]].all():
            break
        flag[corners[sheet].flatten()] = True
    a, b, c = merged[corners[sheet]].unbind(1)
    up = torch.zeros_like(merged)
    for i in range(3):
        up.index_add_(0, corners[sheet][:, i], torch.linalg.cross(b - a, c - a))
    below = merged - thickness * torch.nn.functional.normalize(up, dim=-1)
    n = len(merged)
    wall = edges[rim]
    source = torch.arange(len(faces))
    owner = source.repeat(3)[rim]
    all_faces = [
        corners,
        corners[sheet].flip(1) + n,
        torch.stack([wall[:, 1], wall[:, 0], wall[:, 0] + n], dim=1),
        torch.stack([wall[:, 1], wall[:, 0] + n, wall[:, 1] + n], dim=1),
    ]
    return Solid(
        torch.cat([merged, below]),
        torch.cat(all_faces),
        torch.cat([source, source[sheet], owner, owner]),
    )


def nearest_points(solid: Solid, nodes: Tensor) -> Nearest:  # nodes (D, H, W, 3)
    """Exact nearest points on the triangles for every node of a regular grid.

    Blocks of nodes are halved down to single ones. A triangle stays a candidate of a block where
    its distance from the centre is at most that of the nearest one plus the block's diameter, so
    that by the triangle inequality no nearest triangle of any node is left out.

    Shapes: nodes (D, H, W, 3) -> N = D H W rows in the nodes' order.
    """
    corners = solid.vertices[solid.faces].permute(1, 2, 0).contiguous()  # (3, 3, F)
    size = torch.tensor(nodes.shape[:3])
    starts = torch.cartesian_prod(*(torch.arange(0, n, _BLOCK) for n in size.tolist()))
    low, spacing = nodes[0, 0, 0], float(nodes[0, 0, 1, 0] - nodes[0, 0, 0, 0])
    face = torch.zeros(*nodes.shape[:3], dtype=torch.int64)
    for few in starts.split(_BLOCKS):
        node, found = _descend(few, low, spacing, corners)
        there = (node < size).all(dim=1)
        k, j, i = node[there].unbind(1)
        face[k, j, i] = found[there]
    found, points = face.flatten(), nodes.reshape(-1, 3)
    nearest = corners.index_select(2, found)
    _, second, third = _project(points, nearest)
    bary = torch.stack([1 - second - third, second, third])
    distance = (points.mT - (bary[:, None] * nearest).sum(0)).norm(dim=0)
    return Nearest(distance, solid.source[found], bary.mT)


def winding_numbers(solid: Solid, nodes: Tensor) -> Tensor:  # nodes (D, H, W, 3)
    """How often the closed triangles wind around each node, by signed crossings of its column.

    A line along y is followed through each column of nodes; passing into a surface adds one,
    passing out takes one away. That is the winding number of closed surfaces.

    Shapes: nodes (D, H, W, 3) -> (D, H, W).
    """
    corners = solid.vertices[solid.faces]  # (F, 3, 3)
    low, high = corners[..., 2].amin(1), corners[..., 2].amax(1)
    # A shift without a simple ratio: a column never passes through a corner or an edge.
    shift = nodes.new_tensor([0.000271828, 0.000314159]) * (nodes[0, 1, 0, 1] - nodes[0, 0, 0, 1])
    heights = nodes[0, :, 0, 1].contiguous()
    depth, height, width = nodes.shape[:3]
    total = nodes.new_zeros(depth, width, height + 1)
    for k in range(depth):
        columns = nodes[k, 0][:, None, [0, 2]] + shift  # (W, 1, 2)
        z = columns[0, 0, 1]
        few = corners[(low < z) & (z < high)]
        a, b, c = few[..., [0, 2]].unbind(1)
        areas = [_cross(p - columns, q - columns) for p, q in ((b, c), (c, a), (a, b))]
        sign = areas[0].sign()
        inside = (areas[1].sign() == sign) & (areas[2].sign() == sign) & (sign != 0)
        column, face = inside.nonzero().unbind(1)
        weights = torch.stack([area[column, face] for area in areas], dim=1)
        y = (weights * few[face, :, 1]).sum(1) / weights.sum(1)
        after = torch.searchsorted(heights, y.contiguous())
        total[k].index_put_((column, after), sign[column, face], accumulate=True)
    return total.cumsum(2)[..., :-1].transpose(1, 2)


def _descend(
    starts: Tensor,  # (B, 3)
    low: Tensor,  # (3,)
    spacing: float,
    corners: Tensor,  # (3, 3, F)
) -> tuple[Tensor, Tensor]:
    """All nodes (k, j, i) of the blocks that start there, and the face nearest to each."""
    halves = torch.cartesian_prod(*[torch.tensor([0, 1])] * 3)
    block, face = torch.cartesian_prod(
        torch.arange(len(starts)), torch.arange(corners.shape[2])
    ).unbind(1)
    side = _BLOCK
    while True:
        centres = low + spacing * (starts.flip(1).to(low) + (side - 1) / 2)
        reach = _project(centres[block], corners.index_select(2, face))[0].clamp(min=0).sqrt()
        nearest = torch.full((len(starts),), float("inf"), dtype=reach.dtype)
        nearest.scatter_reduce_(0, block, reach, "amin")
        if side == 1:
            hit = reach == nearest[block]
            winner = torch.empty(len(starts), dtype=torch.int64)
            winner[block[hit]] = face[hit]
            return starts, winner
        diameter = spacing * (side - 1) * 3**0.5
        keep = reach <= 1.0001 * nearest[block] + diameter + 1e-6
        side //= 2
        block = (8 * block[keep, None] + torch.arange(8)).flatten()
        face = face[keep].repeat_interleave(8)
        starts = (starts[:, None] + side * halves).reshape(-1, 3)


def _project(points: Tensor, corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest points of triangles a + u (b - a) + v (c - a): squared distance, u and v.

    Shapes: points (N, 3), corners (3 of them, 3 components, N) -> (N,) each.
    """
    a, b, c = corners
    e1, e2, offset = b - a, c - a, points.mT - a
    tiny = torch.finfo(points.dtype).tiny
    s11, s12, s22 = (e1 * e1).sum(0), (e1 * e2).sum(0), (e2 * e2).sum(0)
    d1, d2 = (offset * e1).sum(0), (offset * e2).sum(0)
    area = (s11 * s22 - s12 * s12).clamp(min=tiny)
    u, v = (s22 * d1 - s12 * d2) / area, (s11 * d2 - s12 * d1) / area
    zero = torch.zeros_like(u)
    on1 = (d1 / s11.clamp(min=tiny)).clamp(0, 1)
    on2 = (d2 / s22.clamp(min=tiny)).clamp(0, 1)
    on3 = ((s11 - s12 + d2 - d1) / (s11 - 2 * s12 + s22).clamp(min=tiny)).clamp(0, 1)
    # Squared distance less that of the corner a, for the plane and for the three sides.
    plane = torch.where((u >= 0) & (v >= 0) & (u + v <= 1), -u * d1 - v * d2, float("inf"))
    best, second, third = plane, u, v
    for x, y in ((on1, zero), (zero, on2), (1 - on3, on3)):
        side = x * (x * s11 + 2 * y * s12 - 2 * d1) + y * (y * s22 - 2 * d2)
        closer = side < best
        best = torch.where(closer, side, best)
        second, third = torch.where(closer, x, second), torch.where(closer, y, third)
    return (offset * offset).sum(0) + best, second, third


def _cross(a: Tensor, b: Tensor) -> Tensor:  # (..., 2), (..., 2)
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
