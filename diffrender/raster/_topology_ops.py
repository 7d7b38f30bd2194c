"""The edge tables as one torch operator, for graphs: what faces meet cannot be traced."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.raster import _topology
from diffrender.raster._native_ops import library

__all__ = ["traced_topology"]

_Tables = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _tables(faces: Tensor, vertex_offsets: Tensor, face_offsets: Tensor) -> _Tables:
    found = _topology.topology(faces, vertex_offsets, face_offsets)
    return found.edges, found.opposite_offsets, found.opposite, found.edge_offsets, found.index


def _fake(faces: Tensor, vertex_offsets: Tensor, face_offsets: Tensor) -> _Tables:
    context = torch.library.get_ctx()
    edges = context.new_dynamic_size()
    return (
        faces.new_empty((edges, 2), dtype=torch.int32),
        faces.new_empty(edges + 1, dtype=torch.int32),
        faces.new_empty(context.new_dynamic_size(), dtype=torch.int32),
        face_offsets.new_empty(context.new_dynamic_size()),
        face_offsets.new_empty(face_offsets.shape[0] - 1),
    )


library.define(
    "edge_tables(Tensor faces, Tensor vertex_offsets, Tensor face_offsets) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
library.impl("edge_tables", _tables, "CompositeExplicitAutograd")
torch.library.register_fake("diffrender::edge_tables", _fake, lib=library)


def traced_topology(
    faces: Tensor, vertex_offsets: Tensor, face_offsets: Tensor
) -> _topology.Topology:
    """The edge tables of a packed batch, as a node of the graph that is traced."""
    return _topology.Topology(
        *torch.ops.diffrender.edge_tables(faces, vertex_offsets, face_offsets)
    )
