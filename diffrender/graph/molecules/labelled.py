"""Conformers and gaps of grown molecules, a file a part, computed once."""

from __future__ import annotations

import gzip
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

from diffrender._files import write_bytes_atomic
from diffrender._processes import begin_worker, ended_worker
from diffrender.errors import InputError
from diffrender.graph.molecules.conformers import ConformerError, embed
from diffrender.graph.molecules.gaps import GapError, huckel_gap, xtb_gap
from diffrender.graph.molecules.grow import GrowSettings, distinct_molecules

__all__ = ["PART_SIZE", "LabelledMolecule", "label_parts", "read_part"]

PART_SIZE = 250
_MAX_PART_BYTES = 64 << 20


@dataclass(frozen=True)
class LabelledMolecule:
    """A grown molecule with its conformer and labels, or why it has none.

    Attributes:
        grown: SMILES as it was grown, without stereochemistry.
        reason: why it cannot be used; "" where it can.
        smiles: with the stereochemistry of its conformer.
        huckel, xtb: gaps in eV.
        block: SDF record of the conformer, hydrogens included.
    """

    grown: str
    reason: str = ""
    smiles: str = ""
    huckel: float = 0.0
    xtb: float = 0.0
    block: str = ""


def label_parts(
    folder: Path, seed: int, grow: GrowSettings, parts: Sequence[int], workers: int
) -> Iterator[Path]:
    """Files of the numbered parts, in order; those that are there are not computed again.

    Part p holds molecules p * PART_SIZE onwards of `distinct_molecules(seed, grow)`, each with a
    conformer drawn from its own number: neither the workers nor an interruption changes anything.

    Raises:
        InputError: a worker was killed.
        MissingExtraError: RDKit or tblite is not installed.
    """
    paths = {part: folder / f"part-{part:05d}.jsonl.gz" for part in parts}
    wanted = [part for part in parts if not paths[part].is_file()]
    if not wanted:
        yield from paths.values()
        return
    stream = distinct_molecules(seed, grow)
    grown: dict[int, list[str]] = {}
    for part in range(max(wanted) + 1):
        some = list(itertools.islice(stream, PART_SIZE))
        if part in wanted:
            grown[part] = some
    if workers == 1:
        for part in parts:
            if part in grown:
                _write_part(paths[part], seed, part * PART_SIZE, grown[part])
            yield paths[part]
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        jobs = {
            part: pool.submit(_write_part, paths[part], seed, part * PART_SIZE, some)
            for part, some in grown.items()
        }
        try:
            for part in parts:
                if part in jobs:
                    jobs[part].result()
                yield paths[part]
        except BrokenProcessPool as error:
            raise ended_worker(error) from error
        finally:
            pool.shutdown(cancel_futures=True)


def read_part(path: Path) -> list[LabelledMolecule]:
    """Molecules of one part.

    Raises:
        InputError: not a file that `label_parts` wrote.
    """
    try:
        with gzip.open(path, "rb") as file:
            data = file.read(_MAX_PART_BYTES + 1)
        if len(data) > _MAX_PART_BYTES:
            raise ValueError("too large")
        return [LabelledMolecule(**json.loads(line)) for line in data.splitlines()]
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable part of the set ({error}); delete it, and it is made again"
        ) from error


def _write_part(path: Path, seed: int, first: int, grown: list[str]) -> None:
    rows = [_label(smiles, seed, first + number) for number, smiles in enumerate(grown)]
    text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    write_bytes_atomic(path, gzip.compress(text.encode(), mtime=0))


def _label(grown: str, seed: int, number: int) -> LabelledMolecule:
    try:
        conformer = embed(grown, seed * 1_000_003 + number)
        huckel, xtb = huckel_gap(conformer), xtb_gap(conformer)
    except (ConformerError, GapError) as error:
        return LabelledMolecule(grown, str(error))
    if not (huckel > 0 and xtb > 0):
        return LabelledMolecule(grown, "a gap of zero")
    return LabelledMolecule(
        grown, "", conformer.smiles, round(huckel, 6), round(xtb, 6), conformer.block
    )


def _one_thread() -> None:
    begin_worker()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
