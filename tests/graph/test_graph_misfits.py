"""Inputs that do not fit each other are refused before a kernel reads past them; extreme ones."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from molecule_like import batch_of, molecule_like

from diffrender.errors import InputError
from diffrender.graph import (
    GraphNetwork,
    GraphSettings,
    GraphTrainSettings,
    Links,
    LossWeights,
    Minutes,
    NoiseSettings,
    PackSize,
    attend,
    batch_graphs,
    combine_predictions,
    edge_sum,
    encode_graph,
    link_sum,
    make_links,
    pack_graphs,
)
from diffrender.graph.attention import PairLayout
from diffrender.graph.dropout import keep_factors

SMALL = GraphSettings(
    layers=1, node_width=16, edge_width=8, global_width=8, heads=2, expansion=1, block="MPNN+FFN"
)


def test_links_of_other_integers_become_int64() -> None:
    sources, targets = torch.tensor([0, 2]), torch.tensor([0, 1])
    values = torch.arange(15.0).view(5, 3)
    found = link_sum(values, make_links(sources.int(), targets.to(torch.uint8), 5, 3))
    assert torch.equal(found, link_sum(values, make_links(sources, targets, 5, 3)))
    for wrong in (sources.double(), sources > 0):
        with pytest.raises(InputError, match=r"sources have dtype .*, expected integers"):
            make_links(wrong, targets, 5, 3)
    with pytest.raises(InputError, match=r"sources has shape \(1, 2\)"):
        make_links(sources[None], targets, 5, 3)
    ends = torch.tensor([0, 1, 2])
    with pytest.raises(InputError, match="expected torch.int64; build them with make_links"):
        Links(sources.int(), ends, targets, ends)
    with pytest.raises(InputError, match="expected one row of the same length"):
        Links(sources, ends, targets[:1], ends)


def test_sums_with_other_rows_than_the_links_are_refused() -> None:
    links = make_links(torch.tensor([0, 4]), torch.tensor([0, 1]), 5, 2)
    for shape in ((2, 3), (6, 3), (5,)):
        with pytest.raises(InputError, match=r"values has shape .*, expected \(5, \*\)"):
            link_sum(torch.ones(shape), links)


def test_edges_and_nodes_that_do_not_fit_are_refused() -> None:
    links = batch_of([3, 2]).links
    to = (links.to_receiver, links.to_sender)
    edges, nodes = torch.zeros(6, 3), torch.zeros(5, 3)
    assert edge_sum(edges, nodes, nodes, *to).shape == (6, 3)
    for broken, message in (
        ((edges, nodes[:1], nodes), r"at_receiver has shape \(1, 3\), expected \(5, 3\)"),
        ((edges, nodes, nodes[:, :1]), r"at_sender has shape \(5, 1\), expected \(5, 3\)"),
        ((torch.zeros(7, 3), nodes, nodes), r"\(7, 3\) and to_receiver has 6 links from 6 edges"),
        ((edges[:5], nodes, nodes), r"\(5, 3\) and to_receiver has 6 links from 6 edges"),
    ):
        with pytest.raises(InputError, match=message):
            edge_sum(*broken, *to)
    with pytest.raises(InputError, match="to_receiver has 5 links from 2 edges"):
        edge_sum(edges, nodes, nodes, links.nodes_to_graph.back, to[1])


def test_attention_of_other_shapes_than_the_layout_is_refused() -> None:
    layout = batch_of([3, 2]).layout
    qkv, bias = torch.zeros(5, 12), torch.zeros(13, 2)
    assert attend(qkv, bias, bias, layout, 2).shape == (5, 4)
    for broken, heads, message in (
        ((qkv[:2], None, None), 2, r"qkv has shape \(2, 12\), expected \(5, \*\)"),
        ((qkv, bias[:3], None), 2, r"bias has shape \(3, 2\), expected \(13, 2\)"),
        ((qkv, bias[:, :1], None), 2, r"bias has shape \(13, 1\), expected \(13, 2\)"),
        ((qkv, None, bias[:3]), 2, r"keep has shape \(3, 2\), expected \(13, 2\)"),
        ((qkv, None, None), 5, "qkv has 12 columns for 5 heads"),
        ((qkv, None, None), 0, "qkv has 12 columns for 0 heads"),
    ):
        with pytest.raises(InputError, match=message):
            attend(*broken, layout, heads)


def test_encodings_of_another_graph_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    graphs = [molecule_like(n, generator) for n in (3, 5)]
    encodings = [encode_graph(g) for g in graphs]
    with pytest.raises(InputError, match="graph 0 has 3 nodes, its encodings have degree"):
        batch_graphs(graphs, encodings[::-1])
    other = dataclasses.replace(encodings[1], distances=encodings[0].distances)
    with pytest.raises(InputError, match=r"graph 1 has 5 nodes, .* distances \(3, 3\)"):
        batch_graphs(graphs, [encodings[0], other])


def test_training_with_positions_asks_for_pairs_at_once() -> None:
    graph = molecule_like(4, torch.Generator().manual_seed(0))
    batch = batch_graphs([graph], [encode_graph(graph, distances=False)])
    network = GraphNetwork(SMALL)
    assert network(batch).prediction.isfinite().all()  # evaluation never shows positions
    for seed in range(8):  # whatever is drawn
        with pytest.raises(InputError, match="shows their positions by pairs of nodes"):
            network(batch, torch.Generator().manual_seed(seed))
    flat = dataclasses.replace(SMALL, noise=NoiseSettings(masking=(1, 0, 0)))
    assert GraphNetwork(flat)(batch, torch.Generator()).prediction.isfinite().all()


@pytest.mark.parametrize("rate", [0.999999, 0.99999])
def test_a_dropout_rate_just_below_one_drops(rate: float) -> None:
    found = keep_factors(torch.zeros(1), (1_000_000,), rate, torch.Generator().manual_seed(0))
    kept = int((found > 0).sum())
    assert 2 <= kept <= 40  # of 15 expected
    assert float(found.max()) == 65536.0


def test_the_spread_of_members_that_agree_has_no_gradient() -> None:
    for members in (torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0], [1.0, 4.0]])):
        members.requires_grad_()
        found = combine_predictions(members, [1.0] * len(members)).spread
        found.sum().backward()
        assert members.grad is not None and members.grad.isfinite().all()
        assert found[0] == 0 and members.grad[:, 0].abs().max() == 0
    assert found[1] == 1 and members.grad[:, 1].tolist() == [-0.5, 0.5]


def test_a_sign_that_is_kept_in_a_bit_is_read() -> None:
    links = make_links(torch.tensor([0, 2]), torch.tensor([0, 1]), 5, 2)
    values = torch.rand(5, 3)
    assert torch.equal(link_sum(torch._neg_view(values), links), -link_sum(values, links))


def test_indices_that_do_not_lie_in_a_row_are_read_right() -> None:
    links = make_links(torch.tensor([0, 1, 2, 3]), torch.tensor([1, 2, 0, 3]), 4, 4)
    both = torch.stack([links.rows, links.back_rows], 1)
    values = torch.rand(4, 2)
    found = link_sum(values, Links(both[:, 0], links.offsets, both[:, 1], links.back_offsets))
    assert torch.equal(found, link_sum(values, links))
    with pytest.raises(InputError, match=r"links have offsets \(\), expected one row"):
        Links(links.rows, torch.tensor(0), links.back_rows, links.back_offsets)
    layout, qkv = batch_of([3, 2]).layout, torch.rand(5, 12)
    ends = torch.stack([layout.node_offsets, layout.pair_offsets], 1)
    again = PairLayout(ends[:, 0], ends[:, 1])
    assert torch.equal(attend(qkv, None, None, again, 2), attend(qkv, None, None, layout, 2))
    for wrong in (ends[:, 0].int(), ends[:2, 0], ends):
        with pytest.raises(InputError, match=r"expected two rows of torch.int64"):
            PairLayout(wrong, layout.pair_offsets)


def test_packs_without_a_place_are_refused() -> None:
    for wrong in ({"nodes": 0}, {"graphs": 0}, {"edges": -1}):
        with pytest.raises(InputError, match="expected at least 1 node, 0 edges and 1 graph"):
            PackSize(**wrong)
    packing = pack_graphs([1, 1], [0, 0], PackSize(4, 0, 2))
    assert packing.packs == ((0, 1),)
    assert packing.edge_efficiency == 1


def test_whole_numbers_and_tensors_of_weights_make_an_ensemble() -> None:
    members, weights = torch.tensor([[1, 4], [3, 4]]), [1.0, 3.0]
    wanted = combine_predictions(members.float(), weights)
    for found in (
        combine_predictions(members, weights),
        combine_predictions(members.float(), torch.tensor(weights)),
    ):
        assert torch.equal(found.value, wanted.value) and torch.equal(found.spread, wanted.spread)
    with pytest.raises(InputError, match="expected real numbers"):
        combine_predictions(members * 1j, weights)


def test_numbers_that_are_none_are_no_settings_and_no_agreement() -> None:
    for broken in (
        {"masking": (float("nan"), 1.0, 1.0)},
        {"masking": (float("inf"), 1.0, 1.0)},
        {"coordinates": float("nan")},
        {"categories": float("nan")},
    ):
        with pytest.raises(InputError, match="expected a"):
            NoiseSettings(**broken)
    told = combine_predictions(torch.tensor([[1.0, 2.0], [float("nan"), 2.0]]), [1.0, 1.0])
    assert bool(torch.isnan(told.spread[0]))
    assert float(told.spread[1]) == 0.0
    with pytest.raises(InputError, match="not of Minutes"):
        GraphTrainSettings(Minutes(1.0), schedule="epoch")


@pytest.mark.parametrize(
    ("name", "value"),
    [("layers", 2.0), ("heads", 0), ("expansion", 0.5), ("edge_inputs", -1), ("node_inputs", 1.5)],
)
def test_numbers_of_a_network_are_whole(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"GraphSettings.{name} is {value}, expected a whole"):
        dataclasses.replace(SMALL, **{name: value})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_and_weights_are_numbers(value: float) -> None:
    with pytest.raises(InputError, match="distance_scale is"):
        dataclasses.replace(SMALL, distance_scale=value)
    if value:
        with pytest.raises(InputError, match="LossWeights.nodes is"):
            LossWeights(nodes=value)
