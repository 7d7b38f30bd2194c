"""A template whose right side mirrors its left exactly, cut from meshes of any one topology."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.shape_priors.nearest import nearest_on_mesh

__all__ = ["SymmetricTemplate", "symmetric_template"]

_SAME = 1e-5  # of the width: how near a vertex must be to its mirror image
_ON_PLANE = 0.01  # of the width: vertices so near the plane are put into it


@dataclass(frozen=True)
class SymmetricTemplate:
    """Topology that mirrors itself across z = 0, and where each vertex lies on the source mesh.

    Attributes:
        faces: (F, 3) int64, closed and wound as the source's.
        mirror: (V,) the vertex on the other side of each.
        left, right: source vertices (V, 3) and weights (V, 3): where a vertex lies on the source
            mesh, and where its mirror image does.
    """

    faces: Tensor
    mirror: Tensor
    left: tuple[Tensor, Tensor]
    right: tuple[Tensor, Tensor]

    def carry(self, shapes: Tensor) -> Tensor:  # (..., W, 3)
        """Shapes of the source's topology as symmetric ones, (..., V, 3): both sides' average."""
        own, other = (
            (shapes[..., corners, :] * weights[..., None].to(shapes)).sum(-2)
            for corners, weights in (self.left, self.right)
        )
        both = 0.5 * (own + other * own.new_tensor([1.0, 1.0, -1.0]))
        within = self.mirror == torch.arange(len(self.mirror))
        both[..., within, 2] = 0  # the average across the plane, but for the sign of a zero
        return both


def symmetric_template(mean: Tensor, faces: Tensor) -> SymmetricTemplate:  # (W, 3), (F, 3)
    """The mesh itself where its vertices mirror each other; else its left half and the image of it.

    A half is what the plane z = 0 leaves of the mean shape; faces across the plane are cut. Where
    the image of a vertex lies on the other half is the nearest point there.

    Args:
        mean: (W, 3) mean shape in the unit box, about symmetric across z = 0.
        faces: (F, 3) int64, closed.

    Raises:
        InputError: shapes do not fit, or the plane does not cut the mesh into two clean halves.
    """
    check_shape("mean", mean, None, 3)
    check_shape("faces", faces, None, 3)
    mean, faces = mean.detach().cpu().double(), faces.cpu()
    mirror = _own_mirror(mean, faces)
    if mirror is not None:
        corner = torch.arange(len(mean))[:, None].expand(-1, 3)
        weights = torch.zeros(len(mean), 3, dtype=torch.float64)
        weights[:, 0] = 1
        return SymmetricTemplate(faces, mirror, (corner, weights), (corner[mirror], weights))
    corners, weights, half, plane = _left_half(mean, faces)
    count = len(corners)
    off = (~plane).nonzero()[:, 0]
    image = torch.arange(count)
    image[off] = count + torch.arange(len(off))
    everything = torch.cat([half, image[half][:, [0, 2, 1]]])
    mirror = torch.cat([image, off])
    points = (mean[corners] * weights[..., None]).sum(1)
    other = nearest_on_mesh(points * torch.tensor([1.0, 1.0, -1.0]).double(), mean, faces)
    left = torch.cat([corners, other[0][off]]), torch.cat([weights, other[1][off]])
    right = torch.cat([other[0], corners[off]]), torch.cat([other[1], weights[off]])
    _check_closed(everything)
    return SymmetricTemplate(everything, mirror, left, right)


def _own_mirror(mean: Tensor, faces: Tensor) -> Tensor | None:
    """The vertex on the other side of each, or None where vertices or faces have no image."""
    width = float(mean[:, 2].max() - mean[:, 2].min())
    apart, image = torch.cdist(mean * mean.new_tensor([1.0, 1.0, -1.0]), mean).min(1)
    if float(apart.max()) > _SAME * width:
        return None
    if not torch.equal(image[image], torch.arange(len(image))):
        return None
    kept = set(map(tuple, faces.sort(1).values.tolist()))
    return image if set(map(tuple, image[faces].sort(1).values.tolist())) == kept else None


def _left_half(mean: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Corners and weights of the half's vertices, its faces, and which vertices are in the plane.

    Left is z > 0 (y points down).
    """
    z = mean[:, 2].clone()
    z[z.abs() < _ON_PLANE * (z.max() - z.min())] = 0
    numbers: dict[tuple[int, int], int] = {}
    rows: list[tuple[int, int, float]] = []

    def vertex(a: int, b: int) -> int:
        """Number of vertex a (a == b), or of the point where the edge a b meets the plane."""
        key = (min(a, b), max(a, b))
        if key not in numbers:
            low, high = key
            share = 1.0 if a == b else float(z[high] / (z[high] - z[low]))
            numbers[key] = len(rows)
            rows.append((low, high, share))
        return numbers[key]

    kept: list[tuple[int, int, int]] = []
    for corners in faces.tolist():
        polygon: list[int] = []
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            if z[a] >= 0:
                polygon.append(vertex(a, a))
            if z[a] * z[b] < 0:
                polygon.append(vertex(a, b))
        if len(polygon) >= 3 and any(z[c] > 0 for c in corners):
            kept += [(polygon[0], p, q) for p, q in pairwise(polygon[1:])]
    if not kept:
        raise InputError("no face lies at z > 0, expected a mesh on both sides of the plane z = 0")
    table = torch.tensor(rows, dtype=torch.float64)
    corners = table[:, [0, 1, 1]].long()
    weights = torch.stack([table[:, 2], 1 - table[:, 2], torch.zeros(len(table)).double()], 1)
    plane = (corners[:, 0] != corners[:, 1]) | (z[corners[:, 0]] == 0)
    half = torch.tensor(kept)
    used, half = half.unique(return_inverse=True)
    return corners[used], weights[used], half, plane[used]


def _check_closed(faces: Tensor) -> None:
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    size = int(faces.max()) + 1
    forward, back = edges[:, 0] * size + edges[:, 1], edges[:, 1] * size + edges[:, 0]
    if len(forward.unique()) != len(forward) or not torch.equal(forward.sort()[0], back.sort()[0]):
        raise InputError(
            "the plane z = 0 does not cut the mesh into two clean halves: expected closed meshes "
            "that are about symmetric across their width"
        )
