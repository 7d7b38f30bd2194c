"""A shape prior by denoising: from a noisy car to the clean one.

Trained on cars of the procedural family with noise of known size, so it needs no meshes of others;
it works vertex by vertex on any topology and keeps it, unlike a prior with a template.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffrender.graph.meshes.mesh_graph import MeshTopology, batch_meshes, edge_scale
from diffrender.graph.meshes.network import MeshNetwork, load_mesh_network

__all__ = ["denoise", "load_denoiser", "vertex_noise"]

_SHIPPED = Path(__file__).parent / "assets" / "mesh-denoiser.safetensors"


def load_denoiser(path: str | Path | None = None) -> MeshNetwork:
    """The shipped denoiser of cars, or one from a file. Raises as `load_mesh_network`."""
    return load_mesh_network(_SHIPPED if path is None else path)


@torch.no_grad()
def denoise(
    net: MeshNetwork,
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    passes: int = 1,
) -> Tensor:
    """The clean mesh that the network sees behind a noisy one. Shapes: (V, 3) -> (V, 3).

    Args:
        net: as `load_denoiser` gives it.
        vertices: metres, object frame (x forward, y down, z to the side).
        faces: of the mesh, any topology.
        passes: how often the result is denoised again.

    Raises:
        InputError: faces that do not fit the vertices.
    """
    topology = MeshTopology(faces, len(vertices))
    points, pairs = vertices.float(), net.settings.attention > 0
    for _ in range(passes):
        shift = net(batch_meshes([points], [topology], distances=pairs))
        points = points + shift * edge_scale(points, topology)
    return points.to(vertices)


def vertex_noise(
    topology: MeshTopology, deviation: float, smooth: int, generator: torch.Generator
) -> Tensor:
    """(V, 3) normal noise of a deviation in metres, averaged over neighbours `smooth` times.

    The average keeps the deviation of the whole and makes neighbours move together.
    """
    noise = torch.randn(topology.count, 3, generator=generator)
    for _ in range(smooth):
        noise = (noise + topology.neighbour_mean(noise)) / 2
    return noise * (deviation / noise.std().clamp(min=1e-9))
