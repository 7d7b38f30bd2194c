"""Regularizers of free vertices: smooth, evenly stretched, without creases that were not there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.meshes import face_normals

__all__ = [
    "MeshEdges",
    "edge_length",
    "laplacian",
    "laplacian_smoothness",
    "mesh_edges",
    "normal_consistency",
]

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class MeshEdges:
    """Neighbourhoods of one topology.

    Attributes:
        edges: (E, 2) int64, each edge once.
        pairs: (M, 2) int64 into `faces`, the two at every edge that has just two.
        faces: (F, 3) int64, those that name three vertices.
        vertices: number of vertices.
    """

    edges: Tensor
    pairs: Tensor
    faces: Tensor
    vertices: int


def mesh_edges(faces: Tensor, vertices: int) -> MeshEdges:  # (F, 3)
    """Edges and neighbouring faces of a triangle list.

    Faces that name a vertex twice have no area and no neighbours, and are left out.

    Raises:
        InputError: no faces, none that names three vertices, or an index outside the vertices.
    """
    check_shape("faces", faces, None, 3)
    if faces.is_floating_point() or faces.is_complex() or faces.dtype == torch.bool:
        raise InputError(f"faces is {faces.dtype}, expected whole numbers such as torch.int64")
    faces = faces.long()  # other integers index as masks, or not at all
    if not len(faces):
        raise InputError("faces is empty, expected at least one triangle")
    if int(faces.min()) < 0 or int(faces.max()) >= vertices:
        raise InputError(
            f"faces has indices {int(faces.min())} to {int(faces.max())}, expected 0 to "
            f"{vertices - 1}: they count the vertices of one mesh"
        )
    a, b, c = faces.unbind(1)
    faces = faces[(a != b) & (b != c) & (c != a)]
    if not len(faces):
        raise InputError("faces has none that names three different vertices; check the indices")
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(dim=1).values
    edges, which, counts = torch.unique(ends, dim=0, return_inverse=True, return_counts=True)
    owner = torch.arange(len(faces), device=faces.device).repeat(3)
    order = torch.argsort(which, stable=True)
    first = (counts.cumsum(0) - counts)[counts == 2]
    pairs = torch.stack([owner[order[first]], owner[order[first + 1]]], dim=1)
    return MeshEdges(edges, pairs, faces, vertices)


def laplacian(mesh: MeshEdges, dtype: torch.dtype = torch.float32) -> Tensor:
    """Combinatorial Laplacian, dense: degrees on the diagonal, -1 between neighbours. (V, V)."""
    matrix = torch.zeros(mesh.vertices, mesh.vertices, dtype=dtype, device=mesh.edges.device)
    a, b = mesh.edges.unbind(1)
    matrix[a, b] = matrix[b, a] = -1.0
    return matrix - torch.diag(matrix.sum(1))


def laplacian_smoothness(vertices: Tensor, mesh: MeshEdges) -> Tensor:  # (..., V, 3)
    """Mean squared distance of each vertex from its neighbours' mean, square metres. Shape (...).

    Of a displacement from a rest shape it measures what was bent, not what is curved. A vertex
    without neighbours counts as smooth. Differentiable to the vertices.

    Source: Desbrun et al., Implicit fairing of irregular meshes, 1999, with uniform weights.
    """
    _check(vertices, mesh)
    a, b = mesh.edges.unbind(1)
    total = torch.zeros_like(vertices)
    total = total.index_add(-2, a, vertices[..., b, :]).index_add(-2, b, vertices[..., a, :])
    ones = vertices.new_ones(len(a))
    degree = vertices.new_zeros(mesh.vertices).index_add(0, a, ones).index_add(0, b, ones)
    mean = total / degree.clamp(min=1)[:, None]
    away = torch.where((degree > 0)[:, None], vertices - mean, torch.zeros_like(mean))
    return (away**2).sum(-1).mean(-1)


def edge_length(vertices: Tensor, mesh: MeshEdges, rest: Tensor) -> Tensor:  # (..., V, 3) twice
    """Mean squared change of the edges' lengths from `rest`, as a share of the mean edge. (...).

    Differentiable to the vertices, also where an edge has no length.
    """
    _check(vertices, mesh)
    check_shape("rest", rest, "...", mesh.vertices, 3)
    now, then = _lengths(vertices, mesh), _lengths(rest, mesh).detach()
    return ((now - then) ** 2).mean(-1) / (then.mean(-1) ** 2 + _TINY)


def normal_consistency(vertices: Tensor, mesh: MeshEdges) -> Tensor:  # (..., V, 3)
    """Mean of 1 - cosine between the normals of neighbouring faces. Shape (...).

    0 for a flat mesh. Differentiable; a face without area has no normal and no gradient, and its
    pairs do not count.
    """
    _check(vertices, mesh)
    normals = face_normals(vertices, mesh.faces)
    first, second = (normals[..., mesh.pairs[:, k], :] for k in range(2))
    if not len(mesh.pairs):
        return vertices.sum((-2, -1)) * 0
    there = (normals.detach() != 0).any(-1)[..., mesh.pairs].all(-1).to(normals)
    return (there * (1 - (first * second).sum(-1))).sum(-1) / there.sum(-1).clamp(min=1)


def _lengths(vertices: Tensor, mesh: MeshEdges) -> Tensor:
    a, b = mesh.edges.unbind(1)
    return torch.sqrt(((vertices[..., a, :] - vertices[..., b, :]) ** 2).sum(-1) + _TINY)


def _check(vertices: Tensor, mesh: MeshEdges) -> None:
    check_shape("vertices", vertices, "...", mesh.vertices, 3)
