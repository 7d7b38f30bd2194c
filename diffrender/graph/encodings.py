"""Encodings of a graph's topology: Laplacian eigenvectors, random walks, hop distances, degree."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.graph.graphs import Graph, GraphEncodings

__all__ = ["EIGENPAIRS", "WALK_STEPS", "encode_graph", "hop_distances"]

EIGENPAIRS = 7  # the 8 lowest without the first
WALK_STEPS = 16
_MOST_NODES = 20_000  # eigenvectors and distances are N x N here


def encode_graph(graph: Graph, *, distances: bool = True, structure: bool = True) -> GraphEncodings:
    """Encodings of `graph`, float32 on the CPU; they depend on its edges alone.

    With A the adjacency matrix (of the undirected graph: an edge in either direction counts) and D
    its row sums: eigenpairs 2 to 8 of L = D - A, un-normalised, eigenvectors of length 1, and
    diag((D^-1 A)^k) for k = 1..16. Degree counts the edges that arrive.

    Args:
        distances: also the (N, N) hop distances. Networks with attention need them, and so does
            training with positions (`NoiseSettings.masking` other than (1, 0, 0)), which reads the
            distances between the nodes of these pairs.
        structure: also eigenpairs and random walks; left out they are zeros, for networks that
            do not read them. Without both nothing of size N x N is made.

    Raises:
        InputError: more than 20 000 nodes where something of size N x N is made.

    Source: GPS++ (arXiv 2302.02947), sec. on input features; Dwivedi et al., Benchmarking graph
    neural networks, 2020 (Laplacian); Dwivedi et al. 2022 (random walk).
    """
    nodes = graph.nodes
    degree = torch.bincount(graph.edge_index[1], minlength=nodes)
    values, vectors = _empty(nodes)
    walk, hops = torch.zeros(nodes, WALK_STEPS, dtype=torch.float32), None
    if distances or structure:
        if nodes > _MOST_NODES:
            raise InputError(
                f"the graph has {nodes} nodes, expected at most {_MOST_NODES} to encode"
            )
        adjacency = _adjacency(graph)
        if structure:
            values, vectors = _eigenpairs(adjacency)
            walk = _random_walk(adjacency)
        hops = hop_distances(adjacency > 0) if distances else None
    return GraphEncodings(values, vectors, walk, degree, hops)


def hop_distances(
    linked: Tensor,  # (N, N) bool
) -> Tensor:
    """Fewest hops between any two nodes by breadth-first search from all of them at once.

    Shapes: (N, N) -> (N, N) int16; 0 on the diagonal, -1 where there is no way. Not differentiable.
    """
    nodes = len(linked)
    step = linked.float()
    reached = torch.eye(nodes, dtype=torch.bool)
    found = torch.full((nodes, nodes), -1, dtype=torch.int16)
    found[reached] = 0
    front = reached
    for hops in range(1, nodes):
        front = ((front.float() @ step) > 0) & ~reached
        if not front.any():
            break
        found[front] = hops
        reached = reached | front
    return found


def _adjacency(graph: Graph) -> Tensor:
    sender, receiver = graph.edge_index
    adjacency = torch.zeros(graph.nodes, graph.nodes, dtype=torch.float64)
    adjacency[sender, receiver] = 1.0
    adjacency[receiver, sender] = 1.0
    return adjacency


def _empty(nodes: int) -> tuple[Tensor, Tensor]:
    """Zeros for eigenvalues and eigenvectors, float32 whatever torch's default is."""
    kind = torch.float32
    return torch.zeros(EIGENPAIRS, dtype=kind), torch.zeros(nodes, EIGENPAIRS, dtype=kind)


def _eigenpairs(adjacency: Tensor) -> tuple[Tensor, Tensor]:
    nodes = len(adjacency)
    laplacian = torch.diag(adjacency.sum(1)) - adjacency
    values, vectors = torch.linalg.eigh(laplacian)
    kept = min(nodes - 1, EIGENPAIRS)
    padded_values, padded_vectors = _empty(nodes)
    # Zero eigenvalues come as -1e-16.
    padded_values[:kept] = values[1 : kept + 1].clamp(min=0).float()
    padded_vectors[:, :kept] = vectors[:, 1 : kept + 1].float()
    return padded_values, padded_vectors


def _random_walk(adjacency: Tensor) -> Tensor:
    degree = adjacency.sum(1)
    step = adjacency / degree.clamp(min=1)[:, None]
    # diag(P^(a+b)) is the row-wise dot product of P^a and (P^b)^T: four products, not sixteen.
    powers = [step]
    while len(powers) < 4:
        powers.append(powers[-1] @ step)
    back = [power.diagonal() for power in powers]
    high = powers[3]
    for _ in range(3):
        back += [(high * power.T).sum(1) for power in powers]
        high = high @ powers[3]
    return torch.stack(back, 1).float()
