"""The first triangle along each ray, found in a tree of boxes.

The tree is a complete one of four children a node over the triangles in Morton order, so that it
needs no pointers: node i of a level has the children 4 i to 4 i + 3. All rays walk down together, a
level at a time, as a list of (ray, node) pairs. Nothing here is differentiable: who wants the hit
point to move with the triangle intersects again with the triangle that was found.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RayCaster", "intersect_planes"]

_LEAF = 4  # triangles in a leaf
_CHUNK = 1 << 13  # rays at a time, so that the list of pairs stays in the cache


class RayCaster:
    """Boxes around triangles. (F, 3, 3) corners in any space; kept without their gradient."""

    def __init__(self, corners: Tensor) -> None:  # (F, 3, 3)
        corners = corners.detach()
        order = torch.argsort(_morton(corners.mean(1)))
        leaves = 1
        while leaves * _LEAF < len(order):
            leaves *= 4
        empty = order.new_full((leaves * _LEAF - len(order),), -1)
        self.leaves = torch.cat([order, empty]).view(leaves, _LEAF)
        self.corner = corners[:, 0]
        self.sides = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        # A triangle that is not there has an empty box: from +infinity to -infinity.
        held = corners[self.leaves].view(leaves, 3 * _LEAF, 3)
        there = (self.leaves >= 0).repeat_interleave(3, dim=1)[..., None]
        low = torch.where(there, held, torch.inf).amin(1)
        high = torch.where(there, held, -torch.inf).amax(1)
        # (2, 3, nodes) for each level: numbers of one kind lie together, which is what counts here.
        boxes = torch.stack([low.T, high.T])
        self.levels = [boxes]
        while boxes.shape[-1] > 1:
            four = boxes.view(2, 3, -1, 4)
            boxes = torch.stack([four[0].amin(-1), four[1].amax(-1)])
            self.levels.insert(0, boxes)

    def first_hit(
        self,
        origins: Tensor,  # (R, 3)
        directions: Tensor,  # (R, 3)
        *,
        near: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """The nearest triangle of each ray beyond `near`, or -1, and how far: t of o + t d.

        Shapes: (R, 3), (R, 3) -> (R,) int64, (R,) in lengths of the direction, inf where nothing.
        Of triangles equally far the lowest index wins.
        """
        origins, directions = origins.detach(), directions.detach()
        parts = [
            self._first_hit(o, d, near)
            for o, d in zip(origins.split(_CHUNK), directions.split(_CHUNK), strict=True)
        ]
        if not parts:
            return torch.zeros(0, dtype=torch.int64), origins.new_zeros(0)
        return torch.cat([face for face, _ in parts]), torch.cat([t for _, t in parts])

    def _first_hit(self, origins: Tensor, directions: Tensor, near: float) -> tuple[Tensor, Tensor]:
        tiny = torch.finfo(directions.dtype).tiny ** 0.5
        inverse = (1 / torch.where(directions.abs() < tiny, tiny, directions)).T.contiguous()
        start = origins.T * inverse
        ray = torch.arange(len(origins))
        node = torch.zeros_like(ray)
        for boxes in self.levels:
            enter = torch.full_like(ray, near, dtype=origins.dtype)
            leave = torch.full_like(enter, torch.inf)
            for axis in range(3):
                scale, shift = inverse[axis].index_select(0, ray), start[axis].index_select(0, ray)
                a = boxes[0, axis].index_select(0, node) * scale - shift
                b = boxes[1, axis].index_select(0, node) * scale - shift
                enter = torch.maximum(enter, torch.minimum(a, b))
                leave = torch.minimum(leave, torch.maximum(a, b))
            met = enter <= leave * (1 + 1e-5) + 1e-6
            met &= boxes[0, 0].index_select(0, node) < torch.inf
            ray, node = ray[met], node[met]
            if boxes.shape[-1] < len(self.leaves):
                ray = ray.repeat_interleave(4)
                node = (4 * node[:, None] + torch.arange(4)).flatten()
        face = self.leaves[node].flatten()
        ray = ray.repeat_interleave(_LEAF)[face >= 0]
        face = face[face >= 0]
        t = self._meet(face, origins[ray], directions[ray])
        met = t > near
        ray, face, t = ray[met], face[met], t[met]
        best = t.new_full((len(origins),), torch.inf).scatter_reduce(0, ray, t, "amin")
        nearest = t == best[ray]
        none = len(self.corner)
        found = torch.full((len(origins),), none).scatter_reduce(
            0, ray[nearest], face[nearest], "amin"
        )
        return torch.where(found == none, -1, found), best

    def _meet(self, face: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
        """Möller and Trumbore 1997: t of ray i with triangle i, -inf where they miss."""
        first, second = self.sides[0][face], self.sides[1][face]
        p = torch.linalg.cross(directions, second)
        determinant = (first * p).sum(-1)
        inverse = 1 / torch.where(determinant == 0, torch.inf, determinant)
        s = origins - self.corner[face]
        u = (s * p).sum(-1) * inverse
        q = torch.linalg.cross(s, first)
        v = (directions * q).sum(-1) * inverse
        slack = 8 * torch.finfo(u.dtype).eps  # no cracks between neighbours
        inside = (u >= -slack) & (v >= -slack) & (u + v <= 1 + slack) & (determinant != 0)
        return torch.where(inside, (second * q).sum(-1) * inverse, -torch.inf)


def intersect_planes(
    corners: Tensor,  # (R, 3, 3)
    origins: Tensor,  # (R, 3)
    directions: Tensor,  # (R, 3)
) -> tuple[Tensor, Tensor]:
    """Where ray i meets the plane of triangle i: barycentrics (R, 3) and t (R,).

    Differentiable to everything. A ray within the plane gives infinities.
    """
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = torch.linalg.cross(directions, second)
    inverse = 1 / (first * p).sum(-1)
    s = origins - corners[:, 0]
    u = (s * p).sum(-1) * inverse
    q = torch.linalg.cross(s, first)
    v = (directions * q).sum(-1) * inverse
    return torch.stack([1 - u - v, u, v], dim=-1), (second * q).sum(-1) * inverse


def _morton(points: Tensor) -> Tensor:  # (N, 3)
    """(N,) int64: ten bits of each coordinate, interleaved; near points get near numbers."""
    low = points.amin(0)
    extent = (points.amax(0) - low).clamp(min=torch.finfo(points.dtype).tiny)
    cells = ((points - low) / extent * 1023).long()
    code = torch.zeros(len(points), dtype=torch.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code
