"""Small random graphs with the look of molecules, for the tests of this folder."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.graph import Graph, GraphBatch, batch_graphs, encode_graph

NODE_VOCABULARY = (119, 9, 18, 10, 12, 12, 10, 6, 2, 2, 3)
EDGE_VOCABULARY = (5, 6, 2)


def molecule_like(nodes: int, generator: torch.Generator, *, positions: bool = True) -> Graph:
    """A random tree with a few rings closed, every bond as two directed edges."""
    bonds = [(int(torch.randint(i, (1,), generator=generator)), i) for i in range(1, nodes)]
    for _ in range(nodes // 6):
        a, b = torch.randint(nodes, (2,), generator=generator).tolist()
        if a != b and (a, b) not in bonds and (b, a) not in bonds:
            bonds.append((a, b))
    pairs = torch.tensor(bonds, dtype=torch.int64).view(-1, 2)
    edge_index = torch.cat([pairs, pairs.flip(1)]).T.contiguous()
    edge_features = draw(EDGE_VOCABULARY, len(pairs), generator)
    return Graph(
        node_features=draw(NODE_VOCABULARY, nodes, generator),
        edge_index=edge_index,
        edge_features=torch.cat([edge_features, edge_features]),
        positions=torch.randn(nodes, 3, generator=generator) * 2 if positions else None,
        label=torch.rand((), generator=generator) * 3 + 4,
    )


def draw(vocabulary: tuple[int, ...], rows: int, generator: torch.Generator) -> Tensor:
    sizes = torch.tensor(vocabulary)
    return (torch.rand(rows, len(sizes), generator=generator) * sizes).long()


def batch_of(sizes: list[int], seed: int = 0, *, positions: bool = True) -> GraphBatch:
    generator = torch.Generator().manual_seed(seed)
    graphs = [molecule_like(n, generator, positions=positions) for n in sizes]
    return batch_graphs(graphs, [encode_graph(g) for g in graphs])
