"""Ragged batches: the rows of all graphs one after another, no padding, and how they are linked."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.graph.attention import PairLayout
from diffrender.graph.graphs import Graph, GraphEncodings
from diffrender.graph.pairs import Distances, distance_index
from diffrender.graph.scatter import Links

__all__ = ["GraphBatch", "GraphLinks", "batch_graphs"]


@dataclass(frozen=True)
class GraphLinks:
    """The sums that a batch's message passing takes, sorted once.

    Attributes:
        to_receiver, to_sender: edges to nodes.
        neighbours: senders to receivers, one link for each edge.
        nodes_to_graph, edges_to_graph: rows to graphs.
        symmetric: for every edge there is its reverse, so that the sums over neighbours along
            `neighbours` and `neighbours.back` are the same.
    """

    to_receiver: Links
    to_sender: Links
    neighbours: Links
    nodes_to_graph: Links
    edges_to_graph: Links
    symmetric: bool


@dataclass(frozen=True)
class GraphBatch:
    """G graphs with N nodes and E edges in all, P = sum n^2 pairs of nodes of one graph.

    Edges are sorted by their receiver. Attributes as in `Graph` and `GraphEncodings`, and:
        node_graph, edge_graph: (N,), (E,) the graph of each row.
        node_counts, edge_counts: (G,).
        positions: (N, 3), zeros where `has_positions` (G,) is False; None where no graph has any.
        labels: (G,) or None.
        hops: (P,) int64 hop distances, -1 where there is no way; None without them.
        layout: of the pairs; None without hop distances, and then there is no attention.
    """

    node_features: Tensor
    edge_features: Tensor
    edge_index: Tensor
    node_graph: Tensor
    edge_graph: Tensor
    node_counts: Tensor
    edge_counts: Tensor
    node_inputs: Tensor | None
    edge_inputs: Tensor | None
    positions: Tensor | None
    has_positions: Tensor
    labels: Tensor | None
    laplacian_values: Tensor
    laplacian_vectors: Tensor
    random_walk: Tensor
    degree: Tensor
    hops: Tensor | None
    layout: PairLayout | None
    links: GraphLinks

    @property
    def graphs(self) -> int:
        """G."""
        return len(self.node_counts)

    @functools.cached_property
    def distances(self) -> Distances:
        """Where the distances between nodes are needed; every unordered pair once."""
        if self.layout is None:
            raise InputError("the batch has no pairs of nodes: encode its graphs with distances")
        return distance_index(self.layout.node_offsets, self.layout.pair_offsets)

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same on a device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | PairLayout):
                moved[field.name] = value.to(device)
        links: dict[str, Any] = {
            field.name: value.to(device)
            for field in fields(self.links)
            if isinstance(value := getattr(self.links, field.name), Links)
        }
        return replace(self, links=replace(self.links, **links), **moved)


def batch_graphs(graphs: Sequence[Graph], encodings: Sequence[GraphEncodings]) -> GraphBatch:
    """The graphs and their encodings as one ragged batch.

    Raises:
        InputError: no graph, another number of encodings, encodings of graphs of another size,
            features of different widths, or labels, inputs or hop distances that only some of the
            graphs have.
    """
    if not graphs or len(graphs) != len(encodings):
        raise InputError(
            f"{len(graphs)} graphs and {len(encodings)} encodings came, expected one or more and "
            "as many encodings"
        )
    for i, (graph, encoding) in enumerate(zip(graphs, encodings, strict=True)):
        _check_encodings(i, graph.nodes, encoding)
    node_counts = torch.tensor([g.nodes for g in graphs])
    edge_counts = torch.tensor([g.edges for g in graphs])
    node_offsets, edge_offsets = _offsets(node_counts), _offsets(edge_counts)
    index = torch.cat([g.edge_index for g in graphs], 1)
    index = index + torch.repeat_interleave(node_offsets[:-1], edge_counts)
    # Graph by graph: receivers of a later graph are larger, so graphs keep their order.
    order = torch.argsort(index[1], stable=True)
    index = index[:, order]
    edge_inputs = _common("edge_inputs", [g.edge_inputs for g in graphs])
    labels = _common("label", [None if g.label is None else g.label.reshape(1) for g in graphs])
    has_positions = torch.tensor([g.has_positions for g in graphs])
    distances = [e.distances for e in encodings]
    flat = _common("distances", [None if d is None else d.flatten() for d in distances])
    layout = None if flat is None else PairLayout(node_offsets, _offsets(node_counts**2))
    return GraphBatch(
        node_features=_together("node_features", [g.node_features for g in graphs]),
        edge_features=_together("edge_features", [g.edge_features for g in graphs])[order],
        edge_index=index,
        node_graph=torch.repeat_interleave(node_counts),
        edge_graph=torch.repeat_interleave(edge_counts),
        node_counts=node_counts,
        edge_counts=edge_counts,
        node_inputs=_common("node_inputs", [g.node_inputs for g in graphs]),
        edge_inputs=None if edge_inputs is None else edge_inputs[order],
        positions=_positions(graphs, has_positions),
        has_positions=has_positions,
        labels=None if labels is None else labels.float(),
        laplacian_values=torch.stack([e.laplacian_values for e in encodings]),
        laplacian_vectors=torch.cat([e.laplacian_vectors for e in encodings]),
        random_walk=torch.cat([e.random_walk for e in encodings]),
        degree=torch.cat([e.degree for e in encodings]),
        hops=None if flat is None else flat.long(),
        layout=layout,
        links=_links(index, node_offsets, edge_offsets),
    )


def _check_encodings(i: int, nodes: int, encodings: GraphEncodings) -> None:
    """Raise InputError unless encodings have a row for each node: kernels count on it."""
    hops = encodings.distances
    rows = [len(encodings.degree), len(encodings.laplacian_vectors), len(encodings.random_walk)]
    if rows != [nodes] * 3 or (hops is not None and hops.shape != (nodes, nodes)):
        found = "none" if hops is None else tuple(hops.shape)
        raise InputError(
            f"graph {i} has {nodes} nodes, its encodings have degree, laplacian_vectors and "
            f"random_walk of {rows} rows and distances {found}, expected {nodes} rows and "
            f"({nodes}, {nodes}); encode_graph makes them, in the order of the graphs"
        )


def _offsets(counts: Tensor) -> Tensor:
    return torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))


def _links(index: Tensor, node_offsets: Tensor, edge_offsets: Tensor) -> GraphLinks:
    """`index` is sorted by receiver."""
    sender, receiver = index
    nodes, edges = int(node_offsets[-1]), index.shape[1]
    by_sender = torch.argsort(sender, stable=True)
    arrivals = _offsets(torch.bincount(receiver, minlength=nodes))
    departures = _offsets(torch.bincount(sender, minlength=nodes))
    each_edge, each_node = torch.arange(edges + 1), torch.arange(nodes + 1)
    forward = torch.sort(sender * nodes + receiver)[0]
    reverse = torch.sort(receiver * nodes + sender)[0]
    of_node = torch.repeat_interleave(node_offsets.diff())
    of_edge = torch.repeat_interleave(edge_offsets.diff())
    return GraphLinks(
        to_receiver=Links(each_edge[:-1], arrivals, receiver, each_edge),
        to_sender=Links(by_sender, departures, sender, each_edge),
        neighbours=Links(sender, arrivals, receiver[by_sender], departures),
        nodes_to_graph=Links(each_node[:-1], node_offsets, of_node, each_node),
        edges_to_graph=Links(each_edge[:-1], edge_offsets, of_edge, each_edge),
        symmetric=torch.equal(forward, reverse),
    )


def _together(name: str, values: list[Tensor]) -> Tensor:
    widths = sorted({v.shape[1] for v in values})
    if len(widths) > 1:
        raise InputError(f"{name} of the graphs have {widths} columns, expected the same in all")
    return torch.cat(values)


def _common(name: str, values: list[Tensor | None]) -> Tensor | None:
    """All of them together, None where no graph has it."""
    there = [v for v in values if v is not None]
    if not there:
        return None
    if len(there) < len(values):
        raise InputError(
            f"{len(there)} of {len(values)} graphs have {name}, expected all of them or none"
        )
    return torch.cat(there) if there[0].ndim == 1 else _together(name, there)


def _positions(graphs: Sequence[Graph], there: Tensor) -> Tensor | None:
    if not there.any():
        return None
    return torch.cat(
        [
            g.positions.float() if known and g.positions is not None else torch.zeros(g.nodes, 3)
            for g, known in zip(graphs, there.tolist(), strict=True)
        ]
    )
