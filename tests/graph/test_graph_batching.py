"""Ragged batches, their links and pairs, and packs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from molecule_like import batch_of, molecule_like

from diffrender.errors import InputError
from diffrender.graph import PackSize, batch_graphs, encode_graph, link_sum, pack_graphs

SIZES = [4, 1, 7, 3]


def test_rows_keep_their_graphs_and_edges_are_sorted_by_receiver() -> None:
    generator = torch.Generator().manual_seed(0)
    graphs = [molecule_like(n, generator) for n in SIZES]
    batch = batch_graphs(graphs, [encode_graph(g) for g in graphs])
    assert batch.node_counts.tolist() == SIZES
    assert (batch.edge_index[1].diff() >= 0).all()
    assert torch.equal(batch.node_graph[batch.edge_index[0]], batch.edge_graph)
    assert torch.equal(batch.node_graph[batch.edge_index[1]], batch.edge_graph)
    start = 0
    for i, graph in enumerate(graphs):
        own = batch.edge_graph == i
        found = torch.cat([batch.edge_index[:, own] - start, batch.edge_features[own].T])
        given = torch.cat([graph.edge_index, graph.edge_features.T])
        assert sorted(found.T.tolist()) == sorted(given.T.tolist())
        start += graph.nodes
    assert batch.links.symmetric


def test_links_are_those_of_the_edges() -> None:
    batch = batch_of(SIZES)
    links, (sender, receiver) = batch.links, batch.edge_index
    nodes, edges = len(batch.node_graph), len(batch.edge_graph)
    x, e = torch.randn(nodes, 3), torch.randn(edges, 3)
    zeros = torch.zeros(nodes, 3)
    for index, values, found in (
        (receiver, e, link_sum(e, links.to_receiver)),
        (sender, e, link_sum(e, links.to_sender)),
        (receiver, x[sender], link_sum(x, links.neighbours)),
        (sender, x[receiver], link_sum(x, links.neighbours.back)),
    ):
        torch.testing.assert_close(found, zeros.index_add(0, index, values))
    torch.testing.assert_close(link_sum(x, links.nodes_to_graph)[2], x[5:12].sum(0))
    assert torch.equal(link_sum(e, links.to_receiver.back.back), link_sum(e, links.to_receiver))


def test_one_way_edges_are_noticed() -> None:
    graph = molecule_like(4, torch.Generator().manual_seed(0))
    half = dataclasses.replace(
        graph, edge_index=graph.edge_index[:, :3], edge_features=graph.edge_features[:3]
    )
    assert not batch_graphs([half], [encode_graph(half)]).links.symmetric


def test_every_distance_is_found_once_for_all_pairs() -> None:
    batch = batch_of(SIZES)
    index = batch.distances
    assert len(index.first) == 1 + sum(n * (n - 1) // 2 for n in SIZES)
    points = torch.randn(len(batch.node_graph), 3, dtype=torch.float64)
    each = (points[index.first] - points[index.second]).norm(dim=1)[:, None]
    blocks = [torch.cdist(p, p) for p in points.split(SIZES)]
    expected = torch.cat([b.flatten() for b in blocks])
    torch.testing.assert_close(link_sum(each, index.to_pair)[:, 0], expected)
    expected = torch.cat([b.sum(1) for b in blocks])
    torch.testing.assert_close(link_sum(each, index.to_node)[:, 0], expected)
    leaf = each.requires_grad_()
    for links in (index.to_pair, index.to_node):
        assert torch.autograd.gradcheck(lambda v, k=links: link_sum(v, k), (leaf,))


def test_missing_conformers() -> None:
    generator = torch.Generator().manual_seed(0)
    graphs = [molecule_like(3, generator), molecule_like(2, generator, positions=False)]
    broken = torch.full((2, 3), torch.nan)
    graphs.append(dataclasses.replace(graphs[1], positions=broken))
    batch = batch_graphs(graphs, [encode_graph(g) for g in graphs])
    assert batch.has_positions.tolist() == [True, False, False]
    assert batch.positions is not None
    assert batch.positions[3:].abs().max() == 0


def test_streaming_packs() -> None:
    """Closed by nodes, then by edges, then by the number of graphs."""
    packing = pack_graphs([30, 30, 1, 1, 1, 1], [10, 10, 10, 115, 10, 10], PackSize(60, 120, 2))
    assert packing.packs == ((0, 1), (2,), (3,), (4, 5))
    assert packing.node_efficiency == pytest.approx(64 / 240)
    assert packing.edge_efficiency == pytest.approx(165 / 480)
    assert packing.graph_efficiency == pytest.approx(6 / 8)
    assert packing.graphs_per_pack == 1.5


def test_broken_batches_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    graph = molecule_like(3, generator)
    encodings = encode_graph(graph)
    with pytest.raises(InputError, match="0 graphs and 0 encodings"):
        batch_graphs([], [])
    unlabelled = dataclasses.replace(graph, label=None)
    with pytest.raises(InputError, match="1 of 2 graphs have label, expected all of them or none"):
        batch_graphs([graph, unlabelled], [encodings, encodings])
    narrow = dataclasses.replace(graph, node_features=graph.node_features[:, :2])
    with pytest.raises(InputError, match=r"node_features of the graphs have \[2, 11\] columns"):
        batch_graphs([graph, narrow], [encodings, encodings])
    with pytest.raises(InputError, match="graph 0 has 70 nodes and 10 edges, a pack holds 60"):
        pack_graphs([70], [10])
