"""GPS++: encoders, blocks, and the heads for labels and for denoising.

Source: Masters et al., GPS++: An optimised hybrid MPNN/Transformer for molecular property
prediction, arXiv 2212.02229 and 2302.02947, and the released code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffrender.blocksparse import sparsify_
from diffrender.errors import InputError
from diffrender.graph.batching import GraphBatch
from diffrender.graph.block import Block
from diffrender.graph.gaussians import GaussianKernels
from diffrender.graph.input_encoders import AttentionBias, InputEncoder
from diffrender.graph.masking import Corruption, clean_inputs, corrupt_inputs
from diffrender.graph.message_passing import GraphState
from diffrender.graph.mlp import glorot_
from diffrender.graph.norm_gelu import norm_gelu
from diffrender.graph.scatter import link_sum
from diffrender.graph.settings import GraphSettings

__all__ = ["GraphNetwork", "GraphOutput", "GraphTrunk"]


@dataclass(frozen=True)
class GraphOutput:
    """What the network says of a batch.

    Attributes:
        prediction: (G,) normalised label.
        node_logits, edge_logits: (N, sum of vocabulary), (E, ...) of the clean categories; None
            outside training and in networks without categorical denoising.
        shift: (N, 3) predicted coordinate noise in its standard deviations; None likewise.
        inputs: what the network saw.
    """

    prediction: Tensor
    node_logits: Tensor | None
    edge_logits: Tensor | None
    shift: Tensor | None
    inputs: Corruption


class GraphTrunk(nn.Module):
    """Encoders and blocks, without heads: a batch to the final state of nodes, edges, graphs."""

    def __init__(self, settings: GraphSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = InputEncoder(settings)
        self.bias = AttentionBias(settings) if "MHSA" in settings.parts else None
        self.kernels = None
        if settings.noise.uses_positions:
            self.kernels = GaussianKernels(settings.variant)
        self.blocks = nn.ModuleList(Block(settings, i) for i in range(settings.layers))
        if settings.sparsity is not None:
            sparsify_(self.blocks, settings.sparsity)

    def forward(
        self, batch: GraphBatch, inputs: Corruption, generator: torch.Generator | None
    ) -> GraphState:
        """The final state. See `GraphNetwork.forward`."""
        check_batch(batch, self.settings, training=generator is not None)
        kernels = None
        if self.kernels is not None and inputs.positions is not None:
            index = batch.distances
            apart = inputs.positions[index.first] - inputs.positions[index.second]
            scaled = apart.norm(dim=1) / self.settings.distance_scale
            kernels = self.kernels(scaled.to(self.kernels.mean))
        state = GraphState(*self.encoder(batch, inputs, kernels, generator))
        bias = None if self.bias is None else self.bias(batch, inputs, kernels)
        for block in self.blocks:
            state = block(state, bias, batch, generator)
        return state


class GraphNetwork(nn.Module):
    """GPS++ for one label of a whole graph.

    Sum over a graph's nodes, Linear, LayerNorm, GELU, Linear to the label; linear heads on nodes
    and edges for the clean categories. With noise on coordinates, an equivariant head predicts it:
    shift_i = sum over arriving edges of w(e_ui) (p_i - p_u), our own.
    """

    def __init__(self, settings: GraphSettings | None = None) -> None:
        super().__init__()
        settings = settings or GraphSettings()
        self.settings = settings
        self.trunk = GraphTrunk(settings)
        width = settings.node_width
        self.pooled = nn.Linear(width, width)
        self.pooled_norm = nn.LayerNorm(width)
        self.label = nn.Linear(width, 1)
        noise = settings.noise
        self.node_head = self.edge_head = self.shift_head = None
        if noise.categories > 0 and settings.node_vocabulary:
            self.node_head = nn.Linear(width, sum(settings.node_vocabulary))
        if noise.categories > 0 and settings.edge_vocabulary:
            self.edge_head = nn.Linear(settings.edge_width, sum(settings.edge_vocabulary))
        if noise.coordinates > 0:
            self.shift_head = nn.Linear(settings.edge_width, 1)
        for head in (self.pooled, self.label, self.node_head, self.edge_head, self.shift_head):
            if head is not None:
                glorot_(head)

    def forward(self, batch: GraphBatch, noise: torch.Generator | None = None) -> GraphOutput:
        """Predictions for a batch.

        Args:
            noise: for a training step: masking, noise, signs and dropouts are drawn from it.
                None evaluates: clean inputs, nothing dropped, 3D always hidden. `train()` and
                `eval()` change nothing.

        Raises:
            InputError: features that do not fit the settings' vocabularies, or graphs without hop
                distances for a network with attention, or for training with positions.
        """
        inputs = clean_inputs(batch)
        if noise is not None:
            inputs = corrupt_inputs(batch, self.settings, noise)
        state = self.trunk(batch, inputs, noise)
        pooled = self.pooled(link_sum(state.nodes, batch.links.nodes_to_graph))
        prediction = self.label(norm_gelu(pooled, self.pooled_norm))[:, 0]
        denoise = noise is not None
        node_head, edge_head = self.node_head, self.edge_head
        return GraphOutput(
            prediction,
            node_head(state.nodes) if denoise and node_head is not None else None,
            edge_head(state.edges) if denoise and edge_head is not None else None,
            self._shift(state, batch, inputs),
            inputs,
        )

    def _shift(self, state: GraphState, batch: GraphBatch, inputs: Corruption) -> Tensor | None:
        if self.shift_head is None or inputs.positions is None:
            return None
        sender, receiver = batch.edge_index
        along = inputs.positions[receiver] - inputs.positions[sender]
        return link_sum(self.shift_head(state.edges) * along, batch.links.to_receiver)


def check_batch(batch: GraphBatch, settings: GraphSettings, *, training: bool) -> None:
    """Raise InputError unless the batch fits the settings' vocabularies, inputs and parts."""
    for name, features, vocabulary in (
        ("node_features", batch.node_features, settings.node_vocabulary),
        ("edge_features", batch.edge_features, settings.edge_vocabulary),
    ):
        if features.shape[1] != len(vocabulary):
            raise InputError(
                f"{name} have {features.shape[1]} columns, the network's vocabulary has "
                f"{len(vocabulary)}"
            )
        if len(features) and vocabulary:
            highest = features.amax(0)
            sizes = torch.tensor(vocabulary, device=highest.device)
            if bool((highest >= sizes).any()):
                column = int((highest >= sizes).nonzero()[0, 0])
                raise InputError(
                    f"{name} column {column} holds category {int(highest[column])}, expected 0 to "
                    f"{vocabulary[column] - 1}"
                )
    for name, inputs, width in (
        ("node_inputs", batch.node_inputs, settings.node_inputs),
        ("edge_inputs", batch.edge_inputs, settings.edge_inputs),
    ):
        there = 0 if inputs is None else inputs.shape[1]
        if there != width:
            raise InputError(f"{name} have {there} columns, the network expects {width}")
    if "MHSA" in settings.parts and batch.layout is None:
        raise InputError("the graphs have no hop distances: encode them with distances=True")
    # Whether a batch shows positions is drawn, so they are asked for before the draw matters.
    positions = settings.noise.uses_positions and batch.positions is not None
    if training and positions and batch.layout is None:
        raise InputError(
            f"the graphs have no hop distances, and training with masking {settings.noise.masking} "
            "shows their positions by pairs of nodes: encode them with distances=True, or take "
            "NoiseSettings(masking=(1, 0, 0)), which never shows positions"
        )
