"""GPS++: a hybrid of message passing and attention, for molecules and for meshes."""

from __future__ import annotations

from diffrender.graph.encodings import encode_graph as encode_graph
from diffrender.graph.graphs import Graph as Graph
from diffrender.graph.graphs import GraphEncodings as GraphEncodings

__all__ = ["Graph", "GraphEncodings", "encode_graph"]
