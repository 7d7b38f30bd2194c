"""Train a network on graphs: steps, checkpoints, log; the same bits in every run of a seed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from diffrender._checkpoint import Checkpoint
from diffrender._seeds import stream, stream_seed
from diffrender._training import (
    Report,
    RunFolder,
    check_finite,
    epoch_places,
    is_late,
    set_rate,
)
from diffrender.errors import InputError
from diffrender.graph.batching import GraphBatch, batch_graphs
from diffrender.graph.graphs import Graph, GraphEncodings
from diffrender.graph.losses import graph_loss
from diffrender.graph.settings import GraphSettings
from diffrender.graph.training_settings import GraphsSeen, GraphTrainSettings

__all__ = [
    "GraphSource",
    "GraphTrainer",
    "LabelScale",
    "TrainingData",
    "mean_error",
    "predict_labels",
]


class GraphSource(Protocol):
    """Graphs with their encodings, by number."""

    def graph(self, index: int) -> Graph:
        """One graph."""

    def encodings(self, index: int) -> GraphEncodings:
        """Its encodings."""

    def label(self, index: int) -> float | None:
        """Its label alone, without the graph."""


@dataclass(frozen=True)
class LabelScale:
    """Mean and standard deviation of the labels learned from: the network's unit."""

    mean: float
    std: float


@dataclass(frozen=True)
class TrainingData:
    """Attributes:
    source: of all graphs.
    train, valid: numbers of the graphs to learn from, and to check on.
    name: says what they are; a run goes on only with the same.

    Raises:
        InputError: either is empty, or a graph to learn from has no label.
    """

    source: GraphSource
    train: Sequence[int]
    valid: Sequence[int]
    name: str

    def __post_init__(self) -> None:
        if not self.train or not self.valid:
            raise InputError(
                f"{len(self.train)} graphs to learn from and {len(self.valid)} to check on, "
                "expected at least one of each"
            )
        self.labels(self.train)

    def labels(self, indices: Sequence[int]) -> Tensor:
        """(len(indices),) float64 labels of graphs.

        Raises:
            InputError: one of them has none.
        """
        found = [self.source.label(index) for index in indices]
        missing = [i for i, label in zip(indices, found, strict=True) if label is None]
        if missing:
            raise InputError(f"{len(missing)} graphs have no label, the first is {missing[0]}")
        return torch.tensor(found, dtype=torch.float64)

    def batch(self, indices: Sequence[int]) -> GraphBatch:
        """Graphs as one batch."""
        graphs = [self.source.graph(index) for index in indices]
        return batch_graphs(graphs, [self.source.encodings(index) for index in indices])


class GraphTrainer:
    """A run in a folder; an interrupted one goes on from its last checkpoint, to the same end.

    OUT/checkpoint.safetensors, OUT/log.csv and, if asked for, TensorBoard events under OUT/board.
    Every random draw is made from (seed, step), so a run of `GraphsSeen` that was killed ends with
    the same bits as one that was not (on one machine and number of threads).

    Args:
        make: makes the network: a module from (batch, generator) to `GraphOutput`, such as
            `GraphNetwork`. It is called after torch's generator is seeded.
        network: settings of the network, for the loss.
        data: what to learn from and what to check on.
        out: the run's folder.
        settings: of training.
        name: says what network it is; a run goes on only with the same.
        board: write TensorBoard events.

    Raises:
        InputError: a graph without a label, the folder holds another run, or a budget of less
            than two epochs with the schedule "epoch".
        MissingExtraError: `board` without TensorBoard.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        data: TrainingData,
        out: Path,
        settings: GraphTrainSettings,
        network: GraphSettings,
        *,
        name: str,
        board: bool = False,
    ) -> None:
        epoch, budget = len(data.train), settings.budget
        if settings.schedule == "epoch" and budget.count < 2 * epoch:
            raise InputError(
                f"the schedule 'epoch', whose first epoch has the rate 0, needs a budget of at "
                f"least two epochs, {2 * epoch} graphs; it is {budget}"
            )
        self.data, self.settings, self.network = data, settings, network
        labels = data.labels(data.train)
        self.scale = LabelScale(float(labels.mean()), float(labels.std(unbiased=False)) or 1.0)
        torch.manual_seed(settings.seed)
        self.net = make().train()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=settings.rate, fused=True)
        identity = [name, data.name, len(data.train), len(data.valid)]
        identity.append(json.dumps(dataclasses.asdict(settings), sort_keys=True))
        self._run = RunFolder(
            out, json.dumps(identity), {"net": self.net}, self.optimizer, board=board
        )
        rows = self.state.rows
        self._busy = rows[-1]["cpu_seconds"] if rows else 0.0

    @property
    def state(self) -> Checkpoint:
        """Steps, seconds and rows so far."""
        return self._run.state

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all steps on a CPU, which a machine's other work does not lengthen."""
        return self._busy

    @property
    def checkpoint(self) -> Path:
        """The file that a run goes on from."""
        return self._run.checkpoint

    @property
    def spent(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        budget = self.settings.budget
        if isinstance(budget, GraphsSeen):
            return min(1.0, self.state.step / self._steps(budget))
        return min(1.0, self.state.seconds / (60 * budget.count))

    def run(self, until: float | None = None, report: Report | None = None) -> bool:
        """Train to the end; True when it is reached.

        Args:
            until: `time.monotonic()` after which the run stops at a checkpoint; the same call goes
                on from there.
            report: called with every row of the log.

        Raises:
            RuntimeError: the loss is not finite.
        """
        every = max(1, round(self.settings.every / self.settings.batch))
        while self.spent < 1:
            begin, busy = time.perf_counter(), time.process_time()
            self._run.count(self._step(self.state.step))
            self.state.seconds += time.perf_counter() - begin
            self._busy += time.process_time() - busy
            late = is_late(until)
            if self.state.step % every == 0 or self.spent >= 1 or late:
                self._save(report)
            if late:
                break
        self._run.close()
        return self.spent >= 1

    def _steps(self, budget: GraphsSeen) -> int:
        return -(-budget.count // self.settings.batch)

    def _step(self, step: int) -> dict[str, float]:
        """One gradient step; returns what the log averages."""
        settings = self.settings
        rate = settings.rate_at(self._share(step))
        set_rate(self.optimizer, rate)
        torch.manual_seed(stream_seed(settings.seed, 2 * step + 1))  # of dropout
        places = batch_places(len(self.data.train), settings.batch, step, settings.seed)
        batch = self.data.batch([self.data.train[place] for place in places.tolist()])
        output = self.net(batch, stream(settings.seed, 2 * step))
        loss = graph_loss(
            output, batch, self.network, settings.weights, self.scale.mean, self.scale.std
        )
        check_finite(loss.total, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        for parameter in self.net.parameters():
            if parameter.grad is not None:
                nn.utils.clip_grad_norm_([parameter], settings.clip)
        self.optimizer.step()
        values = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
        return {"rate": rate} | {name: float(value.detach()) for name, value in values.items()}

    def _share(self, step: int) -> float:
        """Of the budget, as the schedule counts it."""
        budget, epoch = self.settings.budget, len(self.data.train)
        if not isinstance(budget, GraphsSeen):
            return self.spent
        if self.settings.schedule == "epoch":
            return step * self.settings.batch // epoch / max(1, round(budget.count / epoch))
        return (step + 0.5) / self._steps(budget)

    def _save(self, report: Report | None) -> None:
        error = mean_error(self.net, self.data, self.data.valid, self.scale)
        row = {"graphs": float(self.state.step * self.settings.batch)}
        row |= {"step": float(self.state.step), "seconds": self.state.seconds}
        row |= {"cpu_seconds": self._busy} | self._run.means()
        self._run.save(row | {"valid_error": error}, 7, report)


def predict_labels(
    net: nn.Module,
    data: TrainingData,
    indices: Sequence[int],
    scale: LabelScale,
    *,
    batch: int = 256,
) -> Tensor:
    """(len(indices),) float64 labels as the network predicts them, un-normalised.

    The network is put into evaluation meanwhile, where it sees no positions and draws nothing.
    """
    was_training = net.training
    net.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(indices), batch):
            some = data.batch(list(indices[start : start + batch]))
            parts.append(net(some, None).prediction.double())
    net.train(was_training)
    return torch.cat(parts) * scale.std + scale.mean


def mean_error(
    net: nn.Module, data: TrainingData, indices: Sequence[int], scale: LabelScale
) -> float:
    """Mean absolute error of the prediction in the label's unit."""
    found = predict_labels(net, data, indices, scale)
    return float((found - data.labels(indices)).abs().mean())


def batch_places(count: int, batch: int, step: int, seed: int) -> Tensor:
    """(batch,) places of a step among `count`: every epoch is a new order, run without gaps."""
    return epoch_places(count, batch, step, lambda epoch: stream(seed, -1 - epoch))
