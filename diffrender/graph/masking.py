"""What training does to its inputs: grouped masking, categorical noise, signs, coordinate noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.graph.batching import GraphBatch
from diffrender.graph.settings import GraphSettings

__all__ = ["Corruption", "clean_inputs", "corrupt_inputs"]


@dataclass(frozen=True)
class Corruption:
    """A batch's inputs as the network is to see them.

    Attributes:
        node_features, edge_features: (N, A), (E, B) categories, some replaced in training.
        show_positions, show_topology: (G,) 1 or 0 for each graph; float32.
        signs: (G, 7) of the eigenvectors, 1 or -1.
        positions: (N, 3), with noise in training; None where no graph shows any.
        shift: (N, 3) the noise that was added to them; None without.
    """

    node_features: Tensor
    edge_features: Tensor
    show_positions: Tensor
    show_topology: Tensor
    signs: Tensor
    positions: Tensor | None = None
    shift: Tensor | None = None


def clean_inputs(batch: GraphBatch) -> Corruption:
    """For evaluation: clean categories, 3D always hidden, hop distances shown."""
    ones = torch.ones(batch.graphs, device=batch.node_counts.device)
    return Corruption(
        batch.node_features,
        batch.edge_features,
        show_positions=torch.zeros_like(ones),
        show_topology=ones,
        signs=torch.ones_like(batch.laplacian_values),
    )


def corrupt_inputs(
    batch: GraphBatch, settings: GraphSettings, generator: torch.Generator
) -> Corruption:
    """For a training step, all draws from `generator`.

    Every graph hides its 3D inputs, its hop distances, or nothing, in the ratio of
    `noise.masking`; a graph without positions hides 3D. Every categorical feature is replaced by a
    uniform draw with probability `noise.categories`. Eigenvectors get random signs.
    """
    noise, device = settings.noise, batch.node_counts.device
    weights = torch.tensor(noise.masking, dtype=torch.float32)
    choice = torch.multinomial(weights, batch.graphs, replacement=True, generator=generator)
    choice = torch.where(batch.has_positions, choice.to(device), 0)
    signs = torch.randint(0, 2, batch.laplacian_values.shape, generator=generator) * 2.0 - 1.0
    show = choice > 0
    positions = batch.positions if bool(show.any()) else None
    shift = None
    if positions is not None and noise.coordinates > 0:
        shift = torch.randn(positions.shape, generator=generator).to(device) * noise.coordinates
        positions = positions + shift
    return Corruption(
        node_features=_replace(
            batch.node_features, settings.node_vocabulary, noise.categories, generator
        ),
        edge_features=_replace(
            batch.edge_features, settings.edge_vocabulary, noise.categories, generator
        ),
        show_positions=show.float(),
        show_topology=(choice != 1).float(),
        signs=signs.to(device),
        positions=positions,
        shift=shift,
    )


def _replace(
    features: Tensor, vocabulary: tuple[int, ...], rate: float, generator: torch.Generator
) -> Tensor:
    if rate == 0 or not vocabulary:
        return features
    hit = torch.rand(features.shape, generator=generator) < rate
    draws = torch.rand(features.shape, generator=generator) * torch.tensor(vocabulary)
    return torch.where(hit.to(features.device), draws.long().to(features.device), features)
