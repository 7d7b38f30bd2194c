"""`diffrender train molecules`: the GPS++ network on a folder in PCQM4Mv2's layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffrender.errors import InputError
from diffrender.tools.console import guarded, note, out
from diffrender.tools.given import check_places, path_of, refuse_empty
from diffrender.tools.train_options import Out, Pause, Tensorboard, board_ready, deadline

if TYPE_CHECKING:
    from diffrender.graph import GraphsSeen, Minutes
    from diffrender.graph.molecules import Failure

__all__ = ["molecules"]

_MANY = 4_000_000  # molecules, as PCQM4Mv2 has


@guarded
def molecules(
    data: Annotated[
        Path,
        typer.Option(
            "--data", metavar="DIR", parser=path_of("--data"), help="PCQM4Mv2, or a set of our own."
        ),
    ],
    out_dir: Out,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=path_of("--cache"), help="Where graphs are kept; OUT/graphs."
        ),
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the table.")] = "homolumogap",
    features: Annotated[str, typer.Option(help="Feature set: original, 1, 2 or 3.")] = "1",
    layers: Annotated[int, typer.Option(help="4, 8 and 16 are the published ones.")] = 4,
    block: Annotated[str, typer.Option(help="Parts of a layer, joined by +.")] = "MPNN+MHSA+FFN",
    masking: Annotated[
        str, typer.Option(help="Ratio of graphs without 3D, without hops, with both.")
    ] = "1:3:1",
    denoising: Annotated[
        float, typer.Option(help="Share of features replaced, and predicted; 0: no such task.")
    ] = 0.01,
    density: Annotated[
        float | None, typer.Option(help="Density of block-sparse layers; left out, dense.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Budget in epochs; 100 if none.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget in minutes instead.")] = None,
    batch: Annotated[int, typer.Option(help="Graphs a step.")] = 128,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 4e-4,
    schedule: Annotated[str, typer.Option(help="Rate changes each step, or each epoch.")] = "step",
    every: Annotated[int, typer.Option(help="Graphs between checkpoints.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of weights, batches and noise.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that make graphs.")] = 1,
    pause_after: Pause = None,
    tensorboard: Tensorboard = False,
) -> None:
    """Train on the part "train", check on "valid"; 3D is hidden in checking.

    Interrupted at any moment, the same command goes on from the last checkpoint.
    """
    from diffrender.blocksparse import SparsityConfig
    from diffrender.graph import (
        GraphNetwork,
        GraphSettings,
        GraphTrainer,
        GraphTrainSettings,
        NoiseSettings,
    )
    from diffrender.graph.molecules import (
        MoleculeNetwork,
        PcqmFolder,
        PrepareSettings,
        feature_set,
        molecule_data,
        save_molecule_network,
    )

    refuse_empty(
        {"--label": label, "--features": features, "--block": block, "--masking": masking,
         "--schedule": schedule}
    )  # fmt: skip
    board_ready(tensorboard)
    until = deadline(pause_after)
    chosen = feature_set(features)
    network = GraphSettings(
        layers=layers,
        block=block,
        node_vocabulary=chosen.node_vocabulary,
        edge_vocabulary=chosen.edge_vocabulary,
        noise=NoiseSettings(masking=_ratio(masking), categories=denoising),
        sparsity=None if density is None else SparsityConfig(density),
    )
    _check_schedule(schedule, epochs, minutes)
    check_places({}, [out_dir, cache])

    def settings_for(count: int) -> GraphTrainSettings:
        return GraphTrainSettings(
            budget=_budget(epochs, minutes, count),
            batch=batch, rate=rate, every=every, seed=seed,
            schedule="epoch" if schedule == "epoch" else "step",
        )  # fmt: skip

    settings_for(_MANY)  # refused before graphs are made, which may take hours
    learned, failures = molecule_data(
        PcqmFolder(data),
        cache or out_dir / "graphs",
        PrepareSettings(features, label),
        workers=workers,
        report=lambda rows: note().print(f"graphs of {rows} molecules", markup=False),
    )
    _say_failures(failures)
    settings = settings_for(len(learned.train))
    trainer = GraphTrainer(
        lambda: GraphNetwork(network), learned, out_dir, settings, network,
        name=f"GraphNetwork {network}", board=tensorboard,
    )  # fmt: skip
    count = sum(p.numel() for p in trainer.net.parameters())
    note().print(
        f"{count} parameters; {len(learned.train)} molecules to learn from, "
        f"{len(learned.valid)} to check on",
        markup=False,
    )
    finished = trainer.run(until, _report)
    assert isinstance(trainer.net, GraphNetwork)
    weights = save_molecule_network(
        MoleculeNetwork(trainer.net, features, label, trainer.scale),
        out_dir / "network.safetensors",
    )
    if finished:
        out().print(f"wrote {weights}", markup=False, soft_wrap=True)
    else:
        out().print(f"paused at {trainer.spent:.0%} of the budget: the same command goes on")


def _ratio(text: str) -> tuple[float, float, float]:
    try:
        first, second, third = (float(part) for part in text.split(":"))
        if not all(math.isfinite(part) for part in (first, second, third)):
            raise ValueError("not finite")
    except ValueError as error:
        raise InputError(f"--masking is '{text}', expected three numbers as 1:3:1") from error
    return first, second, third


def _check_schedule(schedule: str, epochs: float | None, minutes: float | None) -> None:
    if schedule not in ("step", "epoch"):
        raise InputError(f"--schedule is '{schedule}', expected step or epoch")
    if epochs is not None and not 0 < epochs < math.inf:
        raise InputError(f"--epochs is {epochs}, expected a number above 0")
    if schedule == "epoch" and (minutes is not None or (epochs or 100) < 2):
        raise InputError(
            "--schedule epoch, whose first epoch has the rate 0, goes with --epochs of at least 2; "
            "leave it out for another budget"
        )


def _budget(epochs: float | None, minutes: float | None, count: int) -> GraphsSeen | Minutes:
    from diffrender.graph import GraphsSeen, Minutes

    if epochs is not None and minutes is not None:
        raise InputError("give either --epochs or --minutes")
    if minutes is not None:
        return Minutes(minutes)
    return GraphsSeen(round((100 if epochs is None else epochs) * count))


def _say_failures(failures: list[Failure]) -> None:
    for failure in failures[:10]:
        line = f"row {failure.row}, {failure.smiles}: {failure.reason}"
        note().print(line, markup=False)
    if len(failures) > 10:
        note().print(f"... and {len(failures) - 10} more rows", markup=False)


def _report(row: dict[str, float]) -> None:
    note().print(
        f"{row['graphs']:g} graphs  {row['seconds']:.0f} s  loss {row['total']:.4g}  "
        f"held-out error {row['valid_error']:.4g}",
        markup=False,
    )
