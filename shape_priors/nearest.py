"""Nearest points on triangles, and how far apart two surfaces lie."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

__all__ = ["nearest_on_mesh", "nearest_on_triangles", "surface_errors"]

_CANDIDATES = 12  # samples whose faces are tried for each point
_DENSITY = 15  # samples of a surface for each point that looks for it


def surface_errors(
    first: tuple[Tensor, Tensor],  # (V, 3), (F, 3)
    second: tuple[Tensor, Tensor],  # (W, 3), (G, 3)
    samples: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Chamfer distance and normal consistency of two surfaces.

    Points drawn evenly on either surface look for the nearest point of the other; both directions
    count alike.

    Args:
        first, second: vertices and faces of a mesh each, in one frame.
        samples: points drawn on each surface.
        generator: of the draws.

    Returns:
        The mean distance, in the meshes' unit, and the mean cosine between the normals there.

    Raises:
        InputError: the shapes do not fit, or no samples are asked for.
    """
    for vertices, faces in (first, second):
        check_shape("vertices", vertices, None, 3)
        check_shape("faces", faces, None, 3)
    if samples < 1:
        raise InputError(f"{samples} samples, expected at least 1")
    there = _one_way(first, second, samples, generator)
    back = _one_way(second, first, samples, generator)
    return 0.5 * (there[0] + back[0]), 0.5 * (there[1] + back[1])


def _one_way(
    source: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    samples: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    from scipy.spatial import cKDTree

    points, normals, _ = _draw(*source, samples, generator)
    cloud, _, face = _draw(*target, _DENSITY * samples, generator)
    near = torch.from_numpy(cKDTree(cloud.numpy()).query(points.numpy(), k=_CANDIDATES)[1])
    candidates = face[near]  # (P, K)
    vertices, faces = target[0].detach().double(), target[1]
    corners = vertices[faces[candidates]]
    weights = nearest_on_triangles(points[:, None], corners)
    apart = ((weights[..., None] * corners).sum(-2) - points[:, None]).norm(dim=-1)
    distance, pick = apart.min(1)
    best = candidates.gather(1, pick[:, None])[:, 0]
    a, b, c = vertices[faces[best]].unbind(1)
    facing = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    return float(distance.mean()), float((facing * normals).sum(-1).mean())


def _draw(
    vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Points (S, 3), unit normals (S, 3) and faces (S,)."""
    corners = vertices.detach().double()[faces]
    a, b, c = corners.unbind(1)
    cross = torch.linalg.cross(b - a, c - a)
    area = cross.norm(dim=-1)
    face = torch.multinomial(area, count, replacement=True, generator=generator)
    u, v = torch.rand(2, count, generator=generator, dtype=torch.float64)
    root = u.sqrt()
    weights = torch.stack([1 - root, root * (1 - v), root * v], -1)
    normals = cross[face] / area[face, None].clamp(min=1e-12)
    return (weights[..., None] * corners[face]).sum(1), normals, face


def nearest_on_mesh(
    points: Tensor,  # (P, 3)
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
) -> tuple[Tensor, Tensor]:
    """Vertices (P, 3) and weights (P, 3) of the nearest point of a mesh to each point."""
    best = torch.full((len(points),), float("inf"), dtype=torch.float64)
    face = torch.zeros(len(points), dtype=torch.int64)
    weights = torch.zeros(len(points), 3, dtype=torch.float64)
    for first in range(0, len(faces), 512):
        bary = nearest_on_triangles(points[:, None], vertices[faces[first : first + 512]][None])
        spot = (bary[..., None] * vertices[faces[first : first + 512]]).sum(-2)
        apart, pick = (spot - points[:, None]).norm(dim=-1).min(1)
        nearer = apart < best
        best[nearer], face[nearer] = apart[nearer], pick[nearer] + first
        weights[nearer] = bary[torch.arange(len(points)), pick][nearer]
    return faces[face], weights


def nearest_on_triangles(point: Tensor, triangle: Tensor) -> Tensor:  # (P, 1, 3), (1, F, 3, 3)
    """Weights (P, F, 3) of the nearest point of each triangle: inside it, or on its best edge."""
    a, b, c = triangle.unbind(-2)
    inside = _plane_weights(point, a, b, c)
    choices = [torch.where((inside >= 0).all(-1, keepdim=True), inside, inside.new_tensor(1e9))]
    for i, (start, end) in enumerate(((a, b), (b, c), (c, a))):
        edge = end - start
        length = edge.square().sum(-1).clamp(min=1e-18)
        share = (((point - start) * edge).sum(-1) / length).clamp(0, 1)
        row = [torch.zeros_like(share)] * 3
        row[i], row[(i + 1) % 3] = 1 - share, share
        choices.append(torch.stack(row, -1))
    every = torch.stack(choices)  # (4, P, F, 3)
    apart = ((every[..., None] * triangle).sum(-2) - point).norm(dim=-1)
    pick = apart.argmin(0)
    return every.gather(0, pick[None, ..., None].expand(1, *pick.shape, 3))[0]


def _plane_weights(point: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Barycentric weights of the foot of the perpendicular."""
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    scale = (d00 * d11 - d01 * d01).clamp(min=1e-18)
    v, w = (d11 * d20 - d01 * d21) / scale, (d00 * d21 - d01 * d20) / scale
    return torch.stack([1 - v - w, v, w], -1)
