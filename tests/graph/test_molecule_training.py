"""Training on molecules: schedule, order, resumption to the same bits, peers."""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from diffrender.errors import InputError
from diffrender.graph import (
    GraphNetwork,
    GraphSettings,
    GraphsSeen,
    GraphTrainer,
    GraphTrainSettings,
    LabelScale,
    LossWeights,
    Minutes,
    NoiseSettings,
    TrainingData,
    mean_error,
    predict_labels,
)
from diffrender.graph.molecules import (
    Baseline,
    BaselineSettings,
    GraphStore,
    MoleculeRow,
    feature_set,
    molecule_graphs,
    sized_like,
)
from diffrender.graph.molecules.shards import store_graphs
from diffrender.graph.training import batch_places

pytest.importorskip("rdkit")

SMALL = GraphSettings(layers=2, node_width=32, edge_width=16, global_width=8, heads=4)
CHAINS = [
    "C" * n + end for n in range(1, 9) for end in ("", "O", "N", "F", "=O", "C#N", "c1ccccc1")
]


def _store(features: str = "1") -> GraphStore:
    """The label is the number of heavy atoms that are not carbon, plus a tenth of all atoms."""
    rows = []
    for index, smiles in enumerate(CHAINS):
        letters = [c for c in smiles if c.isalpha()]
        label = sum(c in "ONF" for c in letters) + 0.1 * len(letters)
        rows.append(MoleculeRow(index, smiles, label, None))
    good, failures = molecule_graphs(rows, features)
    assert not failures
    chosen = feature_set(features)
    return store_graphs(good, (len(chosen.atoms), len(chosen.bonds)))


@pytest.fixture(scope="module")
def data() -> TrainingData:
    everything = list(range(len(CHAINS)))
    held = everything[3::5]
    return TrainingData(_store(), [i for i in everything if i not in held], held, "chains")


def _trainer(data: TrainingData, out: Path, settings: GraphTrainSettings) -> GraphTrainer:
    return GraphTrainer(lambda: GraphNetwork(SMALL), data, out, settings, SMALL, name="small")


SETTINGS = GraphTrainSettings(GraphsSeen(96), batch=16, every=32, seed=3)


def test_the_rate_rises_and_falls_in_lines() -> None:
    settings = GraphTrainSettings(GraphsSeen(1), rate=4e-4, warm_up=0.1)
    expected = {0.0: 0.0, 0.05: 2e-4, 0.1: 4e-4, 0.55: 2e-4, 1.0: 0.0}
    for share, rate in expected.items():
        assert settings.rate_at(share) == pytest.approx(rate, abs=1e-12)


def test_the_papers_schedule_by_epochs(data: TrainingData, tmp_path: Path) -> None:
    """lr(e) = lr e / 10 for e < 10, else lr (1 - (e - 10) / (E - 10)), of 100 epochs."""
    count = len(data.train)
    settings = GraphTrainSettings(GraphsSeen(100 * count), batch=count, schedule="epoch")
    trainer = _trainer(data, tmp_path, settings)
    for epoch in (0, 1, 9, 10, 55, 99):
        wanted = 4e-4 * (epoch / 10 if epoch < 10 else 1 - (epoch - 10) / 90)
        assert settings.rate_at(trainer._share(epoch)) == pytest.approx(wanted, abs=1e-12)


def test_every_epoch_shows_every_graph_once() -> None:
    seen = torch.cat([batch_places(10, 4, step, seed=1) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert len(batch_places(3, 8, 0, seed=1)) == 8
    assert batch_places(10, 4, 1, 2).tolist() != batch_places(10, 4, 1, 1).tolist()


def test_training_learns(data: TrainingData, tmp_path: Path) -> None:
    quiet = dataclasses.replace(SMALL, noise=NoiseSettings(masking=(1.0, 0.0, 0.0), categories=0.0))
    settings = GraphTrainSettings(GraphsSeen(4800), batch=48, every=2400, rate=3e-3)
    trainer = GraphTrainer(
        lambda: GraphNetwork(quiet), data, tmp_path, settings, quiet, name="quiet"
    )
    before = mean_error(trainer.net, data, data.valid, trainer.scale)
    assert trainer.run()
    labels = data.labels(data.valid)
    constant = float((labels - data.labels(data.train).median()).abs().mean())
    after = mean_error(trainer.net, data, data.valid, trainer.scale)
    assert after < 0.4 * constant and after < 0.4 * before
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["graphs"]) for row in rows] == [2400, 4800]
    assert float(rows[-1]["valid_error"]) == pytest.approx(after, rel=1e-5)


def test_a_killed_run_ends_with_the_same_bits(data: TrainingData, tmp_path: Path) -> None:
    whole = _trainer(data, tmp_path / "whole", SETTINGS)
    assert whole.run()
    first = _trainer(data, tmp_path / "cut", SETTINGS)
    assert not first.run(until=time.monotonic() - 1)  # stops after its first step
    assert 0 < first.spent < 1
    second = _trainer(data, tmp_path / "cut", SETTINGS)
    assert second.state.step == 1
    assert second.run()
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name]), name
    compared = 0
    for one, other in zip(whole.net.parameters(), second.net.parameters(), strict=True):
        moments, others = whole.optimizer.state[one], second.optimizer.state[other]
        assert set(moments) == set(
            others
        )  # nothing where the molecules' lack of 3D left no gradient
        compared += len(moments)
        assert all(torch.equal(value, others[name]) for name, value in moments.items())
    assert compared > 100
    third = _trainer(data, tmp_path / "other", dataclasses.replace(SETTINGS, seed=4))
    assert third.run()
    assert any(
        not torch.equal(value, third.net.state_dict()[name])
        for name, value in whole.net.state_dict().items()
    )


def test_a_run_goes_on_only_as_itself(data: TrainingData, tmp_path: Path) -> None:
    _trainer(data, tmp_path, SETTINGS).run()
    with pytest.raises(InputError, match="of a run with other settings"):
        _trainer(data, tmp_path, dataclasses.replace(SETTINGS, rate=1e-3))
    other = dataclasses.replace(data, name="others")
    with pytest.raises(InputError, match="of a run with other settings"):
        _trainer(other, tmp_path, SETTINGS)
    assert _trainer(data, tmp_path, SETTINGS).spent == 1


def test_gradients_are_clipped_one_by_one(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, clip=1e-3)
    trainer = _trainer(data, tmp_path, settings)
    trainer._step(0)
    norms = [float(p.grad.norm()) for p in trainer.net.parameters() if p.grad is not None]
    assert max(norms) <= 1e-3 * (1 + 1e-4)
    assert sum(norm > 0.99e-3 for norm in norms) > 5  # each on its own, not all together


def test_minutes_as_budget(data: TrainingData, tmp_path: Path) -> None:
    settings = GraphTrainSettings(Minutes(0.005), batch=8, every=10_000)
    trainer = _trainer(data, tmp_path, settings)
    assert trainer.run()
    assert trainer.state.seconds >= 0.3
    assert trainer.settings.rate_at(trainer._share(0)) == 0


def test_a_loss_that_is_not_finite(data: TrainingData, tmp_path: Path) -> None:
    trainer = _trainer(data, tmp_path, SETTINGS)
    with torch.no_grad():
        next(trainer.net.parameters()).fill_(math.nan)
    with pytest.raises(RuntimeError, match="the loss is nan at step 0"):
        trainer.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"rate": 2.0}, "rate 2.0"),
        ({"schedule": "cosine"}, "schedule is 'cosine'"),
        ({"clip": 0.0}, "clip 0.0"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GraphTrainSettings(GraphsSeen(1), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="budget of 0"):
        GraphsSeen(0)
    with pytest.raises(InputError, match="minutes"):
        Minutes(math.inf)


def test_data_that_cannot_be_used(data: TrainingData) -> None:
    with pytest.raises(InputError, match="0 to check on"):
        TrainingData(data.source, [1], [], "none")
    bare = store_graphs(molecule_graphs([MoleculeRow(0, "CC", None, None)])[0], (11, 3))
    with pytest.raises(InputError, match="1 graphs have no label"):
        TrainingData(bare, [0], [0], "bare")


def test_prediction_does_not_see_positions(data: TrainingData) -> None:
    torch.manual_seed(0)
    net = GraphNetwork(SMALL)
    plain, scale = predict_labels(net, data, [0, 1], LabelScale(2.0, 3.0)), LabelScale(0.0, 1.0)
    assert torch.allclose(plain, predict_labels(net, data, [0, 1], scale) * 3 + 2)

    class Moved:
        def graph(self, index: int):  # type: ignore[no-untyped-def]
            graph = data.source.graph(index)
            return dataclasses.replace(graph, positions=torch.randn(graph.nodes, 3))

        def encodings(self, index: int):  # type: ignore[no-untyped-def]
            return data.source.encodings(index)

        def label(self, index: int) -> float | None:
            return data.source.label(index)

    moved = dataclasses.replace(data, source=Moved())
    assert torch.equal(plain, predict_labels(net, moved, [0, 1], LabelScale(2.0, 3.0)))


@pytest.mark.parametrize("kind", ["gps", "gine"])
def test_the_peers_train_like_ours(kind: str, data: TrainingData, tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric")
    chosen = feature_set("1")

    def make(width: int) -> nn.Module:
        return Baseline(
            BaselineSettings(
                "gps" if kind == "gps" else "gine",
                chosen.node_vocabulary, chosen.edge_vocabulary,
                width=width, layers=2, heads=4,
            )
        )  # fmt: skip

    wanted = sum(p.numel() for p in GraphNetwork(SMALL).parameters())
    net = sized_like(make, wanted, step=4)
    count = sum(p.numel() for p in net.parameters())
    assert abs(count - wanted) < 0.1 * wanted
    settings = GraphTrainSettings(GraphsSeen(800), batch=32, every=800, rate=2e-3)
    trainer = GraphTrainer(lambda: net, data, tmp_path, settings, SMALL, name=kind)
    before = mean_error(trainer.net, data, data.train, trainer.scale)
    assert trainer.run()
    assert mean_error(trainer.net, data, data.train, trainer.scale) < before
    with pytest.raises(InputError, match="more than 10"):
        sized_like(make, 10, step=4)


def test_weights_of_the_loss_are_those_of_the_paper() -> None:
    assert GraphTrainSettings(GraphsSeen(1)).weights == LossWeights(1.0, 1.2, 1.2, 1.0)


def test_a_schedule_by_epochs_needs_two(data: TrainingData, tmp_path: Path) -> None:
    epoch = len(data.train)
    settings = GraphTrainSettings(GraphsSeen(2 * epoch - 1), batch=16, schedule="epoch")
    with pytest.raises(InputError, match=f"at least two epochs, {2 * epoch} graphs"):
        _trainer(data, tmp_path, settings)
    _trainer(data, tmp_path, dataclasses.replace(settings, budget=GraphsSeen(2 * epoch)))
