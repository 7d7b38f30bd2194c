"""A learned step of mesh refinement: from a mesh and what a picture says of it to a displacement.

The gradient of a picture's loss reaches only vertices at the outline or on visible faces, and says
which way but not how far; measured depth says how far, along the ray, at visible vertices. The
network has seen pairs of cars of the procedural family and carries the evidence over the surface,
as a car would move.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape
from diffrender.graph.meshes.mesh_graph import MeshTopology, batch_meshes, edge_scale
from diffrender.graph.meshes.network import MeshNetwork, load_mesh_network
from diffrender.losses import Evidence
from diffrender.meshes import MeshBatch
from diffrender.raster import rasterize

__all__ = [
    "EVIDENCE",
    "depth_evidence",
    "evidence_inputs",
    "gradient_evidence",
    "load_refiner",
    "propose_displacement",
]

EVIDENCE = 8  # of the gradient: direction, length; of depth: the way to it, whether it is known
_VISIBLE = 0.2  # metres behind the drawn surface at which a vertex still counts as seen
_SHIPPED = Path(__file__).parent / "assets" / "mesh-refiner.safetensors"


def load_refiner(path: str | Path | None = None) -> MeshNetwork:
    """The shipped refiner of cars, or one from a file. Raises InputError as `load_mesh_network`."""
    net = load_mesh_network(_SHIPPED if path is None else path)
    if net.settings.evidence != EVIDENCE:
        raise InputError(
            f"the network takes {net.settings.evidence} inputs of evidence, a refiner {EVIDENCE}"
        )
    return net


def gradient_evidence(gradient: Tensor) -> Tensor:  # (V, 3)
    """A loss's gradient as inputs without its unit. Shapes: (V, 3) -> (V, 4).

    Lengths against the longest by their square root: they run over many orders of magnitude.
    """
    length = gradient.norm(dim=1, keepdim=True)
    share = length / length.amax().clamp(min=1e-20)
    return torch.cat([gradient / length.clamp(min=1e-20) * share.sqrt(), share.sqrt()], 1)


@torch.no_grad()
def depth_evidence(
    vertices: Tensor,  # (B, V, 3)
    faces: Tensor,  # (F, 3)
    windows: Camera,  # batch (B,)
    evidence: Evidence,
) -> Tensor:
    """(B, V, 4): the way along its ray that takes a vertex to the measured depth, and 1; zeros
    where the vertex is hidden or no depth is known. Metres, world.
    """
    drawn = rasterize(MeshBatch.shared(vertices, faces), windows).depth[..., 0]
    pixels, depth = windows.project(vertices)
    height, width = windows.size
    columns = pixels[..., 0].long().clamp(0, width - 1)
    rows = pixels[..., 1].long().clamp(0, height - 1)
    flat = rows * width + columns
    seen = (evidence.depth * (evidence.care > 0)).flatten(1).gather(1, flat)
    front = drawn.flatten(1).gather(1, flat)
    known = (seen > 0) & (front > 0) & (depth < front + _VISIBLE)
    centre = windows.centre[:, None]
    way = (vertices - centre) * (seen / depth.clamp(min=1e-6) - 1)[..., None]
    return torch.cat([way, torch.ones_like(depth)[..., None]], 2) * known[..., None]


def evidence_inputs(
    gradients: Tensor,  # (B, V, 3)
    depths: Tensor,  # (B, V, 4)
    scales: Tensor,  # (B,)
) -> list[Tensor]:
    """Inputs (V, 8) of each mesh; ways in mean edge lengths, at most four of them."""
    found = []
    for gradient, depth, scale in zip(gradients, depths, scales, strict=True):
        way = (depth[:, :3] / scale).clamp(-4, 4)
        found.append(torch.cat([gradient_evidence(gradient.float()), way, depth[:, 3:]], 1))
    return found


@torch.no_grad()
def propose_displacement(
    net: MeshNetwork,
    vertices: Tensor,  # (B, V, 3)
    gradients: Tensor,  # (B, V, 3)
    depths: Tensor,  # (B, V, 4)
    topology: MeshTopology,
) -> Tensor:
    """Where the vertices of B meshes should go. Shapes: three of (B, V, ...) -> (B, V, 3).

    Args:
        vertices: metres, y down, any yaw.
        gradients: of a loss of each mesh that falls as the picture fits, in any unit.
        depths: as `depth_evidence` gives them.

    Raises:
        InputError: shapes that do not fit.
    """
    check_shape("gradients", gradients, *vertices.shape)
    check_shape("depths", depths, *vertices.shape[:2], 4)
    scales = torch.stack([edge_scale(v, topology) for v in vertices])
    evidence = evidence_inputs(gradients, depths, scales)
    topologies, pairs = [topology] * len(vertices), net.settings.attention > 0
    shift = net(batch_meshes(list(vertices), topologies, evidence, distances=pairs))
    return (shift.view(vertices.shape) * scales[:, None, None]).to(vertices)
