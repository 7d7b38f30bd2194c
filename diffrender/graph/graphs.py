"""Graphs as they are given: one at a time, checked once, and what their topology alone says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["Graph", "GraphEncodings"]

_MOST_NODES = 1 << 20


@dataclass(frozen=True)
class Graph:
    """One graph of N nodes and E directed edges, on the CPU; an undirected bond gives two edges.

    Attributes:
        node_features: (N, A) int64 categories, each 0 or more; A may be 0.
        edge_index: (2, E) int64; row 0 the sender, row 1 the receiver of each edge.
        edge_features: (E, B) int64 categories; B may be 0.
        positions: (N, 3) float32, ångström for molecules, metres for meshes; None or a NaN
            anywhere: this graph has none.
        label: () float32, un-normalised (eV for molecules).
        node_inputs: (N, C) float32, continuous inputs beside the categories or in their place.
        edge_inputs: (E, D) float32.

    Raises:
        InputError: shapes, kinds or indices that do not fit together.
    """

    node_features: Tensor
    edge_index: Tensor
    edge_features: Tensor
    positions: Tensor | None = None
    label: Tensor | None = None
    node_inputs: Tensor | None = None
    edge_inputs: Tensor | None = None

    def __post_init__(self) -> None:
        _check_categories("node_features", self.node_features)
        _check_categories("edge_features", self.edge_features)
        nodes, edges = len(self.node_features), len(self.edge_features)
        if not 1 <= nodes <= _MOST_NODES:
            raise InputError(f"a graph has {nodes} nodes, expected 1 to {_MOST_NODES}")
        if self.edge_index.shape != (2, edges) or self.edge_index.dtype != torch.int64:
            raise InputError(
                f"edge_index is {self.edge_index.dtype} {tuple(self.edge_index.shape)}, expected "
                f"int64 (2, {edges}): one sender and one receiver for each row of edge_features"
            )
        if edges and not 0 <= int(self.edge_index.min()) <= int(self.edge_index.max()) < nodes:
            raise InputError(
                f"edge_index runs from {int(self.edge_index.min())} to "
                f"{int(self.edge_index.max())}, expected nodes 0 to {nodes - 1}"
            )
        _check_rows("positions", self.positions, nodes, 3)
        _check_rows("node_inputs", self.node_inputs, nodes, None)
        _check_rows("edge_inputs", self.edge_inputs, edges, None)
        for name in ("node_inputs", "edge_inputs"):
            value = getattr(self, name)
            if value is not None and not torch.isfinite(value).all():
                raise InputError(f"{name} holds NaN or infinite values, expected finite numbers")
        if self.label is not None and self.label.numel() != 1:
            raise InputError(f"label has shape {tuple(self.label.shape)}, expected one number")

    @property
    def nodes(self) -> int:
        """N."""
        return len(self.node_features)

    @property
    def edges(self) -> int:
        """E."""
        return len(self.edge_features)

    @property
    def has_positions(self) -> bool:
        """Whether every node has a finite position."""
        return self.positions is not None and bool(torch.isfinite(self.positions).all())


@dataclass(frozen=True)
class GraphEncodings:
    """What `encode_graph` finds of a graph's topology; nothing in it depends on features.

    Attributes:
        laplacian_values: (7,) eigenvalues of L = D - A after the first, ascending, padded by 0.
        laplacian_vectors: (N, 7) their eigenvectors, of length 1, signs arbitrary, padded by 0.
        random_walk: (N, 16) probability of being back at the node after 1 to 16 steps.
        degree: (N,) int64 number of edges that arrive.
        distances: (N, N) int16 hops from row to column, -1 where there is no way; None where it
            was not asked for (a network has no use for it that neither has attention nor is
            trained with positions).
    """

    laplacian_values: Tensor
    laplacian_vectors: Tensor
    random_walk: Tensor
    degree: Tensor
    distances: Tensor | None


def _check_categories(name: str, value: Tensor) -> None:
    if value.ndim != 2 or value.dtype != torch.int64:
        raise InputError(
            f"{name} is {value.dtype} {tuple(value.shape)}, expected int64 of two dimensions"
        )
    if value.numel() and int(value.min()) < 0:
        raise InputError(f"{name} holds {int(value.min())}, expected categories from 0")


def _check_rows(name: str, value: Tensor | None, rows: int, columns: int | None) -> None:
    if value is None:
        return
    fits = value.ndim == 2 and len(value) == rows and columns in (None, value.shape[1])
    if not fits or not value.is_floating_point():
        wanted = f"({rows}, {'*' if columns is None else columns})"
        raise InputError(
            f"{name} is {value.dtype} {tuple(value.shape)}, expected floating point {wanted}"
        )
