"""Meshes as graphs: vertices, edges both ways, and geometry as continuous inputs.

A node's inputs are its position from the mesh's centre, its normal and its Laplacian coordinate
(vertex minus the mean of its neighbours); an edge's are the way from sender to receiver and its
length. Positions are in metres, the others in mean edge lengths of the mesh, so that they mean the
same on coarse and on fine meshes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.graph.batching import GraphBatch, batch_graphs
from diffrender.graph.encodings import encode_graph
from diffrender.graph.graphs import Graph
from diffrender.losses import mesh_edges
from diffrender.meshes import vertex_normals

__all__ = ["EDGE_INPUTS", "NODE_INPUTS", "MeshTopology", "batch_meshes", "edge_scale"]

NODE_INPUTS, EDGE_INPUTS = 9, 4


@dataclass(frozen=True)
class MeshTopology:
    """Faces and the edges between `count` vertices, sorted once.

    Attributes:
        faces: (F, 3) int64 or int32.
        count: V.
    """

    faces: Tensor
    count: int

    @functools.cached_property
    def edge_index(self) -> Tensor:
        """(2, E) int64, every edge in both directions."""
        ends = mesh_edges(self.faces, self.count).edges.long()
        return torch.cat([ends, ends.flip(1)]).T.contiguous()

    @functools.cached_property
    def degree(self) -> Tensor:
        """(V,) int64 number of neighbours."""
        return torch.bincount(self.edge_index[1], minlength=self.count)

    def neighbour_mean(self, values: Tensor) -> Tensor:  # (V, C)
        """Mean over a vertex's neighbours; 0 for a vertex without any. (V, C) -> (V, C)."""
        sender, receiver = self.edge_index
        total = torch.zeros_like(values).index_add(0, receiver, values[sender])
        return total / self.degree.clamp(min=1)[:, None].to(values)


def edge_scale(vertices: Tensor, topology: MeshTopology) -> Tensor:  # (V, 3)
    """Mean length of the edges, metres. Shapes: (V, 3) -> ()."""
    sender, receiver = topology.edge_index
    return (vertices[receiver] - vertices[sender]).norm(dim=1).mean().clamp(min=1e-9)


def batch_meshes(
    vertices: Sequence[Tensor],  # each (V, 3)
    topologies: Sequence[MeshTopology],
    evidence: Sequence[Tensor] | None = None,  # each (V, C)
    *,
    distances: bool = False,
) -> GraphBatch:
    """Meshes as one ragged batch of graphs; without `distances` no pairs, so memory grows with
    vertices and edges.

    Args:
        vertices: metres.
        topologies: of each mesh.
        evidence: further inputs of each vertex, such as the gradient of a loss.
        distances: also pairs with their hop distances, for networks with attention
            (`MeshSettings.attention` above 0). Memory then grows with the square of the vertices.

    Raises:
        InputError: counts or shapes that do not fit together.
    """
    if len(vertices) != len(topologies) or not len(vertices):
        raise InputError(f"{len(vertices)} meshes and {len(topologies)} topologies came")
    if evidence is not None and len(evidence) != len(vertices):
        raise InputError(f"{len(evidence)} tensors of evidence came for {len(vertices)} meshes")
    graphs = []
    for i, (points, topology) in enumerate(zip(vertices, topologies, strict=True)):
        check_shape("vertices", points, topology.count, 3)
        more = [] if evidence is None else [evidence[i]]
        graphs.append(_graph(points.detach().float(), topology, more))
    encodings = [encode_graph(g, distances=distances, structure=False) for g in graphs]
    return batch_graphs(graphs, encodings)


def _graph(points: Tensor, topology: MeshTopology, more: list[Tensor]) -> Graph:
    sender, receiver = topology.edge_index
    scale = edge_scale(points, topology)
    along = (points[receiver] - points[sender]) / scale
    bend = (points - topology.neighbour_mean(points)) / scale
    centre = (points.amax(0) + points.amin(0)) / 2
    inputs = [points - centre, vertex_normals(points, topology.faces), bend, *more]
    return Graph(
        node_features=torch.zeros(topology.count, 0, dtype=torch.int64),
        edge_index=topology.edge_index,
        edge_features=torch.zeros(len(sender), 0, dtype=torch.int64),
        positions=points,
        node_inputs=torch.cat(inputs, 1),
        edge_inputs=torch.cat([along, along.norm(dim=1, keepdim=True)], 1),
    )
