"""A learned step of mesh refinement: from a mesh and its loss's gradient to a displacement.

The gradient of a picture's loss reaches only vertices at the outline or on visible faces, and says
which way but not how far. The network has seen pairs of cars of the procedural family and carries
the evidence over the surface, as a car would move.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.graph.meshes.mesh_graph import MeshTopology, batch_meshes, edge_scale
from diffrender.graph.meshes.network import MeshNetwork, load_mesh_network

__all__ = ["EVIDENCE", "gradient_evidence", "load_refiner", "propose_displacement"]

EVIDENCE = 4  # direction of the gradient, and its length against the longest
_SHIPPED = Path(__file__).parent / "assets" / "mesh-refiner.safetensors"


def load_refiner(path: str | Path | None = None) -> MeshNetwork:
    """The shipped refiner of cars, or one from a file. Raises InputError as `load_mesh_network`."""
    net = load_mesh_network(path or _SHIPPED)
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
def propose_displacement(
    net: MeshNetwork,
    vertices: Tensor,  # (B, V, 3)
    gradients: Tensor,  # (B, V, 3)
    topology: MeshTopology,
) -> Tensor:
    """Where the vertices of B meshes should go. Shapes: (B, V, 3), (B, V, 3) -> (B, V, 3).

    Args:
        vertices: metres, y down, any yaw.
        gradients: of a loss of each mesh that falls as the picture fits, in any unit.

    Raises:
        InputError: shapes that do not fit.
    """
    check_shape("gradients", gradients, *vertices.shape)
    scales = torch.stack([edge_scale(v, topology) for v in vertices])
    evidence = [gradient_evidence(g.float()) for g in gradients]
    batch = batch_meshes(list(vertices), [topology] * len(vertices), evidence)
    shift = net(batch).view(vertices.shape)
    return (shift * scales[:, None, None]).to(vertices)
