"""Light paths through a scene of triangles, a bounce at a time.

Every random choice is fixed by the settings alone and by no differentiable number, so that the
picture is a smooth function of materials and lights, whose exact derivative can be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.catalogue.light._materials import Lamp, microfacets
from diffrender.catalogue.mesh._rays import RayCaster
from diffrender.meshes import face_normals, vertex_normals

__all__ = ["Geometry", "Step", "walk"]

_LIFT = 1e-4  # of the scene's extent: how far above a surface the next ray starts


@dataclass(frozen=True)
class Geometry:
    """What paths run through. Nothing of it is differentiated.

    Attributes:
        vertices, faces: as in the scene.
        caster: finds first hits.
        normals: (V, 3) for shading.
        flat: (F, 3) true normals.
        lift: metres above a surface at which rays start.
    """

    vertices: Tensor
    faces: Tensor
    caster: RayCaster
    normals: Tensor
    flat: Tensor
    lift: float

    @classmethod
    def of(cls, vertices: Tensor, faces: Tensor) -> Geometry:
        """Build the tree and the normals."""
        vertices = vertices.detach()
        extent = (vertices.amax(0) - vertices.amin(0)).max().item()
        return cls(
            vertices,
            faces,
            RayCaster(vertices[faces]),
            vertex_normals(vertices, faces),
            face_normals(vertices, faces),
            _LIFT * extent,
        )


@dataclass(frozen=True)
class Step:
    """One bounce of the paths that are still on their way: numbers that no parameter changes.

    Attributes:
        path: (R,) int64 which paths.
        first: whether they come from the camera.
        missed: (M,) int64 rows of `path` that left the scene.
        hit: (N,) int64 rows that met a surface and may go on.
        directions: (R, 3) of the rays that arrive.
        corner: (N, 3) int64 vertices of the faces that were hit.
        bary: (N, 3) where on them.
        normal: (N, 3) for shading, on the side that the ray comes from.
        start: (N, 3) just above it, world.
        square: (N, 2) a random point of the lamp, in [-1, 1].
        lamp_seen: (N,) 1 where nothing stands before that point, else 0.
        onward: (N, 3) unit direction of the next ray.
        density: (N,) with which it was drawn, per steradian.
        going: (G,) int64 rows of the N whose next ray is above the surface; others end here.
    """

    path: Tensor
    first: bool
    missed: Tensor
    hit: Tensor
    directions: Tensor
    corner: Tensor
    bary: Tensor
    normal: Tensor
    start: Tensor
    square: Tensor
    lamp_seen: Tensor
    onward: Tensor
    density: Tensor
    going: Tensor


@torch.no_grad()
def walk(
    geometry: Geometry,
    rays: tuple[Tensor, Tensor],  # (R, 3), (R, 3)
    lamp: Lamp,
    lobe: float,
    bounces: int,
    seed: int,
) -> Iterator[Step]:
    """The steps of all paths, one bounce at a time; the same ones whenever it is called again.

    Args:
        rays: origins and unit directions.
        lamp: to which every surface looks.
        lobe: roughness for which every second direction is drawn.
        bounces: how many surfaces a path meets at most.
        seed: of all choices.
    """
    generator = torch.Generator().manual_seed(seed)
    origins, directions = rays
    path = torch.arange(len(origins))

    def random(count: int, columns: int) -> Tensor:
        return torch.rand(count, columns, generator=generator, dtype=torch.float64).to(origins)

    for bounce in range(bounces + 1):
        face, t = geometry.caster.first_hit(origins, directions)
        missed = (face < 0).nonzero().squeeze(1)
        hit = (face >= 0).nonzero().squeeze(1)[: len(face) if bounce < bounces else 0]
        on, arriving = face[hit], directions[hit]
        corner = geometry.faces[on]
        place = origins[hit] + t[hit, None] * arriving
        bary = _barycentrics(geometry.vertices[corner], place)
        flat = geometry.flat[on]
        flat = torch.where((flat * arriving).sum(-1, keepdim=True) > 0, -flat, flat)
        normal = (bary[..., None] * geometry.normals[corner]).sum(1)
        normal = torch.where((normal * flat).sum(-1, keepdim=True) < 0, -normal, normal)
        normal = torch.nn.functional.normalize(normal, dim=-1)
        start = place + geometry.lift * flat
        # Next-event estimation: a point of the lamp.
        square = 2 * random(len(hit), 2) - 1
        to_lamp = torch.nn.functional.normalize(lamp.points(square) - start, dim=-1)
        asks = ((flat * to_lamp).sum(-1) > 0).nonzero().squeeze(1)
        blocked, _ = geometry.caster.first_hit(start[asks], to_lamp[asks])
        seen = torch.zeros_like(to_lamp[:, 0]).index_copy(0, asks, (blocked < 0).to(origins))
        onward, density = _choose(normal, -arriving, random(len(hit), 3), lobe)
        going = (((onward * flat).sum(-1) > 0) & (density > 0)).nonzero().squeeze(1)
        yield Step(
            path,
            bounce == 0,
            missed,
            hit,
            directions,
            corner,
            bary,
            normal,
            start,
            square,
            seen,
            onward,
            density,
            going,
        )
        path, origins, directions = path[hit[going]], start[going], onward[going]
        if not len(path):
            return


def _choose(
    normal: Tensor, back: Tensor, chance: Tensor, lobe: float
) -> tuple[Tensor, Tensor]:  # (N, 3), (N, 3), (N, 3)
    """A direction, half by the cosine and half by a lobe of fixed roughness, and its density."""
    squared = lobe**4
    first = torch.nn.functional.normalize(
        torch.linalg.cross(normal, normal.roll(1, dims=1) + normal.new_tensor([0.3, 0.5, 0.7])),
        dim=-1,
    )
    second = torch.linalg.cross(normal, first)
    a, angle, pick = chance[:, :1], 2 * math.pi * chance[:, 1:2], chance[:, 2:]
    # Cosines to the normal: of the direction itself, and of a microfacet that mirrors into it.
    cosine_one = torch.sqrt(1 - a)
    cosine_two = torch.sqrt((1 - a) / (1 + (squared - 1) * a))
    cosine = torch.where(pick < 0.5, cosine_one, cosine_two)
    sine = torch.sqrt((1 - cosine**2).clamp(min=0))
    drawn = sine * (angle.cos() * first + angle.sin() * second) + cosine * normal
    mirrored = 2 * (back * drawn).sum(-1, keepdim=True) * drawn - back
    onward = torch.nn.functional.normalize(torch.where(pick < 0.5, drawn, mirrored), dim=-1)
    half = torch.nn.functional.normalize(onward + back, dim=-1)
    cosine_half = (normal * half).sum(-1).clamp(min=0)
    lean = (half * back).sum(-1).clamp(min=1e-6)
    by_cosine = (normal * onward).sum(-1).clamp(min=0) / math.pi
    by_lobe = microfacets(cosine_half, squared) * cosine_half / (4 * lean)
    density = (by_cosine + by_lobe) / 2
    return onward, torch.where((normal * onward).sum(-1) > 0, density, 0)


def _barycentrics(corners: Tensor, place: Tensor) -> Tensor:  # (N, 3, 3), (N, 3)
    """(N, 3) of points in the planes of triangles, from areas."""
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    offset = corners - place[:, None]
    areas = torch.linalg.cross(offset.roll(-1, dims=1), offset.roll(-2, dims=1))
    parts = (areas * normal[:, None]).sum(-1)
    return parts / parts.sum(-1, keepdim=True)
