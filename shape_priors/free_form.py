"""The prior that knows no class: an ellipsoid with smooth radial offsets, alike left and right."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.shape_priors.learn import face_atlas
from diffrender.shape_priors.prior import ShapePrior, unit_box

__all__ = ["free_prior", "icosphere"]

_SIZE_MEAN, _SIZE_SIGMA = (3.0, 1.6, 1.8), (2.0, 0.6, 0.7)  # metres: anything on a road
# Standard deviation of the offsets of each degree, as a share of the radius.
_OFFSETS = {2: 0.08, 3: 0.05, 4: 0.06}


@torch.inference_mode(False)  # it may meet autograd later
def free_prior(degree: int = 4, subdivisions: int = 3) -> ShapePrior:
    """An ellipsoid (642 vertices) whose latents are spherical harmonics of its radius.

    Degrees 0 and 1 would repeat size and place, so they are left out; of the others those that
    are even in z are kept: 3 + 4 + 5 = 12 latents for degrees 2 to 4. They are linear in the
    vertices before these are fitted to the unit box. Of degree 4, the first turns the ellipsoid
    into a box or a star.

    Args:
        degree: the highest, 2 to 4.
        subdivisions: of the icosahedron's faces, 1 to 5.

    Raises:
        InputError: an argument is out of range.
    """
    if degree not in _OFFSETS or not 1 <= subdivisions <= 5:
        raise InputError(
            f"degree {degree} and subdivisions {subdivisions}, expected 2 to 4 and 1 to 5"
        )
    sphere, faces = icosphere(subdivisions)
    directions = [
        share * harmonic[:, None] * sphere
        for wanted, share in _OFFSETS.items()
        if wanted <= degree
        for harmonic in _even_harmonics(sphere, wanted)
    ]
    box = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64)
    uv, face_uv = face_atlas(len(faces))
    return ShapePrior(
        mean=unit_box(sphere).float(),
        basis=(torch.stack(directions) * box).float(),
        faces=faces,
        face_parts=torch.zeros(len(faces), dtype=torch.int64),
        size_mean=torch.tensor(_SIZE_MEAN),
        size_sigma=torch.tensor(_SIZE_SIGMA),
        part_names=("body",),
        name="free",
        licence="Apache-2.0",
        uv=uv,
        face_uv=face_uv,
    )


def icosphere(subdivisions: int) -> tuple[Tensor, Tensor]:
    """Unit sphere (V, 3) float64 and faces (F, 3), counter-clockwise from outside.

    Symmetric across the planes x = 0, y = 0 and z = 0.
    """
    g = (1 + 5**0.5) / 2
    points = [(a, b * g, 0.0) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    points += [(0.0, a, b * g) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    points += [(b * g, 0.0, a) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    vertices = torch.tensor(points, dtype=torch.float64)
    near = torch.cdist(vertices, vertices) < 2.01
    faces = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    triangles = torch.tensor(faces)
    a, b, c = vertices[triangles].unbind(1)
    inward = (a * torch.linalg.cross(b, c)).sum(-1) < 0
    triangles[inward] = triangles[inward][:, [0, 2, 1]]
    for _ in range(subdivisions):
        edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        pairs, number = edges.sort(1).values.unique(dim=0, return_inverse=True)
        middles = vertices[pairs].mean(1)
        first, second, third = (number + len(vertices)).chunk(3)
        p, q, r = triangles.unbind(1)
        vertices = torch.cat([vertices, middles])
        triangles = torch.cat(
            [
                torch.stack(corners, 1)
                for corners in (
                    (p, first, third), (first, q, second), (third, second, r),
                    (first, second, third),
                )
            ]
        )  # fmt: skip
    return torch.nn.functional.normalize(vertices, dim=-1), triangles


def _even_harmonics(sphere: Tensor, degree: int) -> list[Tensor]:
    """Polynomials of that degree, even in z, orthogonal to all lower ones; each (V,), of rms 1.

    On the sphere these span the spherical harmonics of the degree. Those of one degree come in
    the order of their power of z, orthogonal to one another.
    """
    x, y, z = sphere.unbind(-1)
    rows: list[Tensor] = []
    sizes = []
    for power in range(degree + 1):
        own = [
            x**a * y ** (power - a - c) * z**c
            for c in range(0, power + 1, 2)
            for a in range(power - c, -1, -1)
        ]
        rows += own
        sizes.append(len(own))
    kept: list[Tensor] = []
    found: list[Tensor] = []
    for index, row in enumerate(rows):
        for other in kept:
            row = row - (row * other).mean() * other
        norm = row.square().mean().sqrt()
        if float(norm) > 1e-6:  # x x + y y + z z is no new one
            kept.append(row / norm)
            if index >= len(rows) - sizes[-1]:
                found.append(row / norm)
    return found
