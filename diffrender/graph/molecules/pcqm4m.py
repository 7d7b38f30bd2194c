"""The layout of PCQM4Mv2, read in one pass: table, conformers, split; nothing is fetched."""

from __future__ import annotations

import csv
import gzip
import json
import math
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from diffrender.errors import InputError

__all__ = ["MoleculeRow", "PcqmFolder"]

CONFORMERS = ("pcqm4m-v2-train.sdf.tar.gz", "pcqm4m-v2-train.sdf")
_MAX_RECORD = 1 << 20  # bytes of one SDF record
_MAX_SPLIT = 1 << 30


@dataclass(frozen=True)
class MoleculeRow:
    """Attributes:
    index: row of the table, from 0.
    smiles: as it is written there.
    label: of the chosen column; None where the table has none (the hidden test labels).
    block: SDF record, None outside the training part and where the folder has no conformers.
    """

    index: int
    smiles: str
    label: float | None
    block: str | None


@dataclass(frozen=True)
class PcqmFolder:
    """A folder as OGB unpacks it, or as `diffrender synthetic molecules` writes it.

    FOLDER/raw/data.csv.gz with the columns smiles and homolumogap (others may follow),
    FOLDER/split.json or FOLDER/split_dict.pt, and, for training in three dimensions,
    FOLDER/pcqm4m-v2-train.sdf.tar.gz (or the .sdf in it), whose k-th record is the k-th row of the
    training part.
    """

    root: Path

    def __post_init__(self) -> None:
        if not self.table.is_file():
            raise InputError(
                f"{self.table}: no such file, expected the layout of PCQM4Mv2: raw/data.csv.gz, a "
                "split and, for training, pcqm4m-v2-train.sdf.tar.gz"
            )

    @property
    def table(self) -> Path:
        """The table of molecules."""
        return self.root / "raw" / "data.csv.gz"

    @property
    def conformers(self) -> Path | None:
        """The file of conformers, None where there is none."""
        return next((p for n in CONFORMERS if (p := self.root / n).is_file()), None)

    def split(self) -> dict[str, list[int]]:
        """Rows of each part, such as "train" and "valid".

        split.json is preferred. OGB's split_dict.pt is a pickle: it is read by torch's restricted
        reader, which builds tensors and arrays and runs nothing.

        Raises:
            InputError: no split, or not one.
        """
        text, pickled = self.root / "split.json", self.root / "split_dict.pt"
        if text.is_file():
            parts = _read_json_split(text)
        elif pickled.is_file():
            parts = _read_pickled_split(pickled)
        else:
            raise InputError(f"{self.root} holds neither split.json nor split_dict.pt")
        if "train" not in parts:
            raise InputError(f"{self.root}: its split has no part 'train'")
        seen = [index for indices in parts.values() for index in indices]
        if len(set(seen)) != len(seen) or (seen and min(seen) < 0):
            raise InputError(f"{self.root}: its split names a row twice, or a negative one")
        return parts

    def rows(self, label: str = "homolumogap", *, conformers: bool = True) -> Iterator[MoleculeRow]:
        """Rows in the table's order, each with its conformer where it has one.

        Raises:
            InputError: a broken table, no such column, a row that ends early, a label that is no
                number, or conformers that end early.
        """
        blocks = self._blocks() if conformers else iter(())
        trained = sorted(self.split()["train"]) if conformers and self.conformers else []
        pending = iter(trained)
        following = next(pending, None)
        for index, (smiles, text) in enumerate(self._table_rows(label)):
            block = None
            if index == following:
                following = next(pending, None)
                block = next(blocks, None)
                if block is None:
                    raise InputError(
                        f"{self.conformers} ends before row {index}, expected a record for each of "
                        f"the {len(trained)} training rows"
                    )
            yield MoleculeRow(index, smiles, self._label(text, index), block)

    def _table_rows(self, label: str) -> Iterator[tuple[str, str]]:
        try:
            with gzip.open(self.table, "rt", encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                missing = {"smiles", label} - set(reader.fieldnames or ())
                if missing:
                    raise InputError(
                        f"{self.table} has the columns {', '.join(reader.fieldnames or ())}; "
                        f"expected {' and '.join(sorted(missing))} too"
                    )
                for index, values in enumerate(reader):
                    if values["smiles"] is None:
                        raise InputError(f"{self.table}, row {index}: ends before its smiles")
                    yield values["smiles"], values[label]
        except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.table}: not a readable csv.gz ({error})") from error

    def _label(self, text: str, index: int) -> float | None:
        try:
            value = float(text) if text else math.nan
        except ValueError as error:
            raise InputError(
                f"{self.table}, row {index}: the label '{text[:40]}' is no number"
            ) from error
        return value if math.isfinite(value) else None

    def _blocks(self) -> Iterator[str]:
        path = self.conformers
        if path is None:
            return
        if path.suffix == ".sdf":
            with path.open("rb") as file:
                yield from _records(file, path)
            return
        try:
            with tarfile.open(path, "r:gz") as tar:
                member = next((m for m in tar if m.isfile() and m.name.endswith(".sdf")), None)
                held = None if member is None else tar.extractfile(member)
                if held is None:
                    raise InputError(f"{path} holds no .sdf file")
                yield from _records(held, path)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: not a readable tar.gz ({error})") from error


def _records(file: IO[bytes], path: Path) -> Iterator[str]:
    """SDF records without their closing line."""
    lines: list[bytes] = []
    size = 0
    while line := file.readline(_MAX_RECORD):
        if line.rstrip() == b"$$$$":
            yield b"".join(lines).decode("utf-8", errors="replace")
            lines, size = [], 0
            continue
        lines.append(line)
        size += len(line)
        if size > _MAX_RECORD:
            raise InputError(f"{path}: a record of more than {_MAX_RECORD} bytes")


def _read_json_split(path: Path) -> dict[str, list[int]]:
    _check_size(path)
    try:
        parts = json.loads(path.read_text())
        good = isinstance(parts, dict) and all(
            isinstance(rows, list) and all(type(row) is int for row in rows)
            for rows in parts.values()
        )
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not good:
        raise InputError(f"{path}: expected an object of lists of row numbers")
    return dict(parts)


def _read_pickled_split(path: Path) -> dict[str, list[int]]:
    import numpy as np

    _check_size(path)
    rebuild = np.empty(0).__reduce__()[0]
    allowed: list[Any] = [np.ndarray, np.dtype, type(np.dtype(np.int64))]
    # The name under which numpy 1 wrote it, and the one of numpy 2.
    for core in ("numpy.core", "numpy._core"):
        allowed.append((rebuild, f"{core}.multiarray._reconstruct"))
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # of pickle's versions, before it refuses them
            parts = torch.load(path, weights_only=True)
    except Exception as error:  # what it raises on a broken file is not said anywhere
        raise InputError(
            f"{path}: cannot be read without running what is in it "
            f"({' '.join(str(error).split())[:160]}); write its rows as split.json: "
            '{"train": [0, 1, ...], "valid": [...]}'
        ) from error
    if not isinstance(parts, dict):
        raise InputError(f"{path}: expected a dictionary of row numbers")
    found = {}
    for name, rows in parts.items():
        try:
            numbers = torch.as_tensor(rows).reshape(-1)
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: '{name}' is no list of row numbers ({error})") from error
        if len(numbers) and (numbers.is_floating_point() or numbers.dtype == torch.bool):
            raise InputError(f"{path}: '{name}' holds {numbers.dtype}, expected row numbers")
        found[str(name)] = [int(row) for row in numbers.tolist()]
    return found


def _check_size(path: Path) -> None:
    if path.stat().st_size > _MAX_SPLIT:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_SPLIT}")
