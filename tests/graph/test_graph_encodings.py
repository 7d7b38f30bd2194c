"""Encodings against closed forms and scipy."""

from __future__ import annotations

import math

import pytest
import torch
from molecule_like import molecule_like

from diffrender.errors import InputError
from diffrender.graph import Graph, encode_graph


def graph_of(edges: list[tuple[int, int]], nodes: int) -> Graph:
    index = torch.tensor(edges + [(b, a) for a, b in edges], dtype=torch.int64).view(-1, 2).T
    return Graph(
        torch.zeros(nodes, 1, dtype=torch.int64),
        index.contiguous(),
        torch.zeros(index.shape[1], 1, dtype=torch.int64),
    )


def ring(nodes: int) -> Graph:
    return graph_of([(i, (i + 1) % nodes) for i in range(nodes)], nodes)


def test_eigenvalues_of_a_ring() -> None:
    """2 - 2 cos(2 pi k / n), each but the first and the middle one twice."""
    found = encode_graph(ring(12))
    expected = sorted(2 - 2 * math.cos(2 * math.pi * k / 12) for k in range(12))[1:8]
    torch.testing.assert_close(found.laplacian_values, torch.tensor(expected))
    vectors = found.laplacian_vectors
    torch.testing.assert_close(vectors.norm(dim=0), torch.ones(7))
    laplacian = (
        2 * torch.eye(12) - torch.roll(torch.eye(12), 1, 0) - torch.roll(torch.eye(12), -1, 0)
    )
    torch.testing.assert_close(
        laplacian @ vectors, vectors * found.laplacian_values, atol=1e-5, rtol=0
    )


def test_small_graphs_are_padded_by_zeros() -> None:
    found = encode_graph(graph_of([(0, 1), (1, 2)], 3))
    torch.testing.assert_close(found.laplacian_values, torch.tensor([1.0, 3.0, 0, 0, 0, 0, 0]))
    assert found.laplacian_vectors[:, 2:].abs().max() == 0
    single = encode_graph(graph_of([], 1))
    assert single.laplacian_values.tolist() == [0.0] * 7
    assert single.random_walk.tolist() == [[0.0] * 16]


def test_random_walk_is_the_diagonal_of_powers() -> None:
    graph = molecule_like(9, torch.Generator().manual_seed(0))
    step = torch.zeros(9, 9, dtype=torch.float64)
    step[graph.edge_index[0], graph.edge_index[1]] = 1
    step = step / step.sum(1, keepdim=True)
    powers = [torch.linalg.matrix_power(step, k).diagonal() for k in range(1, 17)]
    torch.testing.assert_close(encode_graph(graph).random_walk, torch.stack(powers, 1).float())


def test_distances_are_those_of_scipy() -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import floyd_warshall

    generator = torch.Generator().manual_seed(3)
    parts = [molecule_like(n, generator) for n in (8, 5)]
    edges = torch.cat([parts[0].edge_index, parts[1].edge_index + 8], 1)
    graph = Graph(
        torch.zeros(13, 1, dtype=torch.int64),
        edges,
        torch.zeros(edges.shape[1], 1, dtype=torch.int64),
    )
    matrix = coo_array((torch.ones(edges.shape[1]).numpy(), tuple(edges.numpy())), shape=(13, 13))
    expected = torch.from_numpy(floyd_warshall(matrix.tocsr()))
    expected[expected.isinf()] = -1
    found = encode_graph(graph)
    assert torch.equal(found.distances.double(), expected)
    assert found.distances.dtype == torch.int16
    assert torch.equal(found.degree, torch.bincount(edges[1]))
    assert encode_graph(graph, distances=False).distances is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_features": torch.zeros(0, 1, dtype=torch.int64)}, "has 0 nodes"),
        ({"node_features": torch.zeros(2, 1)}, "node_features is torch.float32"),
        ({"node_features": torch.full((2, 1), -1)}, "holds -1, expected categories from 0"),
        ({"edge_index": torch.tensor([[0], [2]])}, "edge_index runs from 0 to 2"),
        ({"edge_index": torch.tensor([[0, 1], [1, 0]])}, r"expected int64 \(2, 1\)"),
        ({"positions": torch.zeros(2, 2)}, r"expected floating point \(2, 3\)"),
        ({"node_inputs": torch.full((2, 1), torch.nan)}, "node_inputs holds NaN"),
        ({"label": torch.zeros(2)}, "expected one number"),
    ],
)
def test_broken_graphs_are_refused(change: dict, message: str) -> None:
    good = {
        "node_features": torch.zeros(2, 1, dtype=torch.int64),
        "edge_index": torch.tensor([[0], [1]]),
        "edge_features": torch.zeros(1, 1, dtype=torch.int64),
    }
    with pytest.raises(InputError, match=message):
        Graph(**{**good, **change})


def test_encodings_are_float32_whatever_the_default_is() -> None:
    graph = molecule_like(5, torch.Generator().manual_seed(0))
    wanted = encode_graph(graph)
    torch.set_default_dtype(torch.float64)
    try:
        found = [encode_graph(graph), encode_graph(graph, structure=False)]
    finally:
        torch.set_default_dtype(torch.float32)
    for name in ("laplacian_values", "laplacian_vectors", "random_walk"):
        assert [getattr(one, name).dtype for one in found] == [torch.float32] * 2
        assert torch.equal(getattr(found[0], name), getattr(wanted, name))
