"""Faces cut into small equal pieces: where points and splats come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["Pieces", "cut_faces"]

_MOST_PIECES = 2**22


@dataclass(frozen=True)
class Pieces:
    """N small triangles on the faces of a mesh, at fixed barycentrics.

    A function of the vertices through `corners` is differentiable to them; which pieces there are
    is decided once.

    Attributes:
        face: (N,) int64, the face that a piece lies on.
        barycentrics: (N, 3, 3) of its three corners (rows) in that face.
    """

    face: Tensor  # (N,)
    barycentrics: Tensor  # (N, 3, 3)

    def corners(self, values: Tensor, faces: Tensor) -> Tensor:  # (V, C), (F, 3)
        """Values at vertices, interpolated at the pieces' corners. Shape (N, 3, C)."""
        return self.barycentrics.to(values.dtype) @ values[faces[self.face]]


def cut_faces(vertices: Tensor, faces: Tensor, spacing: float) -> Pieces:  # (V, 3), (F, 3)
    """Every face in k x k similar triangles, k the smallest that leaves no edge over `spacing`.

    A regular cut leaves neither holes nor clumps, which a random sample of the surface would.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) int64.
        spacing: longest edge of a piece, metres.

    Raises:
        InputError: the spacing is not positive, or there would be more than four million pieces.
    """
    if not spacing > 0:
        raise InputError(f"spacing is {spacing}, expected a positive length in metres")
    points = vertices.detach()[faces]
    longest = (points - points.roll(1, dims=1)).norm(dim=-1).amax(1)
    cuts = (longest / spacing).ceil().clamp(min=1).long()
    total = int((cuts.double() ** 2).sum())
    if total > _MOST_PIECES:
        raise InputError(
            f"a spacing of {spacing} m cuts the faces into {total} pieces, at most {_MOST_PIECES} "
            "are drawn: use a wider spacing, or metres as the unit of the mesh"
        )
    owners, weights = [], []
    for cut in cuts.unique().tolist():
        own = (cuts == cut).nonzero().squeeze(1)
        table = _grid(cut).to(vertices)
        owners.append(own.repeat_interleave(len(table)))
        weights.append(table.repeat(len(own), 1, 1))
    if not owners:
        raise InputError("the mesh has no faces to put points on")
    return Pieces(torch.cat(owners), torch.cat(weights))


def _grid(cut: int) -> Tensor:
    """(cut², 3, 3) barycentrics of the pieces' corners, wound as the face is."""
    i, j = torch.meshgrid(torch.arange(cut), torch.arange(cut), indexing="ij")
    step = torch.tensor([[0, 0], [1, 0], [0, 1]])
    low = torch.stack([i, j], dim=-1)[i + j < cut]  # corner nearest the face's first vertex
    high = (
        torch.stack([i, j], dim=-1)[i + j < cut - 1] + 1
    )  # of the pieces that point the other way
    pieces = torch.cat([low[:, None] + step, high[:, None] - step]).double() / cut
    return torch.cat([1 - pieces.sum(-1, keepdim=True), pieces], dim=-1)
