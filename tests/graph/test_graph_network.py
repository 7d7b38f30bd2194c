"""The network: published sizes, fast and plain forms, masking, noise, packs, losses."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from molecule_like import EDGE_VOCABULARY, NODE_VOCABULARY, batch_of, molecule_like

from diffrender.blocksparse import SparsityConfig, sparsify_
from diffrender.blocksparse.layers import SparseLinear
from diffrender.errors import InputError
from diffrender.graph import (
    Dropouts,
    GraphNetwork,
    GraphSettings,
    NoiseSettings,
    PackSize,
    batch_graphs,
    encode_graph,
    graph_loss,
    pack_batch,
)
from diffrender.graph.block import Block, GraphState
from diffrender.graph.dropout import keep_factors
from diffrender.graph.input_encoders import _kinds
from diffrender.graph.masking import clean_inputs, corrupt_inputs

SIZES = [6, 3, 9, 1, 6]
TINY = GraphSettings(layers=2, node_width=32, edge_width=16, global_width=16, heads=4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("layers", "count"), [(4, 11_538_517), (8, 22_456_149), (16, 44_291_413)])
def test_published_numbers_of_parameters(layers: int, count: int) -> None:
    settings = GraphSettings(layers=layers)
    assert sum(settings.node_vocabulary) == 203
    assert sum(settings.edge_vocabulary) == 13
    net = GraphNetwork(settings)
    assert sum(p.numel() for p in net.parameters()) == count


def test_numbers_of_parameters_of_the_parts() -> None:
    block = Block(GraphSettings(), 0)
    passing = block.passing
    parts = (passing.node_mlp, passing.edge_mlp, passing.global_mlp)
    counts = [sum(p.numel() for p in part.parameters()) for part in (*parts, block)]
    assert counts == [1_379_584, 427_648, 131_904, 2_729_408]


@pytest.mark.parametrize("symmetric", [True, False])
def test_split_products_equal_the_plain_form(symmetric: bool) -> None:
    graph = molecule_like(7, seeded())
    if not symmetric:
        kept = torch.arange(graph.edges - 2)
        graph = dataclasses.replace(
            graph, edge_index=graph.edge_index[:, kept], edge_features=graph.edge_features[kept]
        )
    batch = batch_graphs([graph, graph], [encode_graph(graph)] * 2)
    assert batch.links.symmetric == symmetric
    passing = Block(TINY, 0).passing.double()
    shapes = ((14, 32), (len(batch.edge_graph), 16), (2, 16))
    values = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    state = GraphState(*values)
    for split, plain in (
        (passing.split_edges, passing.plain_edges),
        (passing.split_nodes, passing.plain_nodes),
    ):
        found, expected = split(state, batch), plain(state, batch)
        torch.testing.assert_close(found, expected)
        leaves = [*values, *passing.parameters()]
        up = torch.randn_like(found)
        grads = [
            torch.autograd.grad(out, leaves, up, allow_unused=True, retain_graph=True)
            for out in (found, expected)
        ]
        for a, b in zip(*grads, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b)


@pytest.mark.parametrize("block", ["MPNN", "MHSA", "MPNN+FFN", "MHSA+FFN", "MPNN+MHSA", "FFN"])
@pytest.mark.parametrize("variant", ["code", "report"])
def test_any_join_of_parts_trains(block: str, variant: str) -> None:
    net = GraphNetwork(dataclasses.replace(TINY, block=block, variant=variant))
    batch = batch_of(SIZES)
    loss = graph_loss(net(batch, seeded()), batch, net.settings)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    names = {n.split(".")[3] for n, _ in net.named_parameters() if n.startswith("trunk.blocks")}
    assert names == {
        {"MPNN": "passing", "MHSA": "attention", "FFN": "feed_forward"}[p] for p in block.split("+")
    }


def test_gradcheck_of_a_block() -> None:
    settings = dataclasses.replace(TINY, node_width=8, edge_width=4, global_width=4, heads=2)
    batch = batch_of([3, 2])
    block = Block(dataclasses.replace(settings, expansion=2), 0).double()
    state = [
        torch.randn(s, dtype=torch.float64, requires_grad=True)
        for s in ((5, 8), (len(batch.edge_graph), 4), (2, 4), (batch.layout.count, 2))
    ]

    def run(nodes, edges, whole, bias):
        after = block(GraphState(nodes, edges, whole), bias, batch)
        return after.nodes, after.edges, after.globals

    assert torch.autograd.gradcheck(run, state)


def test_a_graph_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    net = GraphNetwork(TINY)
    generator = seeded()
    graphs = [molecule_like(n, generator) for n in SIZES]
    encodings = [encode_graph(g) for g in graphs]
    together = net(batch_graphs(graphs, encodings)).prediction
    alone = [net(batch_graphs([g], [e])).prediction for g, e in zip(graphs, encodings, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-6)


def test_packed_and_ragged_are_the_same_even_with_hop_distances_hidden() -> None:
    noise = NoiseSettings(masking=(0.0, 1.0, 0.0))
    net = GraphNetwork(dataclasses.replace(TINY, noise=noise))
    batch = batch_of(SIZES)
    packed, _ = pack_batch(batch, PackSize(20, 60, 4))
    for generators in ((None, None), (seeded(), seeded())):
        ragged, packs = net(batch, generators[0]), net(packed, generators[1])
        torch.testing.assert_close(packs.prediction, ragged.prediction, rtol=1e-5, atol=1e-6)
    assert ragged.inputs.show_topology.tolist() == [0.0] * 5


def test_no_graph_of_a_pack_reaches_another() -> None:
    """The gradient of one graph's prediction with respect to the others' inputs is exactly 0."""
    noise = NoiseSettings(masking=(0.0, 1.0, 0.0), categories=0.0)
    net = GraphNetwork(dataclasses.replace(TINY, noise=noise, dropouts=Dropouts(depth=0.0)))
    packed, packing = pack_batch(batch_of(SIZES), PackSize(30, 80, 8))
    assert len(packing.packs) == 1
    inputs = corrupt_inputs(packed, net.settings, seeded())
    positions = inputs.positions.clone().requires_grad_()
    inputs = dataclasses.replace(inputs, positions=positions)
    nodes = net.trunk(packed, inputs, None).nodes
    (grad,) = torch.autograd.grad(nodes[:6].square().sum(), positions)
    assert grad[:6].abs().max() > 0
    assert grad[6:].abs().max() == 0


def test_convention_evaluation_hides_positions_and_draws_nothing() -> None:
    net = GraphNetwork(TINY)
    batch = batch_of(SIZES)
    elsewhere = dataclasses.replace(batch, positions=batch.positions * 3)
    state = torch.get_rng_state()
    first = net(batch).prediction
    assert torch.equal(first, net(elsewhere).prediction)
    assert torch.equal(first, net.train()(batch).prediction)
    assert torch.equal(state, torch.get_rng_state())
    assert net(batch).node_logits is None


def test_training_is_reproducible_and_draws_from_its_generator_alone() -> None:
    net = GraphNetwork(TINY)
    batch = batch_of(SIZES)
    state = torch.get_rng_state()
    first, again, other = (net(batch, seeded(s)).prediction for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_masking_ratio_and_missing_conformers() -> None:
    batch = batch_of([1] * 2000)
    inputs = corrupt_inputs(batch, GraphSettings(), seeded())
    hidden_3d = (inputs.show_positions == 0).float().mean().item()
    hidden_hops = (inputs.show_topology == 0).float().mean().item()
    assert hidden_3d == pytest.approx(0.2, abs=0.03)
    assert hidden_hops == pytest.approx(0.6, abs=0.04)
    assert not ((inputs.show_positions == 0) & (inputs.show_topology == 0)).any()
    without = batch_of([3] * 5, positions=False)
    inputs = corrupt_inputs(without, GraphSettings(), seeded())
    assert inputs.show_positions.tolist() == [0.0] * 5
    assert inputs.positions is None


def test_categorical_noise_has_its_rate_and_stays_in_the_vocabulary() -> None:
    batch = batch_of([20] * 60)
    settings = GraphSettings(noise=NoiseSettings(categories=0.3))
    inputs = corrupt_inputs(batch, settings, seeded())
    for noisy, clean, vocabulary in (
        (inputs.node_features, batch.node_features, NODE_VOCABULARY),
        (inputs.edge_features, batch.edge_features, EDGE_VOCABULARY),
    ):
        changed = (noisy != clean).double().mean(0)
        sizes = torch.tensor(vocabulary, dtype=torch.float64)
        torch.testing.assert_close(changed, 0.3 * (1 - 1 / sizes), atol=0.05, rtol=0)
        assert (noisy < torch.tensor(vocabulary)).all()
    assert set(inputs.signs.unique().tolist()) == {-1.0, 1.0}


def test_loss_is_what_the_paper_says() -> None:
    net = GraphNetwork(TINY)
    batch = batch_of(SIZES)
    output = net(batch, seeded())
    loss = graph_loss(output, batch, TINY, label_mean=5.0, label_std=2.0)
    expected = (output.prediction - (batch.labels - 5) / 2).abs().mean()
    torch.testing.assert_close(loss.label, expected)
    logits = torch.log_softmax(output.node_logits[:, :119], 1)
    first = -logits.gather(1, batch.node_features[:, :1]).mean()
    only_first = dataclasses.replace(TINY, node_vocabulary=(119, 84))
    cut = dataclasses.replace(batch, node_features=batch.node_features[:, [0, 0]] * 0)
    cut.node_features[:, 0] = batch.node_features[:, 0]
    rest = -torch.log_softmax(output.node_logits[:, 119:], 1)[:, 0].mean()
    found = graph_loss(output, cut, only_first)
    torch.testing.assert_close(found.nodes, (first + rest) / 2)
    torch.testing.assert_close(loss.total, loss.label + 1.2 * loss.nodes + 1.2 * loss.edges)


def test_coordinate_denoising_turns_with_the_molecule() -> None:
    noise = NoiseSettings(masking=(0.0, 0.0, 1.0), coordinates=0.1)
    settings = dataclasses.replace(TINY, noise=noise)
    net = GraphNetwork(settings)
    batch = batch_of(SIZES)
    inputs = corrupt_inputs(batch, settings, seeded())
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    turned = dataclasses.replace(inputs, positions=inputs.positions @ turn.T)
    shifts = [net._shift(net.trunk(batch, i, None), batch, i) for i in (inputs, turned)]
    torch.testing.assert_close(shifts[1], shifts[0] @ turn.T, rtol=1e-4, atol=1e-5)
    loss = graph_loss(net(batch, seeded()), batch, settings)
    assert loss.coordinates > 0
    loss.total.backward()


def test_sparse_layers_in_the_blocks() -> None:
    config = SparsityConfig(density=0.5, block_size=8)
    net = GraphNetwork(dataclasses.replace(TINY, sparsity=config))
    sparse = [m for m in net.modules() if isinstance(m, SparseLinear)]
    assert len(sparse) == 2 * 8 + 2  # edge, node, attention, FFN in both layers, globals in one
    batch = batch_of(SIZES)
    graph_loss(net(batch, seeded()), batch, net.settings).total.backward()
    # With all blocks stored the numbers are the dense network's.
    dense = GraphNetwork(TINY)
    full = copy.deepcopy(dense)
    sparsify_(full.trunk.blocks, dataclasses.replace(config, density=1.0))
    expected = dense(batch).prediction
    torch.testing.assert_close(full(batch).prediction, expected, rtol=1e-4, atol=1e-5)


def test_networks_without_positions_or_denoising_are_smaller() -> None:
    net = GraphNetwork(dataclasses.replace(TINY, noise=NoiseSettings((1, 0, 0), categories=0.0)))
    names = [n for n, _ in net.named_parameters()]
    assert not [n for n in names if "kernel" in n or "centrality" in n or "head" in n]
    batch = batch_of(SIZES, positions=False)
    graph_loss(net(batch, seeded()), batch, net.settings).total.backward()


def test_broken_batches_and_settings_are_refused() -> None:
    net = GraphNetwork(TINY)
    batch = batch_of(SIZES)
    wild = dataclasses.replace(batch, node_features=batch.node_features + 119)
    with pytest.raises(InputError, match=r"node_features column 0 holds category \d+, expected 0"):
        net(wild)
    with pytest.raises(InputError, match="node_inputs have 2 columns, the network expects 0"):
        net(dataclasses.replace(batch, node_inputs=torch.zeros(25, 2)))
    with pytest.raises(InputError, match="encode them with distances=True"):
        net(dataclasses.replace(batch, layout=None))
    with pytest.raises(InputError, match="the batch has no labels"):
        graph_loss(net(batch), dataclasses.replace(batch, labels=None), TINY)
    with pytest.raises(InputError, match="expected parts out of MPNN, MHSA, FFN in this order"):
        GraphSettings(block="FFN+MPNN")
    with pytest.raises(InputError, match="node_width 256 is not a multiple of the 7 heads"):
        GraphSettings(heads=7)
    with pytest.raises(InputError, match="masking is"):
        NoiseSettings(masking=(0.0, 0.0, 0.0))


def test_clean_inputs_are_the_batch() -> None:
    batch = batch_of(SIZES)
    inputs = clean_inputs(batch)
    assert torch.equal(inputs.node_features, batch.node_features)
    assert inputs.show_positions.sum() == 0
    assert inputs.show_topology.sum() == 5


@pytest.mark.parametrize("rate", [0.0035, 0.3, 0.5])
def test_dropout_has_its_rate_and_keeps_the_mean(rate: float) -> None:
    found = keep_factors(torch.zeros(1), (100_001, 3), rate, seeded())
    assert found.shape == (100_001, 3)
    assert (found == 0).double().mean().item() == pytest.approx(rate, abs=4e-3)
    assert found.mean().item() == pytest.approx(1.0, abs=6e-3)
    # No draw follows from its neighbours in the same word.
    kept = (found[:100_000].flatten() > 0).double()
    apart = kept[:-1] * kept[1:]
    assert apart.mean().item() == pytest.approx((1 - rate) ** 2, abs=6e-3)


@pytest.mark.parametrize("vocabulary", [(5, 3, 2), (2**40, 2**40), (7,)])
def test_rows_of_one_kind_are_found_in_order(vocabulary: tuple[int, ...]) -> None:
    drawn = torch.rand(40, len(vocabulary), generator=seeded()) * torch.tensor(vocabulary).clamp(
        max=4
    )
    rows = drawn.long()
    rows[0] = torch.tensor(vocabulary) - 1  # the largest there can be
    kinds, kind = _kinds(rows, vocabulary)
    expected, inverse = torch.unique(rows, dim=0, return_inverse=True)
    assert torch.equal(kinds, expected)
    assert torch.equal(kind, inverse)
