"""The readable twin of the native antialiasing: plain torch, any device and dtype.

Every crossing of a silhouette edge with a line of pixel centres is one row of a list; what a
crossing blends, and how, is explained in native/src/antialias.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.raster._topology import Topology
from diffrender.raster.crossings import Crossings
from diffrender.raster.fragments import NEAR
from diffrender.raster.torch_raster import cross_product

__all__ = ["antialias"]

_BLOCK = 1e-4  # kBlock in native/src/antialias.cpp


@dataclass(frozen=True, eq=False)
class _Edges:
    """Silhouette edges of all images."""

    image: Tensor  # (S,)
    start: Tensor  # (S, 2) pixels, differentiable
    end: Tensor  # (S, 2)
    inverse: Tensor  # (S, 2) 1 / z of both ends
    side: Tensor  # (S,) +1 where the faces lie at (start x end) . p > 0, else -1
    vertex: Tensor  # (S, 2) which packed vertices the ends are


def _silhouettes(h: Tensor, vertex_offsets: Tensor, table: Topology) -> _Edges:
    """Edges whose faces all lie on one side in the image, both ends beyond the near plane."""
    device = h.device
    bounds = table.edge_offsets
    none = torch.zeros(0, dtype=torch.int64, device=device)  # there may be no mesh at all
    vertex, third, owner, image = [table.edges[:0]], [table.opposite[:0]], [none], [none]
    found = 0
    for b, kind in enumerate(table.index.tolist()):
        first, last = int(bounds[kind]), int(bounds[kind + 1])
        low, high = int(table.opposite_offsets[first]), int(table.opposite_offsets[last])
        each = table.opposite_offsets[first : last + 1].diff()
        numbers = torch.arange(found, found + last - first, device=device)
        owner.append(torch.repeat_interleave(numbers, each))
        third.append(table.opposite[low:high] + int(vertex_offsets[b]))
        vertex.append(table.edges[first:last] + int(vertex_offsets[b]))
        image.append(torch.full((last - first,), b, device=device))
        found += last - first
    ends, owner_of = torch.cat(vertex), torch.cat(owner)
    with torch.no_grad():
        exact = h.double()
        # Which side of its edge each face lies on: by place in the image, or by the edge function
        # where the third vertex lies behind the near plane and has no place.
        start, end = exact[ends[owner_of, 0]], exact[ends[owner_of, 1]]
        apex = exact[torch.cat(third)]
        p, q, c = (t[:, :2] / t[:, 2:] for t in (start, end, apex))
        turn = (q - p)[:, 0] * (c - p)[:, 1] - (q - p)[:, 1] * (c - p)[:, 0]
        behind = (cross_product(start, end) * apex).sum(-1)
        side = torch.where(apex[:, 2] > NEAR, turn, behind)
        zero = torch.zeros(len(ends), device=device, dtype=torch.int64)
        positive = zero.index_add(0, owner_of, (side > 0).long()) > 0
        negative = zero.index_add(0, owner_of, (side < 0).long()) > 0
        ahead = (exact[ends][..., 2] > NEAR).all(-1)
        keep = (positive != negative) & ahead
    corners = h[ends[keep]].double()  # (S, 2, 3)
    pixel = corners[..., :2] / corners[..., 2:]
    sign = torch.where(positive[keep], 1.0, -1.0).double()
    inverse = 1.0 / corners[..., 2].detach()
    return _Edges(torch.cat(image)[keep], pixel[:, 0], pixel[:, 1], inverse, sign, ends[keep])


def _blend(
    image: Tensor,
    edges: _Edges,
    face: Tensor,
    depth: Tensor,
    upright: bool,
    found: list[Crossings] | None,
) -> Tensor:
    """Blend along rows, or along columns if `upright`. Shape (B, H, W, C)."""
    _, height, width, _ = image.shape
    u, v = (0, 1) if upright else (1, 0)  # u across the lines of pixel centres, v along them
    lines, length = (width, height) if upright else (height, width)
    u0, u1 = edges.start[:, u], edges.end[:, u]
    v0, v1 = edges.start[:, v], edges.end[:, v]
    with torch.no_grad():
        steep = (edges.end[:, 1] - edges.start[:, 1]).abs() >= (
            edges.end[:, 0] - edges.start[:, 0]
        ).abs()
        inside = edges.side * ((u1 - u0) if upright else (u0 - u1))
        first = (torch.minimum(u0, u1) - 0.5).ceil().clamp(0, lines)
        last = (torch.maximum(u0, u1) - 0.5).ceil().clamp(0, lines) - 1
        count = (last - first + 1).clamp(min=0).long()
        count = torch.where((u0 != u1) & (inside != 0), count, 0)
        which = torch.repeat_interleave(torch.arange(len(count), device=image.device), count)
        before = count.cumsum(0) - count
        line = first[which].long() + torch.arange(len(which), device=image.device) - before[which]
    along = (line + 0.5 - u0[which]) / (u1 - u0)[which]
    cross = v0[which] + along * (v1 - v0)[which]  # differentiable
    with torch.no_grad():
        lower = (cross - 0.5).floor().long()
        within = (lower >= 0) & (lower + 1 < length)
    which, line, along, cross, lower = (t[within] for t in (which, line, along, cross, lower))
    with torch.no_grad():
        ahead = inside[which] > 0
        near = torch.where(ahead, lower + 1, lower)
        far = torch.where(ahead, lower, lower + 1)
        base = edges.image[which] * height * width
        at_in = base + (near * width + line if upright else line * width + near)
        at_out = base + (far * width + line if upright else line * width + far)
        face_in, face_out = face.reshape(-1)[at_in], face.reshape(-1)[at_out]
        inverse = edges.inverse[which, 0] + along * (
            edges.inverse[which, 1] - edges.inverse[which, 0]
        )
        hidden = (face_out >= 0) & ~(inverse * depth.reshape(-1)[at_out].double() > 1.0)
        valid = (face_in >= 0) & (face_in != face_out) & ~hidden
        blocks = steep[which] if upright else ~steep[which]
        strength = torch.where(blocks, inverse * (1.0 - _BLOCK), inverse)
        # The nearest crossing of each pixel pair, the first edge of equals.
        strength = torch.where(valid, strength, 0.0)
        pair = torch.minimum(at_in, at_out)
        size = face.numel()
        best = strength.new_zeros(size).scatter_reduce(0, pair, strength, "amax")
        number = torch.arange(len(pair), device=image.device)
        winning = valid & (strength == best[pair])
        leader = torch.full((size,), len(pair), device=image.device).scatter_reduce(
            0, pair, torch.where(winning, number, len(pair)), "amin"
        )
        chosen = winning & (leader[pair] == number) & ~blocks
    near, ahead, cross = near[chosen], ahead[chosen], cross[chosen]
    at_in, at_out = at_in[chosen], at_out[chosen]
    reach = torch.where(ahead, near + 0.5 - cross, cross - near - 0.5)
    alpha = (reach - 0.5).to(image.dtype)
    flat = image.flatten(0, 2)
    target = torch.where(alpha > 0, at_out, at_in)
    difference = flat[at_in] - flat[at_out]
    if found is not None:
        edge = which[chosen]
        found.append(
            Crossings(
                image=edges.image[edge],
                inside=at_in,
                outside=at_out,
                start=edges.vertex[edge, 0],
                end=edges.vertex[edge, 1],
                along=along[chosen].to(image.dtype),
                slope=((v1 - v0) / (u1 - u0))[edge].to(image.dtype),
                sign=torch.where(ahead, -1.0, 1.0).to(image.dtype),
                alpha=alpha,
                upright=torch.full_like(at_in, upright, dtype=torch.bool),
                difference=difference,
            )
        )
    change = alpha[:, None] * difference
    return flat.index_add(0, target, change).reshape(image.shape)


def antialias(
    image: Tensor,  # (B, H, W, C)
    h: Tensor,  # (sum V, 3)
    face: Tensor,  # (B, H, W)
    depth: Tensor,  # (B, H, W)
    vertex_offsets: Tensor,  # (B + 1,)
    table: Topology,
    found: list[Crossings] | None = None,
) -> Tensor:
    """Rows first, then columns. Shape (B, H, W, C). The blends are appended to `found`."""
    edges = _silhouettes(h, vertex_offsets, table)
    rows = _blend(image, edges, face, depth, False, found)
    return _blend(rows, edges, face, depth, True, found)
