"""One layer: message passing and biased attention side by side, added, then a feed-forward part.

    y = MessagePassing(x),   z = LN(x + GraphDrop(Proj(softmax(Q K^T / sqrt(D) + B) V)))
    h = y + z,               x' = LN(h + GraphDrop(W_2 GELU(W_1 h)))

A part that is left out is left out of the sum. Source: GPS++, arXiv 2212.02229, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffrender.graph.attention import attend
from diffrender.graph.batching import GraphBatch
from diffrender.graph.dropout import drop, drop_graphs, keep_factors
from diffrender.graph.message_passing import GraphState, MessagePassing
from diffrender.graph.mlp import uniform_
from diffrender.graph.norm_gelu import gelu
from diffrender.graph.settings import GraphSettings

__all__ = ["BiasedAttention", "Block", "FeedForward"]


class BiasedAttention(nn.Module):
    """Multi-head attention within each graph, with a bias on the scores."""

    def __init__(self, settings: GraphSettings, depth_rate: float) -> None:
        super().__init__()
        width = settings.node_width
        self.heads, self.depth_rate = settings.heads, depth_rate
        self.weight_rate = settings.dropouts.attention
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        uniform_(self, width**-0.5)

    def forward(
        self,
        nodes: Tensor,  # (N, 256)
        bias: Tensor | None,  # (P, H)
        batch: GraphBatch,
        generator: torch.Generator | None,
    ) -> Tensor:
        """z. Shapes: (N, 256) -> (N, 256)."""
        assert batch.layout is not None  # checked by the network
        keep = None
        if generator is not None and self.weight_rate > 0:
            shape = (batch.layout.count, self.heads)
            keep = keep_factors(nodes, shape, self.weight_rate, generator)
        mixed = attend(self.query_key_value(nodes), bias, keep, batch.layout, self.heads)
        change = self.project(mixed)
        change = drop_graphs(change, batch.node_graph, batch.graphs, self.depth_rate, generator)
        return self.norm(nodes + change)


class FeedForward(nn.Module):
    """The feed-forward part with its residual."""

    def __init__(self, settings: GraphSettings, depth_rate: float) -> None:
        super().__init__()
        width = settings.node_width
        self.depth_rate, self.hidden_rate = depth_rate, settings.dropouts.hidden
        self.first = nn.Linear(width, settings.expansion * width)
        self.second = nn.Linear(settings.expansion * width, width)
        self.norm = nn.LayerNorm(width)
        uniform_(self, width**-0.5)

    def forward(
        self, nodes: Tensor, batch: GraphBatch, generator: torch.Generator | None
    ) -> Tensor:
        """x'. Shapes: (N, 256) -> (N, 256)."""
        hidden = drop(gelu(self.first(nodes)), self.hidden_rate, generator)
        change = self.second(hidden)
        change = drop_graphs(change, batch.node_graph, batch.graphs, self.depth_rate, generator)
        return self.norm(nodes + change)


class Block(nn.Module):
    """Layer `index` of L; the rate of dropped branches grows with it."""

    def __init__(self, settings: GraphSettings, index: int) -> None:
        super().__init__()
        last = index == settings.layers - 1
        steps = index / max(settings.layers - 1, 1)
        if settings.variant == "report":
            steps = (index + 1) / settings.layers
        rate, parts = settings.dropouts.depth * steps, settings.parts
        self.passing = MessagePassing(settings, last) if "MPNN" in parts else None
        self.attention = BiasedAttention(settings, rate) if "MHSA" in parts else None
        self.feed_forward = FeedForward(settings, rate) if "FFN" in parts else None

    def forward(
        self,
        state: GraphState,
        bias: Tensor | None,  # (P, H)
        batch: GraphBatch,
        generator: torch.Generator | None = None,
    ) -> GraphState:
        """The state after the layer."""
        branches = []
        after = state
        if self.passing is not None:
            after = self.passing(state, batch, generator)
            branches.append(after.nodes)
        if self.attention is not None:
            branches.append(self.attention(state.nodes, bias, batch, generator))
        nodes = sum(branches[1:], branches[0]) if branches else state.nodes
        if self.feed_forward is not None:
            nodes = self.feed_forward(nodes, batch, generator)
        return GraphState(nodes, after.edges, after.globals)
