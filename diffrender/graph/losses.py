"""Losses of the network: the label, denoised categories, denoised coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffrender.errors import InputError, check_weights
from diffrender.graph.batching import GraphBatch
from diffrender.graph.network import GraphOutput
from diffrender.graph.settings import GraphSettings

__all__ = ["GraphLoss", "LossWeights", "graph_loss"]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; GPS++ has 1, 1.2, 1.2 (arXiv 2212.02229)."""

    label: float = 1.0
    nodes: float = 1.2
    edges: float = 1.2
    coordinates: float = 1.0

    def __post_init__(self) -> None:
        check_weights(self)


@dataclass(frozen=True)
class GraphLoss:
    """Scalars: the weighted total, and its terms unweighted, 0 where the network has no such head.

    `label` is in standard deviations: times `label_std` it is the mean absolute error.
    """

    total: Tensor
    label: Tensor
    nodes: Tensor
    edges: Tensor
    coordinates: Tensor


def graph_loss(
    output: GraphOutput,
    batch: GraphBatch,
    settings: GraphSettings,
    weights: LossWeights | None = None,
    label_mean: float = 0.0,
    label_std: float = 1.0,
) -> GraphLoss:
    """L1 on the normalised label, cross-entropy of the clean categories, L1 on coordinate noise.

    Categories are scored on all nodes and edges, not only on replaced ones: mean over the features
    of a row, then over the rows. Coordinate noise is scored in its standard deviations, on graphs
    whose positions were seen. Differentiable in what `output` holds.

    Raises:
        InputError: the batch has no labels, or `label_std` is not positive.
    """
    weights = weights or LossWeights()
    if batch.labels is None:
        raise InputError("the batch has no labels, expected one for every graph")
    if not label_std > 0:
        raise InputError(f"label_std is {label_std}, expected a positive number")
    target = (batch.labels.to(output.prediction) - label_mean) / label_std
    label = (output.prediction - target).abs().mean()
    zero = label.new_zeros(())
    nodes = edges = coordinates = zero
    if output.node_logits is not None:
        nodes = _cross_entropy(output.node_logits, batch.node_features, settings.node_vocabulary)
    if output.edge_logits is not None:
        edges = _cross_entropy(output.edge_logits, batch.edge_features, settings.edge_vocabulary)
    if output.shift is not None and output.inputs.shift is not None:
        seen = output.inputs.show_positions[batch.node_graph, None]
        apart = (output.shift - output.inputs.shift / settings.noise.coordinates).abs()
        coordinates = (apart * seen).sum() / (3 * seen.sum()).clamp(min=1)
    total = weights.label * label + weights.nodes * nodes + weights.edges * edges
    return GraphLoss(total + weights.coordinates * coordinates, label, nodes, edges, coordinates)


def _cross_entropy(logits: Tensor, features: Tensor, vocabulary: tuple[int, ...]) -> Tensor:
    if len(logits) == 0:  # single atoms have no bond
        return logits.sum()
    parts = logits.split(list(vocabulary), 1)
    each = [F.cross_entropy(part, features[:, i]) for i, part in enumerate(parts)]
    return torch.stack(each).mean()
