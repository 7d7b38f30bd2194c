"""PyG's GPSConv and GINEConv as networks of any size, trained like ours, to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffrender.errors import InputError, require
from diffrender.graph.batching import GraphBatch
from diffrender.graph.masking import clean_inputs
from diffrender.graph.network import GraphOutput

__all__ = ["Baseline", "BaselineSettings", "sized_like"]


@dataclass(frozen=True)
class BaselineSettings:
    """Attributes:
    kind: "gps": GPSConv around GINEConv (Rampášek et al. 2022), "gine": GINEConv alone (Hu et
        al. 2020), each with a residual and a norm.
    node_vocabulary, edge_vocabulary: categories of each feature.
    width: of nodes and edges; a multiple of `heads`.
    layers, heads, dropout: of the network.
    """

    kind: Literal["gps", "gine"]
    node_vocabulary: tuple[int, ...]
    edge_vocabulary: tuple[int, ...]
    width: int = 304
    layers: int = 10
    heads: int = 8
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in ("gps", "gine"):
            raise InputError(f"kind is '{self.kind}', expected 'gps' or 'gine'")
        if self.width < 1 or self.width % self.heads:
            raise InputError(f"width is {self.width}, expected a multiple of {self.heads} heads")


class Baseline(nn.Module):
    """Summed embeddings with Laplacian and random-walk encodings, PyG's layers, a summing head.

    It reads no positions and predicts no categories: `forward` gives `GraphOutput` with the
    normalised label alone.

    Raises:
        MissingExtraError: torch_geometric is not installed.
    """

    def __init__(self, settings: BaselineSettings) -> None:
        super().__init__()
        pyg: Any = require("torch_geometric.nn", "bench")
        self.settings, width = settings, settings.width
        self.atoms = nn.ModuleList(nn.Embedding(n, width) for n in settings.node_vocabulary)
        self.bonds = nn.ModuleList(nn.Embedding(n, width) for n in settings.edge_vocabulary)
        self.places = nn.Linear(7 + 16, width)
        make = _gps_layer if settings.kind == "gps" else _gine_layer
        self.layers = nn.ModuleList(make(pyg, settings) for _ in range(settings.layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(settings.layers))
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, batch: GraphBatch, generator: torch.Generator | None = None) -> GraphOutput:
        """Normalised labels, (G,). A generator is of a training step: signs of eigenvectors."""
        vectors = batch.laplacian_vectors
        if generator is not None:
            signs = torch.randint(0, 2, (batch.graphs, vectors.shape[1]), generator=generator)
            vectors = vectors * (2.0 * signs - 1)[batch.node_graph]
        nodes = _summed(self.atoms, batch.node_features)
        nodes = nodes + self.places(torch.cat([vectors, batch.random_walk], 1))
        edges = _summed(self.bonds, batch.edge_features)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            if self.settings.kind == "gps":
                nodes = layer(nodes, batch.edge_index, batch.node_graph, edge_attr=edges)
            else:
                change = norm(layer(nodes, batch.edge_index, edges)).relu()
                drop = nn.functional.dropout(change, self.settings.dropout, self.training)
                nodes = nodes + drop
        pooled = nodes.new_zeros(batch.graphs, nodes.shape[1]).index_add(0, batch.node_graph, nodes)
        return GraphOutput(self.head(pooled)[:, 0], None, None, None, clean_inputs(batch))


def sized_like(
    make: Callable[[int], nn.Module],
    parameters: int,
    step: int,
) -> nn.Module:
    """The network `make(width)` whose parameters come closest to a number; widths by `step`.

    Raises:
        InputError: the smallest has more already.
    """

    def size(width: int) -> int:
        return sum(p.numel() for p in make(width).parameters())

    if size(step) > parameters:
        raise InputError(f"a width of {step} has {size(step)} parameters, more than {parameters}")
    high = 2
    while size(high * step) < parameters:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle * step) < parameters else (low, middle)
    best = min((low, high), key=lambda count: abs(size(count * step) - parameters))
    return make(best * step)


def _gps_layer(pyg: Any, settings: BaselineSettings) -> nn.Module:
    return pyg.GPSConv(
        settings.width,
        _gine_layer(pyg, settings),
        heads=settings.heads,
        dropout=settings.dropout,
        attn_type="multihead",
    )


def _gine_layer(pyg: Any, settings: BaselineSettings) -> nn.Module:
    width = settings.width
    mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    return pyg.GINEConv(mlp, edge_dim=width)


def _summed(tables: nn.ModuleList, features: Tensor) -> Tensor:
    total = tables[0](features[:, 0])
    for column, table in enumerate(list(tables)[1:], start=1):
        total = total + table(features[:, column])
    return total
