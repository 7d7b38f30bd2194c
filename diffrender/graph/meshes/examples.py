"""What the mesh networks learn from: noisy cars, and cars seen in a picture of another."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffrender.graph.batching import GraphBatch
from diffrender.graph.meshes.denoiser import vertex_noise
from diffrender.graph.meshes.mesh_graph import MeshTopology, batch_meshes, edge_scale
from diffrender.meshes import vertex_normals
from diffrender.shape_priors import CAR_KINDS, sample_car

__all__ = ["Example", "NoisyCars", "draw_car", "example_of", "finer"]


@dataclass(frozen=True)
class Example:
    """A batch and what the network should say of it.

    Attributes:
        batch: of meshes.
        target: (N, 3) displacement in mean edge lengths.
        normals: (N, 3) of the aim's surface.
        unit: (N, 1) edge lengths that an error is counted in.
    """

    batch: GraphBatch
    target: Tensor
    normals: Tensor
    unit: Tensor


@dataclass(frozen=True)
class NoisyCars:
    """Cars with noise, coarse ones and ones with every face cut in four.

    Attributes:
        coarse, fine: meshes of each kind in a batch.
        low, high: deviation of the noise in metres, drawn on a logarithmic scale.
        slide: how far vertices slide towards a neighbour beforehand, so that no lattice is learned.
        distances: with pairs of vertices, for networks with attention; it names no other run.
    """

    coarse: int = 4
    fine: int = 1
    low: float = 0.01
    high: float = 0.15
    slide: float = 0.3

    evidence: int = 0
    distances: bool = field(default=False, repr=False)

    def draw(self, generator: torch.Generator) -> Example:
        """A batch of new cars."""
        clean, topologies, noise, levels = [], [], [], []
        for place in range(self.coarse + self.fine):
            vertices, topology = draw_car(generator)
            if place >= self.coarse:
                vertices, topology = finer(vertices, topology)
            vertices = _slid(vertices, topology, self.slide, generator)
            level = math.log(self.low) + float(torch.rand((), generator=generator)) * math.log(
                self.high / self.low
            )
            smooth = int(torch.randint(0, 3, (), generator=generator))
            clean.append(vertices)
            topologies.append(topology)
            levels.append(math.exp(level))
            noise.append(vertex_noise(topology, levels[-1], smooth, generator))
        noisy = [c + n for c, n in zip(clean, noise, strict=True)]
        return example_of(noisy, clean, topologies, levels, distances=self.distances)


def example_of(
    given: list[Tensor],
    aim: list[Tensor],
    topologies: list[MeshTopology],
    levels: list[float],
    evidence: list[Tensor] | None = None,
    *,
    distances: bool = False,
) -> Example:
    """The way from given vertices to the aim's, errors counted in metres of `levels`."""
    scales = [edge_scale(g, t) for g, t in zip(given, topologies, strict=True)]
    parts = zip(given, aim, topologies, scales, levels, strict=True)
    target, normals, unit = [], [], []
    for g, a, t, scale, level in parts:
        target.append((a - g) / scale)
        normals.append(vertex_normals(a, t.faces))
        unit.append((level / scale).expand(len(g), 1))
    batch = batch_meshes(given, topologies, evidence, distances=distances)
    return Example(batch, torch.cat(target), torch.cat(normals), torch.cat(unit))


def draw_car(generator: torch.Generator) -> tuple[Tensor, MeshTopology]:
    """A car of the procedural family in metres, object frame: vertices (V, 3), topology."""
    kind = CAR_KINDS[int(torch.randint(len(CAR_KINDS), (), generator=generator))]
    car = sample_car(kind, generator)
    return car.mesh.vertices * car.size[[0, 2, 1]], _lattice()


@functools.lru_cache(maxsize=1)
def _lattice() -> MeshTopology:
    mesh = sample_car(CAR_KINDS[0], torch.Generator().manual_seed(0)).mesh
    return MeshTopology(mesh.faces, len(mesh.vertices))


def finer(vertices: Tensor, topology: MeshTopology) -> tuple[Tensor, MeshTopology]:
    """Every face cut in four at the middles of its edges; the surface stays. (V, 3) -> (V', 3)."""
    faces, middles = _cut(topology)
    between = (vertices[middles[:, 0]] + vertices[middles[:, 1]]) / 2
    return torch.cat([vertices, between]), faces


@functools.lru_cache(maxsize=4)
def _cut(topology: MeshTopology) -> tuple[MeshTopology, Tensor]:
    faces, count = topology.faces, topology.count
    sides = torch.stack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]], 1)
    ends, which = torch.unique(sides.sort(dim=-1).values.flatten(0, 1), dim=0, return_inverse=True)
    ab, bc, ca = (which.view(-1, 3) + count).unbind(1)
    a, b, c = faces.unbind(1)
    quarters = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    cut = torch.cat([torch.stack(quarter, 1) for quarter in quarters])
    return MeshTopology(cut, count + len(ends)), ends


def _slid(
    vertices: Tensor, topology: MeshTopology, most: float, generator: torch.Generator
) -> Tensor:
    """Vertices moved along the surface, each towards the mean of its neighbours or away."""
    share = (2 * torch.rand(len(vertices), 1, generator=generator) - 1) * most
    way = topology.neighbour_mean(vertices) - vertices
    normal = vertex_normals(vertices, topology.faces)
    return vertices + share * (way - (way * normal).sum(1, keepdim=True) * normal)
