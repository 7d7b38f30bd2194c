"""A set of grown molecules with two computed gaps, in the layout of PCQM4Mv2."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from diffrender._files import atomic_path, write_bytes_atomic, write_text_atomic
from diffrender.errors import InputError, require
from diffrender.graph.molecules.grow import GrowSettings
from diffrender.graph.molecules.labelled import (
    PART_SIZE,
    LabelledMolecule,
    label_parts,
    read_part,
)
from diffrender.graph.molecules.scaffolds import scaffold, scaffold_split

__all__ = ["SyntheticMolecules", "write_molecules"]

HELD_OUT = {"valid": 0.1, "test-dev": 0.1}


@dataclass(frozen=True)
class SyntheticMolecules:
    """Attributes:
    count: molecules with labels.
    seed: of growth, conformers and split.
    grow: how they are grown.
    """

    count: int = 20_000
    seed: int = 0
    grow: GrowSettings = field(default_factory=GrowSettings)

    def __post_init__(self) -> None:
        if self.count < 10 or self.seed < 0:
            raise InputError(
                f"count is {self.count} and seed {self.seed}, expected at least 10 and 0"
            )


def write_molecules(
    folder: str | Path,
    settings: SyntheticMolecules = SyntheticMolecules(),
    *,
    workers: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, object]:
    """Write a set below FOLDER: raw/data.csv.gz, pcqm4m-v2-train.sdf.tar.gz, split.json and more.

    data.csv.gz has the columns idx, smiles, homolumogap (GFN2-xTB, eV) and homolumogap_huckel
    (extended Hückel, eV); rows of the training part come first, and the k-th record of the SDF is
    the conformer of row k, training part only. split.json names the rows of "train", "valid" and
    "test-dev", which share no Bemis-Murcko scaffold (except the empty one, all in "train").
    failures.csv names the molecules that were left out and why; set.json sums up.

    The same call goes on where a killed one stopped: FOLDER/parts holds what is computed.

    Args:
        workers: processes.
        report: called with (molecules labelled, molecules refused) after each part.

    Returns:
        What set.json holds: settings, counts, reasons of failures, versions.

    Raises:
        InputError: FOLDER holds a set with other settings.
        MissingExtraError: RDKit or tblite is not installed.
    """
    root = Path(folder)
    _claim(root, settings)
    good: list[LabelledMolecule] = []
    bad: list[LabelledMolecule] = []
    done = 0
    while len(good) < settings.count:
        more = -(-(settings.count - len(good)) // PART_SIZE)
        parts = range(done, done + more)
        for path in label_parts(root / "parts", settings.seed, settings.grow, parts, workers):
            for molecule in read_part(path):
                (bad if molecule.reason else good).append(molecule)
            if report is not None:
                report(len(good), len(bad))
        done += more
    del good[settings.count :]
    return _write_set(root, settings, good, bad)


def _claim(root: Path, settings: SyntheticMolecules) -> None:
    path, wanted = root / "settings.json", json.dumps(asdict(settings), sort_keys=True)
    if path.is_file():
        if path.read_text().strip() != wanted:
            raise InputError(
                f"{root} holds molecules of other settings ({path.read_text()[:200].strip()}); "
                "name another folder, or give the same settings to go on"
            )
    else:
        write_text_atomic(path, wanted + "\n")


def _write_set(
    root: Path,
    settings: SyntheticMolecules,
    good: list[LabelledMolecule],
    bad: list[LabelledMolecule],
) -> dict[str, object]:
    draw = random.Random(f"{settings.seed}/split")
    parts = scaffold_split([scaffold(m.smiles) for m in good], HELD_OUT, draw)
    rows = [good[index] for indices in parts.values() for index in indices]
    start, split = 0, {}
    for name, indices in parts.items():
        split[name] = list(range(start, start + len(indices)))
        start += len(indices)
    _write_table(root / "raw" / "data.csv.gz", rows)
    _write_conformers(root / "pcqm4m-v2-train.sdf.tar.gz", rows[: len(parts["train"])])
    write_text_atomic(root / "split.json", json.dumps(split) + "\n")
    failures = io.StringIO()
    writer = csv.writer(failures, lineterminator="\n")
    writer.writerow(["smiles", "reason"])
    writer.writerows([m.grown, m.reason] for m in bad)
    write_text_atomic(root / "failures.csv", failures.getvalue())
    summary: dict[str, object] = {
        "settings": asdict(settings),
        "molecules": {name: len(indices) for name, indices in split.items()},
        "failures": dict(Counter(m.reason for m in bad)),
        "versions": {
            "rdkit": str(require("rdkit", "molecules").__version__),
            "tblite": _tblite_version(),
        },
    }
    write_text_atomic(root / "set.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _write_table(path: Path, rows: list[LabelledMolecule]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["idx", "smiles", "homolumogap", "homolumogap_huckel"])
    for index, row in enumerate(rows):
        writer.writerow([index, row.smiles, row.xtb, row.huckel])
    write_bytes_atomic(path, gzip.compress(text.getvalue().encode(), mtime=0))


def _write_conformers(path: Path, rows: list[LabelledMolecule]) -> None:
    data = "".join(f"{row.block.rstrip()}\n$$$$\n" for row in rows).encode()
    member = tarfile.TarInfo("pcqm4m-v2-train.sdf")
    member.size = len(data)
    with atomic_path(path) as temporary, tarfile.open(temporary, "w:gz") as tar:
        tar.addfile(member, io.BytesIO(data))


def _tblite_version() -> str:
    import importlib.metadata

    return importlib.metadata.version("tblite")
