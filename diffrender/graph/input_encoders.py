"""From a batch to the first state of nodes, edges and graphs, and to attention's bias.

    X0 = Dense[atom 256 | eigenvalues 32 | eigenvectors 32 | random walk 32 | degree 64 | 3D 32]
    E0 = Dense[bond 128 | bond length 32],   g0 one learned vector
    B  = table[hops + 1] + MLP(psi(r / scale))

A hidden input is an encoder's output times 0. Source: GPS++ (arXiv 2212.02229), sections on input
features and 3D, and the released code.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffrender.errors import InputError
from diffrender.graph.batching import GraphBatch
from diffrender.graph.dropout import drop_rows
from diffrender.graph.encodings import EIGENPAIRS, WALK_STEPS
from diffrender.graph.gaussians import KERNELS, GaussianKernels
from diffrender.graph.masking import Corruption
from diffrender.graph.mlp import MLP, glorot_
from diffrender.graph.norm_gelu import gelu
from diffrender.graph.scatter import link_sum, make_links
from diffrender.graph.settings import GraphSettings

__all__ = ["AttentionBias", "FeatureEncoder", "InputEncoder", "StructureEncoder"]

_EMBEDDING, _ENCODED, _HIDDEN = 64, 32, 64
_DEGREES, _HOPS = 62, 101  # rows of the tables; 0 is for padding and for no way


class InputEncoder(nn.Module):
    """The first state, without attention's bias."""

    def __init__(self, settings: GraphSettings) -> None:
        super().__init__()
        node, edge = settings.node_width, settings.edge_width
        rate, variant = settings.dropouts.encoder, settings.variant
        self.node_features = FeatureEncoder(
            settings.node_vocabulary, settings.node_inputs, node, settings
        )
        self.edge_features = FeatureEncoder(
            settings.edge_vocabulary, settings.edge_inputs, edge, settings
        )
        self.structure = settings.structure
        node_parts, edge_parts = node, edge
        if settings.structure:
            self.eigenvalues = StructureEncoder(EIGENPAIRS, variant, rate)
            self.eigenvectors = StructureEncoder(EIGENPAIRS, variant, rate)
            self.walk = StructureEncoder(WALK_STEPS, variant, rate)
            self.degrees = _table(_DEGREES, _EMBEDDING)
            node_parts += 3 * _ENCODED + _EMBEDDING
        self.positions = settings.noise.uses_positions
        if self.positions:
            self.centrality = nn.Linear(KERNELS, _ENCODED, bias=False)
            self.length_kernels = GaussianKernels(variant)
            self.lengths = StructureEncoder(KERNELS, variant, rate)
            glorot_(self.centrality)
            node_parts, edge_parts = node_parts + _ENCODED, edge_parts + _ENCODED
        self.to_nodes = nn.Linear(node_parts, node)
        self.to_edges = nn.Linear(edge_parts, edge)
        self.globals = nn.Parameter(torch.empty(1, settings.global_width).uniform_(-0.05, 0.05))
        self.norm_eigenvalues = variant == "report"
        glorot_(self.to_nodes)
        glorot_(self.to_edges)

    def forward(
        self,
        batch: GraphBatch,
        inputs: Corruption,
        kernels: Tensor | None,  # (U, 128)
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """X0 (N, 256), E0 (E, 128), g0 (G, 64); `kernels` are None where all 3D is hidden."""
        nodes = [self.node_features(inputs.node_features, batch.node_inputs, generator)]
        edges = [self.edge_features(inputs.edge_features, batch.edge_inputs, generator)]
        if self.structure:
            values = batch.laplacian_values.to(nodes[0])
            if self.norm_eigenvalues:
                values = F.normalize(values, dim=1)
            vectors = (batch.laplacian_vectors * inputs.signs[batch.node_graph]).to(nodes[0])
            nodes += [
                self.eigenvalues(values[batch.node_graph], generator),
                self.eigenvectors(vectors, generator),
                self.walk(batch.random_walk.to(nodes[0]), generator),
                self.degrees((batch.degree + 1).clamp(max=_DEGREES - 1)),
            ]
        if self.positions:
            nodes.append(self._centrality(batch, inputs, kernels, nodes[0]))
            edges.append(self._lengths(batch, inputs, kernels, edges[0], generator))
        return (
            self.to_nodes(torch.cat(nodes, 1)),
            self.to_edges(torch.cat(edges, 1)),
            self.globals.expand(batch.graphs, -1),
        )

    def _centrality(
        self, batch: GraphBatch, inputs: Corruption, kernels: Tensor | None, like: Tensor
    ) -> Tensor:
        if kernels is None:
            return like.new_zeros(len(like), _ENCODED)
        around = link_sum(kernels, batch.distances.to_node)
        centrality = self.centrality(around)
        return centrality * inputs.show_positions[batch.node_graph, None].to(centrality)

    def _lengths(
        self,
        batch: GraphBatch,
        inputs: Corruption,
        kernels: Tensor | None,
        like: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        if kernels is None or inputs.positions is None:
            return like.new_zeros(len(like), _ENCODED)
        sender, receiver = batch.edge_index
        along = (inputs.positions[receiver] - inputs.positions[sender]).to(like)
        lengths = self.lengths(self.length_kernels(along.norm(dim=1)), generator)
        return lengths * inputs.show_positions[batch.edge_graph, None].to(lengths)


class FeatureEncoder(nn.Module):
    """Categories as the sum of their embeddings, plus continuous inputs, through an MLP.

    For mesh graphs, whose nodes and edges have no categories, the continuous inputs stand alone.
    """

    def __init__(
        self, vocabulary: tuple[int, ...], inputs: int, width: int, settings: GraphSettings
    ) -> None:
        super().__init__()
        self.vocabulary, self.inputs = vocabulary, inputs
        self.rate = settings.dropouts.encoder if settings.variant == "report" else 0.0
        if vocabulary:
            self.embedding = _table(sum(vocabulary), _EMBEDDING)
        if inputs:
            self.continuous = nn.Linear(inputs, _EMBEDDING)
            glorot_(self.continuous)
        # A graph whose edges say nothing beyond being there: one vector for all.
        self.constant = None if vocabulary or inputs else nn.Parameter(torch.zeros(1, _EMBEDDING))
        self.mlp = MLP(_EMBEDDING, settings.expansion * width, width, settings.variant)

    def forward(
        self,
        categories: Tensor,  # (M, A)
        inputs: Tensor | None,  # (M, C)
        generator: torch.Generator | None,
    ) -> Tensor:
        """Shapes: (M, A), (M, C) -> (M, width)."""
        if self.vocabulary and not self.inputs:
            # A batch has few kinds of atoms and bonds: each kind goes through the MLP once.
            kinds, kind = _kinds(categories, self.vocabulary)
            rows = torch.arange(len(categories), device=kind.device)
            of_kind = make_links(kind, rows, len(kinds), len(rows))
            found = link_sum(self.mlp(self._embedded(kinds)), of_kind)
        else:
            found = self.mlp(self._mixed(categories, inputs))
        return drop_rows(found, self.rate, generator)

    def _embedded(self, categories: Tensor) -> Tensor:
        starts = torch.tensor((0, *self.vocabulary[:-1]), device=categories.device).cumsum(0)
        return F.embedding_bag(categories + starts, self.embedding.weight, mode="sum")

    def _mixed(self, categories: Tensor, inputs: Tensor | None) -> Tensor:
        if self.constant is not None:
            return self.constant.expand(len(categories), -1)
        assert inputs is not None  # checked by the network
        linear = self.continuous(inputs.to(self.continuous.weight))
        return linear + self._embedded(categories) if self.vocabulary else linear


def _kinds(categories: Tensor, vocabulary: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The different rows in their order, and which of them each row is: (K, A), (M,).

    As torch.unique(categories, dim=0) has it, which compares rows number by number.
    """
    if math.prod(vocabulary) >= 2**63:
        return torch.unique(categories, dim=0, return_inverse=True)
    radix = torch.tensor(vocabulary, device=categories.device)
    places = [math.prod(vocabulary[i + 1 :]) for i in range(len(vocabulary))]
    place = torch.tensor(places, device=categories.device)
    keys, kind = torch.unique((categories * place).sum(1), return_inverse=True)
    return keys[:, None] // place % radix, kind


class StructureEncoder(nn.Module):
    """LayerNorm, Linear to 64, LayerNorm, ReLU, Linear to 32, dropout of whole rows.

    In the report's variant ReLU comes before the second LayerNorm.
    """

    def __init__(self, inputs: int, variant: str, rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.first = nn.Linear(inputs, _HIDDEN)
        self.hidden_norm = nn.LayerNorm(_HIDDEN)
        self.second = nn.Linear(_HIDDEN, _ENCODED)
        self.norm_last, self.rate = variant == "report", rate
        glorot_(self)

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:  # (M, inputs)
        """Shapes: (M, inputs) -> (M, 32)."""
        hidden = self.first(self.norm(x))
        if self.norm_last:
            hidden = self.hidden_norm(torch.relu(hidden))
        else:
            hidden = torch.relu(self.hidden_norm(hidden))
        return drop_rows(self.second(hidden), self.rate, generator)


class AttentionBias(nn.Module):
    """B, one number for each pair of nodes and head, the same in all layers."""

    def __init__(self, settings: GraphSettings) -> None:
        super().__init__()
        self.hops = _table(_HOPS, settings.heads)
        self.positions = settings.noise.uses_positions
        if self.positions:
            self.first = nn.Linear(KERNELS, KERNELS)
            self.second = nn.Linear(KERNELS, settings.heads)
            glorot_(self.first)
            glorot_(self.second)

    def forward(
        self,
        batch: GraphBatch,
        inputs: Corruption,
        kernels: Tensor | None,  # (U, 128)
    ) -> Tensor:
        """(P, heads). Hop distances above 99 count as 99."""
        if batch.hops is None:
            raise InputError("the graphs have no hop distances: encode them with distances")
        bias = self.hops((batch.hops + 1).clamp(max=_HOPS - 1))
        shown = inputs.show_topology
        if not bool(shown.all()):
            bias = bias * shown[batch.distances.pair_graph, None].to(bias)
        if self.positions and kernels is not None:
            near = self.second(gelu(self.first(kernels)))
            far = link_sum(near, batch.distances.to_pair)
            bias = bias + far * inputs.show_positions[batch.distances.pair_graph, None].to(far)
        return bias


def _table(rows: int, width: int) -> nn.Embedding:
    table = nn.Embedding(rows, width)
    nn.init.uniform_(table.weight, -0.05, 0.05)
    return table
