"""Packs of graphs of limited size, filled first come first served, as on fixed-size hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from diffrender.errors import InputError
from diffrender.graph.attention import AttentionGroup, PairLayout
from diffrender.graph.batching import GraphBatch

__all__ = ["PackSize", "Packing", "pack_batch", "pack_graphs"]


@dataclass(frozen=True)
class PackSize:
    """Most nodes, directed edges and graphs of a pack.

    Raises:
        InputError: no place for a node or for a graph, or fewer than 0 edges.
    """

    nodes: int = 60
    edges: int = 120
    graphs: int = 8

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.graphs < 1 or self.edges < 0:
            raise InputError(
                f"a pack of {self.nodes} nodes, {self.edges} edges and {self.graphs} graphs, "
                "expected at least 1 node, 0 edges and 1 graph"
            )


@dataclass(frozen=True)
class Packing:
    """Which graphs lie in which pack, and how full the packs are.

    Attributes:
        packs: indices of the graphs of each pack, in the order in which they came.
        node_efficiency, edge_efficiency, graph_efficiency: share of the places that are filled;
            1 where there are no places for edges.
    """

    packs: tuple[tuple[int, ...], ...]
    node_efficiency: float
    edge_efficiency: float
    graph_efficiency: float

    @property
    def graphs_per_pack(self) -> float:
        """Mean number of graphs of a pack."""
        return sum(map(len, self.packs)) / len(self.packs)


def pack_graphs(
    nodes: Sequence[int], edges: Sequence[int], size: PackSize | None = None
) -> Packing:
    """Streaming packing: a pack is closed when the next graph would exceed one of its limits.

    Args:
        nodes, edges: of each graph, in the order in which they come.

    Raises:
        InputError: no graph, or one that is larger than a pack.

    Source: GPS++ technical report (arXiv 2212.02229), section on packing.
    """
    size = size or PackSize()
    if not nodes or len(nodes) != len(edges):
        raise InputError(f"{len(nodes)} node counts and {len(edges)} edge counts came")
    packs: list[list[int]] = [[]]
    used = (0, 0)
    for graph, (n, e) in enumerate(zip(nodes, edges, strict=True)):
        if n > size.nodes or e > size.edges:
            raise InputError(
                f"graph {graph} has {n} nodes and {e} edges, a pack holds {size.nodes} and "
                f"{size.edges}: take larger packs, or ragged batches, which have no limit"
            )
        full = used[0] + n > size.nodes or used[1] + e > size.edges
        if full or len(packs[-1]) == size.graphs:
            packs.append([])
            used = (0, 0)
        packs[-1].append(graph)
        used = (used[0] + n, used[1] + e)
    count = len(packs)
    return Packing(
        tuple(map(tuple, packs)),
        node_efficiency=sum(nodes) / (count * size.nodes),
        edge_efficiency=sum(edges) / (count * size.edges) if size.edges else 1.0,
        graph_efficiency=len(nodes) / (count * size.graphs),
    )


def pack_batch(batch: GraphBatch, size: PackSize | None = None) -> tuple[GraphBatch, Packing]:
    """The same batch with attention over packs instead of graph by graph, and how full they are.

    Each pack is one dense block of `size.nodes` places, and a mask of its own (of no other input)
    keeps its graphs apart. The numbers are those of the ragged batch; this is how a machine with
    fixed sizes computes them, not the faster way here.

    Raises:
        InputError: the batch has no pairs, or a graph is larger than a pack.
    """
    size = size or PackSize()
    if batch.layout is None:
        raise InputError("the batch has no pairs of nodes: encode its graphs with distances")
    packing = pack_graphs(batch.node_counts.tolist(), batch.edge_counts.tolist(), size)
    count, places = len(packing.packs), size.nodes
    rows = torch.zeros(count, places, dtype=torch.int64)
    real = torch.zeros(count, places, dtype=torch.bool)
    pairs = torch.full((count, places, places), -1, dtype=torch.int64)
    node_offsets = batch.layout.node_offsets.tolist()
    pair_offsets = batch.layout.pair_offsets.tolist()
    for pack, graphs in enumerate(packing.packs):
        start = 0
        for graph in graphs:
            n = node_offsets[graph + 1] - node_offsets[graph]
            inside = slice(start, start + n)
            rows[pack, inside] = torch.arange(node_offsets[graph], node_offsets[graph + 1])
            real[pack, inside] = True
            own = torch.arange(pair_offsets[graph], pair_offsets[graph + 1])
            pairs[pack, inside, inside] = own.view(n, n)
            start += n
    layout = PairLayout(
        batch.layout.node_offsets, batch.layout.pair_offsets, AttentionGroup(rows, pairs, real)
    )
    return replace(batch, layout=layout), packing
