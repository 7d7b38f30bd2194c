"""Graphs to learn from and to check on, out of a folder of molecules."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from diffrender.errors import InputError
from diffrender.graph.molecules.pcqm4m import PcqmFolder
from diffrender.graph.molecules.pipeline import (
    PrepareSettings,
    load_molecules,
    prepare_molecules,
)
from diffrender.graph.molecules.shards import Failure
from diffrender.graph.training import TrainingData

__all__ = ["molecule_data"]


def molecule_data(
    folder: PcqmFolder,
    cache: str | Path,
    settings: PrepareSettings,
    *,
    held_out: str = "valid",
    workers: int = 1,
    report: Callable[[int], None] | None = None,
) -> tuple[TrainingData, list[Failure]]:
    """Graphs of the parts "train" and `held_out`, and the rows of either that failed.

    Args:
        held_out: part to check on.
        workers, report: of `prepare_molecules`.

    Raises:
        InputError: the folder cannot be read, has no such part, one without a label, or a split
            that names rows that are not there.
        MissingExtraError: RDKit is not installed.
    """
    split = folder.split()
    if held_out not in split:
        raise InputError(
            f"{folder.root}: no part '{held_out}', expected one of: {', '.join(sorted(split))}"
        )
    files = prepare_molecules(folder, cache, settings, workers=workers, report=report)
    store, failures = load_molecules(files)
    wanted = set(split["train"]) | set(split[held_out])
    absent = wanted - set(store.rows.tolist()) - {failure.row for failure in failures}
    if absent:
        raise InputError(
            f"{folder.table} has no row {min(absent)}, which the split of {folder.root} names, nor "
            f"{len(absent) - 1} more; give the table and the split of one set"
        )
    parts = {name: store.subset(split[name]) for name in ("train", held_out)}
    for name, indices in parts.items():
        bare = int(store.labels[indices].isnan().sum())
        if bare:
            raise InputError(
                f"{folder.root}: {bare} molecules of '{name}' have no '{settings.label}', expected "
                "a label for each"
            )
    rows = json.dumps([split["train"], split[held_out]])
    name = json.dumps(
        [asdict(settings), files[0].parent.name, hashlib.sha256(rows.encode()).hexdigest()[:16]]
    )
    data = TrainingData(store, parts["train"], parts[held_out], name)
    return data, [failure for failure in failures if failure.row in wanted]
