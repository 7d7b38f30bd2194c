"""Message passing: edges, then nodes with separate sums from senders and receivers, then graphs.

With (u, v) an edge from sender u to receiver v, [a|b] the concatenation:

    ebar_uv = Drop(MLP_edge[x_v | x_u | e_uv | g])
    xbar_i  = MLP_node[sum_{(u,i)} [ebar_ui|x_u] | sum_{(i,v)} [ebar_iv|x_v] | x_i | g]
    gbar    = MLP_glob[g | sum_j xbar_j | sum_(u,v) ebar_uv]
    y_i = LN(x_i + Drop(xbar_i)),  e' = e + ebar,  g' = g + Drop(gbar)

(in the report y_i = x_i + LN(Drop(xbar_i))). Source: GPS++, arXiv 2212.02229, section 3, and the
released code.

The first layer of an MLP is linear, so W [a|b] = W_a a + W_b b: what depends on a node is
multiplied once a node and not once an edge, and no concatenation is written. `plain_edges` and
`plain_nodes` are the equations as they stand, for layers that cannot be split (block-sparse ones,
and those with hooks) and for the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffrender.graph._kernels import as_written
from diffrender.graph.batching import GraphBatch
from diffrender.graph.dropout import drop_rows
from diffrender.graph.mlp import MLP
from diffrender.graph.scatter import edge_sum, link_sum
from diffrender.graph.settings import GraphSettings

__all__ = ["GraphState", "MessagePassing"]


@dataclass(frozen=True)
class GraphState:
    """What the layers pass on: nodes (N, 256), edges (E, 128), globals (G, 64)."""

    nodes: Tensor
    edges: Tensor
    globals: Tensor


class MessagePassing(nn.Module):
    """One step; `last` leaves out the globals, which nobody reads any more."""

    def __init__(self, settings: GraphSettings, last: bool) -> None:
        super().__init__()
        node, edge, whole = settings.node_width, settings.edge_width, settings.global_width
        widen, variant = settings.expansion, settings.variant
        self.edge_parts = [node, node, edge, whole]
        self.node_parts = [edge, node, edge, node, node, whole]
        self.edge_mlp = MLP(sum(self.edge_parts), widen * edge, edge, variant)
        self.node_mlp = MLP(sum(self.node_parts), widen * node, node, variant)
        inputs = whole + node + edge
        self.global_mlp = None if last else MLP(inputs, widen * whole, whole, variant)
        self.norm = nn.LayerNorm(node)
        self.norm_inside = variant == "report"
        self.dropouts = settings.dropouts

    def forward(
        self, state: GraphState, batch: GraphBatch, generator: torch.Generator | None
    ) -> GraphState:
        """The state after the step; the node state of the result is y."""
        edge_mlp, node_mlp, drops = self.edge_mlp, self.node_mlp, self.dropouts
        whole_edges = as_written(edge_mlp.first, nn.Linear)
        hidden = self.split_edges(state, batch) if whole_edges else self.plain_edges(state, batch)
        edges = drop_rows(edge_mlp.finish(hidden), drops.edges, generator)
        after = GraphState(state.nodes, edges, state.globals)
        whole_nodes = as_written(node_mlp.first, nn.Linear)
        hidden = self.split_nodes(after, batch) if whole_nodes else self.plain_nodes(after, batch)
        nodes = node_mlp.finish(hidden)
        kept = drop_rows(nodes, drops.nodes, generator)
        return GraphState(
            state.nodes + self.norm(kept) if self.norm_inside else self.norm(state.nodes + kept),
            state.edges + edges,
            self._globals(GraphState(nodes, edges, state.globals), batch, generator),
        )

    def _globals(
        self, state: GraphState, batch: GraphBatch, generator: torch.Generator | None
    ) -> Tensor:
        if self.global_mlp is None:
            return state.globals
        nodes = link_sum(state.nodes, batch.links.nodes_to_graph)
        edges = link_sum(state.edges, batch.links.edges_to_graph)
        change = self.global_mlp(torch.cat([state.globals, nodes, edges], 1))
        return state.globals + drop_rows(change, self.dropouts.globals, generator)

    def plain_edges(self, state: GraphState, batch: GraphBatch) -> Tensor:
        """First layer of MLP_edge, (E, 512)."""
        sender, receiver = batch.edge_index
        inputs = [state.nodes[receiver], state.nodes[sender], state.edges]
        return self.edge_mlp.first(torch.cat([*inputs, state.globals[batch.edge_graph]], 1))

    def split_edges(self, state: GraphState, batch: GraphBatch) -> Tensor:
        """The same with every part multiplied where it lives."""
        layer, links = self.edge_mlp.first, batch.links
        at_receiver, at_sender, own, whole = layer.weight.split(self.edge_parts, 1)
        # An edge lies in its receiver's graph.
        of_graph = link_sum(F.linear(state.globals, whole, layer.bias), links.nodes_to_graph.back)
        return edge_sum(
            F.linear(state.edges, own),
            torch.addmm(of_graph, state.nodes, at_receiver.t()),
            F.linear(state.nodes, at_sender),
            links.to_receiver,
            links.to_sender,
        )

    def plain_nodes(self, state: GraphState, batch: GraphBatch) -> Tensor:
        """First layer of MLP_node, (N, 1024); `state.edges` are the messages ebar."""
        links = batch.links
        inputs = [
            link_sum(state.edges, links.to_receiver),
            link_sum(state.nodes, links.neighbours),
            link_sum(state.edges, links.to_sender),
            link_sum(state.nodes, links.neighbours.back),
            state.nodes,
            state.globals[batch.node_graph],
        ]
        return self.node_mlp.first(torch.cat(inputs, 1))

    def split_nodes(self, state: GraphState, batch: GraphBatch) -> Tensor:
        """The same with every part multiplied where it lives.

        Where every edge has its reverse, the neighbours that a node receives from and sends to are
        the same, and so are the two sums over them: one product with the sum of their weights.
        """
        layer, links = self.node_mlp.first, batch.links
        arrived, senders, departed, receivers, own, whole = layer.weight.split(self.node_parts, 1)
        total = link_sum(F.linear(state.globals, whole, layer.bias), links.nodes_to_graph.back)
        total = torch.addmm(total, state.nodes, own.t())
        total = torch.addmm(total, link_sum(state.edges, links.to_receiver), arrived.t())
        total = torch.addmm(total, link_sum(state.edges, links.to_sender), departed.t())
        around = link_sum(state.nodes, links.neighbours)
        if links.symmetric:
            return torch.addmm(total, around, (senders + receivers).t())
        total = torch.addmm(total, around, senders.t())
        return torch.addmm(total, link_sum(state.nodes, links.neighbours.back), receivers.t())
