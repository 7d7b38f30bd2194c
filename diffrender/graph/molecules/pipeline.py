"""From a folder of molecules to graphs with encodings: in worker processes, computed once."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from diffrender._processes import begin_worker, ended_worker
from diffrender.errors import InputError, require
from diffrender.graph.encodings import encode_graph
from diffrender.graph.graphs import Graph, GraphEncodings
from diffrender.graph.molecules.features import feature_set, molecule_graph
from diffrender.graph.molecules.pcqm4m import MoleculeRow, PcqmFolder
from diffrender.graph.molecules.shards import (
    Failure,
    GraphStore,
    read_shard,
    store_graphs,
    write_shard,
)
from diffrender.graph.molecules.smiles import conformer_positions, parse_smiles

__all__ = ["PrepareSettings", "load_molecules", "molecule_graphs", "prepare_molecules"]

_VERSION = 1  # of what is computed; another one makes the cache anew


@dataclass(frozen=True)
class PrepareSettings:
    """Attributes:
    features: feature set, "original", "1", "2" or "3".
    label: column of the table.
    shard: molecules a file.
    """

    features: str = "1"
    label: str = "homolumogap"
    shard: int = 2000

    def __post_init__(self) -> None:
        feature_set(self.features)
        if self.shard < 1:
            raise InputError(f"shard is {self.shard}, expected at least 1")


def prepare_molecules(
    folder: PcqmFolder,
    cache: str | Path,
    settings: PrepareSettings = PrepareSettings(),
    *,
    workers: int = 1,
    report: Callable[[int], None] | None = None,
) -> list[Path]:
    """Write graphs and encodings of every row under `cache`, a file a shard; returns the files.

    Files of the same settings, tables and RDKit that are there are not made again, so the same call
    goes on where a killed one stopped. A row that cannot be used is kept as a `Failure` in its file
    and the rest goes on.

    Args:
        workers: processes.
        report: called with the number of rows done after each shard.

    Raises:
        InputError: fewer than one worker, one that was killed, or the folder cannot be read
            (`PcqmFolder.rows`).
        MissingExtraError: RDKit is not installed.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}, expected at least 1")
    key = _key(folder, settings)
    home = Path(cache) / hashlib.sha256(key.encode()).hexdigest()[:16]
    files: list[Path] = []
    waiting: deque[Future[None]] = deque()
    rows = folder.rows(settings.label)

    def chunks() -> Iterator[tuple[Path, list[MoleculeRow]]]:
        for number in itertools.count():
            chunk = list(itertools.islice(rows, settings.shard))
            if not chunk:
                return
            yield home / f"shard-{number:05d}.safetensors", chunk

    context = multiprocessing.get_context("spawn")
    pool = None if workers == 1 else ProcessPoolExecutor(workers, context, _one_thread)
    try:
        done = 0
        for path, chunk in chunks():
            files.append(path)
            done += len(chunk)
            if not path.is_file():
                if pool is None:
                    _write(path, chunk, settings, key)
                else:
                    waiting.append(pool.submit(_write, path, chunk, settings, key))
                    if len(waiting) > 2 * workers:  # rows are read as fast as they are used
                        waiting.popleft().result()
            if report is not None:
                report(done)
        for job in waiting:
            job.result()
    except BrokenProcessPool as error:
        raise ended_worker(error) from error
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return files


def load_molecules(files: Iterable[Path]) -> tuple[GraphStore, list[Failure]]:
    """Graphs of the files that `prepare_molecules` returned, and the rows that failed.

    Raises:
        InputError: a file that it did not write.
    """
    stores, failures = [], []
    for path in files:
        store, some = read_shard(path)
        stores.append(store)
        failures += some
    return GraphStore.join(stores), failures


def molecule_graphs(
    rows: Iterable[MoleculeRow], features: str = "1"
) -> tuple[list[tuple[int, Graph, GraphEncodings]], list[Failure]]:
    """Graphs of rows that can be read, with their encodings, and why the others cannot.

    A conformer that does not belong to its molecule leaves a graph without positions, and a failure
    that says so ("without conformer: ...").
    """
    chosen = feature_set(features)
    good, failures = [], []
    for row in rows:
        try:
            mol = parse_smiles(row.smiles)
            positions = None
            if row.block is not None:
                try:
                    positions = conformer_positions(mol, row.block)
                except InputError as error:
                    reason = f"without conformer: {error}"
                    failures.append(Failure(row.index, row.smiles[:200], reason))
            graph = molecule_graph(mol, chosen, positions, row.label)
            good.append((row.index, graph, encode_graph(graph)))
        except InputError as error:
            failures.append(Failure(row.index, row.smiles[:200], str(error)))
    return good, failures


def _write(path: Path, rows: list[MoleculeRow], settings: PrepareSettings, key: str) -> None:
    chosen = feature_set(settings.features)
    good, failures = molecule_graphs(rows, settings.features)
    store = store_graphs(good, (len(chosen.atoms), len(chosen.bonds)))
    write_shard(path, store, key, failures)


def _key(folder: PcqmFolder, settings: PrepareSettings) -> str:
    """Everything that the files depend on, in one line."""
    sources = [folder.table, *([folder.conformers] if folder.conformers else [])]
    parts = {
        "version": _VERSION,
        "settings": asdict(settings),
        "rdkit": str(require("rdkit", "molecules").__version__),
        "sources": [[path.name, path.stat().st_size, _digest(path)] for path in sources],
    }
    if folder.conformers:  # they are dealt to the rows of the part "train", in order
        dealt = sorted(folder.split()["train"])
        parts["dealt"] = hashlib.sha256(json.dumps(dealt).encode()).hexdigest()
    return json.dumps(parts, sort_keys=True)


def _digest(path: Path) -> str:
    """SHA-256 of a file, read once from end to end."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _one_thread() -> None:
    begin_worker()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
