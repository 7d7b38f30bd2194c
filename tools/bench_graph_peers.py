"""PyTorch Geometric's GPSConv at the sizes of our network, for `diffrender bench graph`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffrender.errors import require
from diffrender.graph import GraphBatch, GraphSettings

__all__ = ["gps_network", "width_of_equal_size"]


def gps_network(settings: GraphSettings, conv: str, width: int) -> nn.Module:
    """L layers of GPSConv between a linear encoder of the inputs and the same decoder as ours.

    Args:
        conv: "GINE", or "same", our message passing without the global state as a person would
            write it in PyG: messages of concatenated inputs, one propagation each way.
        width: channels of a node.

    Raises:
        MissingExtraError: torch_geometric is not installed.
    """
    geometric = require("torch_geometric.nn", "bench")

    class Same(geometric.MessagePassing):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(aggr="add")
            edge, grow = settings.edge_width, settings.expansion
            self.edge_mlp = _mlp(2 * width + edge, grow * edge, edge)
            self.node_mlp = _mlp(2 * (edge + width) + width, grow * width, width)

        def reset_parameters(self) -> None:
            """GPSConv asks for it; the layers are new anyway."""

        def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
            sender, receiver = edge_index
            message = self.edge_mlp(torch.cat([x[receiver], x[sender], edge_attr], 1))
            arrived = self.propagate(edge_index, x=x, message_of_edge=message)
            departed = self.propagate(edge_index.flip(0), x=x, message_of_edge=message)
            return self.node_mlp(torch.cat([arrived, departed, x], 1))

        def message(self, x_j: Tensor, message_of_edge: Tensor) -> Tensor:
            return torch.cat([message_of_edge, x_j], 1)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            nodes = len(settings.node_vocabulary) + settings.node_inputs + 23
            edges = len(settings.edge_vocabulary) + settings.edge_inputs
            self.nodes, self.edges = nn.Linear(nodes, width), nn.Linear(edges, settings.edge_width)
            self.layers = nn.ModuleList(self._layer() for _ in range(settings.layers))
            self.decoder = _mlp(width, width, 1)

        def _layer(self) -> Any:
            drops = settings.dropouts
            inner: Any = Same()
            if conv == "GINE":
                two = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
                inner = geometric.GINEConv(two, edge_dim=settings.edge_width)
            return geometric.GPSConv(
                width, inner, heads=settings.heads, dropout=drops.nodes, attn_type="multihead",
                attn_kwargs={"dropout": drops.attention},
            )  # fmt: skip

        def forward(self, batch: GraphBatch) -> Tensor:
            nodes = [batch.node_features.float(), batch.laplacian_vectors, batch.random_walk]
            nodes += [] if batch.node_inputs is None else [batch.node_inputs]
            edges = [batch.edge_features.float()]
            edges += [] if batch.edge_inputs is None else [batch.edge_inputs]
            x, e = self.nodes(torch.cat(nodes, 1)), self.edges(torch.cat(edges, 1))
            for layer in self.layers:
                x = layer(x, batch.edge_index, batch.node_graph, edge_attr=e)
            return self.decoder(geometric.global_add_pool(x, batch.node_graph))[:, 0]

    return Network()


def width_of_equal_size(settings: GraphSettings, parameters: int) -> int:
    """The channels, a multiple of the heads, with which GPSConv and GINE have so many parameters.

    A layer has about 10 w^2: 4 of attention, 4 of its MLP, 2 of GINE's.
    """
    ideal = (parameters / settings.layers / 10) ** 0.5
    return max(1, round(ideal / settings.heads)) * settings.heads


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        nn.GELU(approximate="tanh"),
        nn.Linear(hidden, outputs),
    )
