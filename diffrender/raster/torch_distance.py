"""Distances to the outlines of faces in the image, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.raster.fragments import NEAR

__all__ = ["face_distance", "segment_distance"]


def segment_distance(points: Tensor, start: Tensor, end: Tensor) -> Tensor:  # (..., 2) each
    """Squared distance from points to segments. Shapes broadcast, (..., 2) -> (...)."""
    along = end - start
    length = (along * along).sum(-1)
    share = ((points - start) * along).sum(-1) / torch.where(length > 0, length, 1.0)
    offset = points - start - share.clamp(0.0, 1.0).unsqueeze(-1) * along
    return (offset * offset).sum(-1)


def face_distance(h: Tensor, faces: Tensor, face: Tensor) -> Tensor:
    """Signed distance in pixels from hit pixels to their faces' outlines; 0 elsewhere.

    Shapes: (sum V, 3), (sum F, 3), (B, H, W, K) -> (B, H, W, K). Negative: pixels lie in the faces
    that they hit. Edges that pass behind the near plane end there.
    """
    where = (face >= 0).nonzero(as_tuple=True)
    corners = h[faces[face[where]]].double()  # (N, 3, 3)
    pixel = torch.stack([where[2] + 0.5, where[1] + 0.5], dim=-1).to(corners)
    squared = []
    for i in range(3):
        a, b = corners[:, i], corners[:, (i + 1) % 3]
        rise = b[:, 2] - a[:, 2]
        share = ((NEAR - a[:, 2]) / torch.where(rise == 0, 1.0, rise)).unsqueeze(-1)
        cut = a + share * (b - a)
        a_behind, b_behind = (a[:, 2] <= NEAR)[:, None], (b[:, 2] <= NEAR)[:, None]
        # Where both ends lie behind, no part of the edge is in the image: use a harmless point.
        none = a_behind & b_behind
        safe = torch.ones_like(a)
        start = torch.where(none, safe, torch.where(a_behind, cut, a))
        end = torch.where(none, safe, torch.where(b_behind, cut, b))
        distance = segment_distance(pixel, start[:, :2] / start[:, 2:], end[:, :2] / end[:, 2:])
        squared.append(torch.where(none[:, 0], torch.inf, distance))
    nearest = torch.stack(squared).amin(0)
    positive = nearest > 0
    root = torch.where(positive, nearest, 1.0).sqrt()  # no infinite slope on the outline
    distance = -torch.where(positive, root, 0.0)
    return h.new_zeros(face.shape).index_put(where, distance.to(h.dtype))
