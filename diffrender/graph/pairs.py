"""The pairs of nodes of each graph, and every distance between two of them once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.graph.scatter import Links

__all__ = ["Distances", "distance_index"]


@dataclass(frozen=True)
class Distances:
    """U distances: 0 of a node from itself (row 0, shared by all), then each i < j once.

    Attributes:
        first, second: (U,) nodes; 0 and 0 in row 0.
        to_pair: from distances to the P pairs in their order.
        to_node: from distances to nodes, over all nodes of a node's graph, itself included.
        pair_graph: (P,) the graph of every pair.
    """

    first: Tensor
    second: Tensor
    to_pair: Links
    to_node: Links
    pair_graph: Tensor


def distance_index(node_offsets: Tensor, pair_offsets: Tensor) -> Distances:  # (G+1,), (G+1,)
    """The index of a batch's distances, on the device of the offsets."""
    device = node_offsets.device
    counts = node_offsets.diff()
    graph = torch.repeat_interleave(counts**2)
    pairs, nodes = len(graph), int(node_offsets[-1])
    inside = torch.arange(pairs, device=device) - pair_offsets[graph]
    n = counts[graph]
    row, column = inside // n, inside % n
    low, high = torch.minimum(row, column), torch.maximum(row, column)
    triangle = torch.nn.functional.pad(torch.cumsum(counts * (counts - 1) // 2, 0), (1, 0))
    place = 1 + triangle[graph] + low * (2 * n - low - 1) // 2 + (high - low - 1)
    place = torch.where(row == column, 0, place)
    upper = (row < column).nonzero()[:, 0]
    mirror = pair_offsets[graph[upper]] + column[upper] * n[upper] + row[upper]
    first = node_offsets[graph] + row
    second = node_offsets[graph] + column
    diagonal = (row == column).nonzero()[:, 0]
    each_pair = torch.arange(pairs + 1, device=device)
    # Row 0 reaches every diagonal pair, any other row its pair and the mirrored one.
    back_offsets = nodes + 2 * torch.arange(len(upper) + 1, device=device)
    back_offsets = torch.nn.functional.pad(back_offsets, (1, 0))
    two = torch.stack([upper, mirror], 1).flatten()
    back_pairs = torch.cat([diagonal, two])
    own = torch.repeat_interleave(counts, counts)
    node_ends = torch.nn.functional.pad(torch.cumsum(own, 0), (1, 0))
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    return Distances(
        first=torch.cat([zero, first[upper]]),
        second=torch.cat([zero, second[upper]]),
        to_pair=Links(place, each_pair, back_pairs, back_offsets),
        to_node=Links(place, node_ends, first[back_pairs], back_offsets),
        pair_graph=graph,
    )
