"""The networks that `diffrender bench molecules` compares, and one run of one of them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffrender._files import write_text_atomic
from diffrender._training import is_late
from diffrender.errors import InputError
from diffrender.tools.bench_format import cpu_model

if TYPE_CHECKING:
    from torch import nn

    from diffrender.graph import GraphSettings, GraphTrainSettings, TrainingData

__all__ = ["CASES", "OURS", "SIZES", "Outcome", "read_outcome", "run_case"]

OURS = "GPS++"
CASES = (
    OURS,
    "GPS++ without attention",
    "GPS++ without 3D",
    "GPS++ without denoising",
    "GPS++ block-sparse 1/4",
    "PyG GPSConv",
    "PyG GINE",
)
# Node, edge and global width, and heads of width 8: the published network, parts of its width, and
# one for trials.
SIZES = {
    "full": (256, 128, 64, 32),
    "half": (128, 64, 32, 16),
    "quarter": (64, 32, 16, 8),
    "tiny": (32, 16, 8, 4),
}
_BASELINE_LAYERS = 10


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        case, seed: what it was of.
        error: mean absolute error on the held-out scaffolds, eV.
        train_error: the same on as many molecules that it learned from, 3D hidden too.
        seconds: processor time of the training steps.
        graphs: seen.
        parameters: of the network.
        cpu, threads: where it ran.
    """

    case: str
    seed: int
    error: float
    train_error: float
    seconds: float
    graphs: int
    parameters: int
    cpu: str
    threads: int


def run_case(
    case: str,
    size: str,
    data: TrainingData,
    settings: GraphTrainSettings,
    folder: Path,
    until: float | None = None,
) -> Outcome | None:
    """Train one network, or go on with it, and keep its outcome in FOLDER/outcome.json.

    Returns:
        None where `until`, a `time.monotonic()`, came first, and the same call goes on; or where
        another process is at it.
    """
    done = folder / "outcome.json"
    if done.is_file():
        return read_outcome(done)
    if is_late(until):
        return None
    with _claimed(folder) as ours:
        return _train(case, size, data, settings, folder, until) if ours else None


def _train(
    case: str,
    size: str,
    data: TrainingData,
    settings: GraphTrainSettings,
    folder: Path,
    until: float | None,
) -> Outcome | None:
    import torch

    from diffrender.graph import GraphTrainer, mean_error

    network = _network(case, size)
    trainer = GraphTrainer(
        lambda: _make(case, size, network), data, folder, settings, network, name=f"{case} {size}"
    )
    if not trainer.run(until):
        return None
    some = data.train[:: max(1, len(data.train) // len(data.valid))][: len(data.valid)]
    outcome = Outcome(
        case,
        settings.seed,
        error=mean_error(trainer.net, data, data.valid, trainer.scale),
        train_error=mean_error(trainer.net, data, some, trainer.scale),
        seconds=trainer.cpu_seconds,
        graphs=trainer.state.step * settings.batch,
        parameters=sum(p.numel() for p in trainer.net.parameters()),
        cpu=cpu_model(),
        threads=torch.get_num_threads(),
    )
    write_text_atomic(
        folder / "outcome.json", json.dumps(dataclasses.asdict(outcome), indent=2) + "\n"
    )
    return outcome


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether this process alone works in the folder; the claim ends with the process."""
    try:
        import fcntl
    except ImportError:  # Windows: one process at a time is the user's matter
        yield True
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def read_outcome(path: Path) -> Outcome:
    """The outcome of a finished run.

    Raises:
        InputError: not such a file.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        return Outcome(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: not an outcome ({error}); delete it to run it again") from error


def _network(case: str, size: str) -> GraphSettings:
    """Settings of ours; of PyG's networks what the loss asks for: vocabularies."""
    from diffrender.blocksparse import SparsityConfig
    from diffrender.graph import GraphSettings, NoiseSettings

    node, edge, shared, heads = SIZES[size]
    plain = GraphSettings(node_width=node, edge_width=edge, global_width=shared, heads=heads)
    if case == "GPS++ without attention":
        return dataclasses.replace(plain, block="MPNN+FFN")
    if case == "GPS++ without 3D":
        return dataclasses.replace(plain, noise=NoiseSettings(masking=(1.0, 0.0, 0.0)))
    if case == "GPS++ without denoising":
        return dataclasses.replace(plain, noise=NoiseSettings(categories=0.0))
    if case == "GPS++ block-sparse 1/4":
        return dataclasses.replace(plain, sparsity=SparsityConfig(0.25, 16))
    return plain


def _make(case: str, size: str, network: GraphSettings) -> nn.Module:
    from diffrender.graph import GraphNetwork
    from diffrender.graph.molecules import Baseline, BaselineSettings, sized_like

    if not case.startswith("PyG"):
        return GraphNetwork(network)
    wanted = sum(p.numel() for p in GraphNetwork(_network(OURS, size)).parameters())

    def baseline(width: int) -> nn.Module:
        return Baseline(
            BaselineSettings(
                "gps" if case == "PyG GPSConv" else "gine",
                network.node_vocabulary,
                network.edge_vocabulary,
                width=width,
                layers=_BASELINE_LAYERS,
            )
        )

    return sized_like(baseline, wanted, step=8)
