"""`diffrender bench graph`: graphs a second, training step and inference, against PyG's GPSConv.

Ours is the whole step: masking, noise, 3D inputs and bias, denoising heads and their losses. The
peers are networks of GPSConv with the same widths, heads, layers and batch, a linear encoder and
the L1 loss alone: once around the same message passing, once around GINE, and once around GINE
with the width at which it has as many parameters. On molecules ours also runs block-sparse, at the
density whose accuracy `bench molecules` measures, and where the processor multiplies bfloat16 all
run once more under autocast. All take turns in one run. Time is the process's own on the
processor, which other programs of a busy machine disturb less than the clock's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import MissingExtraError
from diffrender.graph import (
    Graph,
    GraphBatch,
    GraphNetwork,
    GraphSettings,
    NoiseSettings,
    batch_graphs,
    encode_graph,
    graph_loss,
    pack_batch,
)
from diffrender.graph.meshes.examples import draw_car
from diffrender.graph.meshes.mesh_graph import batch_meshes
from diffrender.tools.bench_blocksparse_peers import multiplies
from diffrender.tools.bench_format import Report, Row, Target, spread
from diffrender.tools.bench_graph_peers import gps_network, width_of_equal_size

__all__ = ["bench_graph", "molecule_like_graphs"]

GOAL = 2.0
_SPARSITY = SparsityConfig(0.25, 16)


@dataclass(frozen=True)
class _Case:
    name: str
    batch: GraphBatch
    settings: GraphSettings
    sparsity: SparsityConfig | None = None  # measured beside dense layers
    half: bool = False  # measured under autocast to bfloat16 too


def bench_graph(*, quick: bool) -> Report:
    """Measure; `quick` takes small batches and two turns, within 50 s."""
    report = Report(rows=[])
    repeats = 2 if quick else 5
    for case in (_molecules(8 if quick else 32), _meshes(1 if quick else 2)):
        _measure(report, case, repeats)
    _packing(report, 64 if quick else 512)
    return report


def molecule_like_graphs(count: int, generator: torch.Generator) -> list[Graph]:
    """Random trees of 10 to 20 nodes with a ring closed now and then, random features."""
    settings, graphs = GraphSettings(), []
    for nodes in torch.randint(10, 21, (count,), generator=generator).tolist():
        bonds = [(int(torch.randint(i, (1,), generator=generator)), i) for i in range(1, nodes)]
        for a, b in torch.randint(nodes, (2, 2), generator=generator).tolist():
            if a != b and (a, b) not in bonds and (b, a) not in bonds:
                bonds.append((a, b))
        pairs = torch.tensor(bonds)
        kinds = _draw(settings.edge_vocabulary, len(pairs), generator)
        graphs.append(
            Graph(
                _draw(settings.node_vocabulary, nodes, generator),
                torch.cat([pairs, pairs.flip(1)]).T.contiguous(),
                torch.cat([kinds, kinds]),
                positions=2 * torch.randn(nodes, 3, generator=generator),
                label=torch.rand((), generator=generator),
            )
        )
    return graphs


def _draw(vocabulary: tuple[int, ...], rows: int, generator: torch.Generator) -> torch.Tensor:
    sizes = torch.tensor(vocabulary)
    return (torch.rand(rows, len(sizes), generator=generator) * sizes).long()


def _molecules(count: int) -> _Case:
    graphs = molecule_like_graphs(count, torch.Generator().manual_seed(0))
    batch = batch_graphs(graphs, [encode_graph(g) for g in graphs])
    name = f"{count} molecule-like graphs of 10 to 20 nodes"
    return _Case(name, batch, GraphSettings(), _SPARSITY, half=True)


def _meshes(count: int) -> _Case:
    generator = torch.Generator().manual_seed(0)
    cars = [draw_car(generator) for _ in range(count)]
    flat = batch_meshes([c[0] for c in cars], [c[1] for c in cars])
    assert flat.node_inputs is not None and flat.edge_inputs is not None
    own = flat.node_counts[0]
    edges = int(flat.edge_counts[0])
    graphs = [
        Graph(
            flat.node_features[:own],
            flat.edge_index[:, :edges],
            flat.edge_features[:edges],
            label=torch.zeros(()),
            node_inputs=part,
            edge_inputs=sides,
        )
        for part, sides in zip(
            flat.node_inputs.split(int(own)), flat.edge_inputs.split(edges), strict=True
        )
    ]
    settings = GraphSettings(
        node_width=64, edge_width=32, global_width=32, heads=8,
        node_vocabulary=(), edge_vocabulary=(), node_inputs=9, edge_inputs=4,
        noise=NoiseSettings(masking=(1.0, 0.0, 0.0), categories=0.0),
    )  # fmt: skip
    encodings = encode_graph(graphs[0])  # one topology
    batch = batch_graphs(graphs, [encodings] * count)
    return _Case(f"{count} meshes of {int(own)} vertices", batch, settings)


def _measure(report: Report, case: _Case, repeats: int) -> None:
    ours = GraphNetwork(case.settings)
    size = _parameters(ours)
    width = case.settings.node_width
    equal = width_of_equal_size(case.settings, size)
    peers = {
        "GPSConv, the same message passing": ("same", width),
        f"GPSConv, GINE, width {width}": ("GINE", width),
        f"GPSConv, GINE, width {equal}": ("GINE", equal),
    }
    networks: dict[str, nn.Module] = {}
    try:
        for name, (conv, channels) in peers.items():
            networks[name] = gps_network(case.settings, conv, channels)
    except MissingExtraError as error:
        report.rows.append(Row(case.name, f"peers left out: {error}", 0.0, "graphs/CPU s"))
    own = {"ours": ours}
    if case.sparsity is not None:
        sparse = GraphNetwork(replace(case.settings, sparsity=case.sparsity))
        own[f"ours, block-sparse {case.sparsity.density:g}"] = sparse
    named = {_title(n, p): p for n, p in networks.items()}
    mine = {_title(n, p): p for n, p in own.items()}
    batch = case.batch
    steps = {n: _our_step(p, case) for n, p in mine.items()}
    passes = {n: _our_inference(p, case) for n, p in mine.items()}
    peer_steps = {n: _peer_step(p, batch) for n, p in named.items()}
    peer_passes = {n: _peer_inference(p, batch) for n, p in named.items()}
    for what, ours_calls, peer_calls in (
        ("training step", steps, peer_steps),
        ("inference", passes, peer_passes),
    ):
        _take_turns(report, case, what, ours_calls, peer_calls, repeats)
        if case.half and multiplies(torch.bfloat16):
            ours_half = {n: _half(call) for n, call in ours_calls.items()}
            peers_half = {n: _half(call) for n, call in peer_calls.items()}
            _take_turns(report, case, f"{what} in bfloat16", ours_half, peers_half, repeats)


def _take_turns(
    report: Report,
    case: _Case,
    what: str,
    ours: dict[str, Callable[[], object]],
    peers: dict[str, Callable[[], object]],
    repeats: int,
) -> None:
    """Rows and goals of each of ours against each peer."""
    seconds = _seconds(ours | peers, repeats)
    rates = {n: [case.batch.graphs / s for s in taken] for n, taken in seconds.items()}
    median = {n: statistics.median(r) for n, r in rates.items()}
    unit = "graphs/CPU s"
    for name in ours:
        for peer in peers:
            ratio, label = median[name] / median[peer], f"{what}, {name}"
            row = Row(case.name, label, median[name], unit, spread(rates[name]), peer, ratio)
            report.rows.append(row)
            goal = f"{what}, {case.name}: {name} against {peer}"
            report.targets.append(Target(goal, f">= {GOAL:g}", ratio, ratio >= GOAL))
    for name in peers or ours:
        report.rows.append(
            Row(case.name, f"{what}, {name}", median[name], unit, spread(rates[name]))
        )


def _half(call: Callable[[], object]) -> Callable[[], object]:
    def under_autocast() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            call()

    return under_autocast


def _title(name: str, net: nn.Module) -> str:
    return f"{name}, {_parameters(net) / 1e6:.2f} million"


def _seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of each call per repeat, in turns; the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(1 + repeats):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def _parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def _our_step(net: GraphNetwork, case: _Case) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        net.zero_grad()
        graph_loss(net(case.batch, generator), case.batch, case.settings).total.backward()

    return step


def _our_inference(net: GraphNetwork, case: _Case) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            net(case.batch)

    return call


def _peer_step(net: nn.Module, batch: GraphBatch) -> Callable[[], object]:
    def step() -> None:
        net.train().zero_grad()
        (net(batch) - batch.labels).abs().mean().backward()

    return step


def _peer_inference(net: nn.Module, batch: GraphBatch) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            net.eval()(batch)

    return call


def _packing(report: Report, count: int) -> None:
    """How full streaming packs of the paper's size are, and what they cost against ragged rows."""
    graphs = molecule_like_graphs(count, torch.Generator().manual_seed(1))
    batch = batch_graphs(graphs, [encode_graph(g) for g in graphs])
    _, packing = pack_batch(batch)
    case = f"{count} molecule-like graphs in packs of 60 nodes, 120 edges, 8 graphs"
    for name, value in (
        ("nodes filled", packing.node_efficiency),
        ("edges filled", packing.edge_efficiency),
        ("graphs filled", packing.graph_efficiency),
    ):
        report.rows.append(Row(case, name, value, "share"))
    report.rows.append(Row(case, "graphs in a pack", packing.graphs_per_pack, "graphs"))
    small = graphs[:64]
    ragged = batch_graphs(small, [encode_graph(g) for g in small])
    packed, _ = pack_batch(ragged)
    net = GraphNetwork(replace(GraphSettings(), layers=1))
    calls: dict[str, Callable[[], object]] = {
        name: _our_inference(net, _Case("", own, net.settings))
        for name, own in (("ragged", ragged), ("packed", packed))
    }
    seconds = {n: statistics.median(s) for n, s in _seconds(calls, 3).items()}
    report.rows.append(
        Row(
            "64 molecule-like graphs, 1 layer",
            "inference by packs against ragged rows, the same numbers",
            64 / seconds["packed"],
            "graphs/CPU s",
            peer="ragged",
            ratio=seconds["ragged"] / seconds["packed"],
        )
    )
