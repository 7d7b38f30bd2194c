"""The folder of a run over a data set: what is finished, what failed, and whose run it is."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffrender._files import write_bytes_atomic, write_text_atomic
from diffrender.errors import InputError
from diffrender.reconstruct.dataset.frame import FrameOutcome
from diffrender.reconstruct.dataset.job import differences, fingerprint

__all__ = ["ResultFolder"]

SCHEMA = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member of the zip: the same results, the same bytes
_RECORD_LIMIT = 64 << 20


class ResultFolder:
    """`data/NAME.txt`, `frames/NAME.json`, `failures/NAME.json` and `run.json` in a folder.

    Every file is written beside its place and moved, the record of a frame last: a frame counts
    as finished where its record is there. A run that was killed at any moment goes on with the
    frames that are not.

    Raises:
        InputError: the folder holds another run's results (said is what differs), or cannot be
            made.
    """

    def __init__(self, path: str | Path, description: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.fingerprint = fingerprint(description)
        self.path.mkdir(parents=True, exist_ok=True)
        run = self.path / "run.json"
        if run.is_file():
            self._check(run, description)
            return
        if any((self.path / part).is_dir() for part in ("data", "frames")):
            raise InputError(
                f"{self.path} holds results but no run.json that says of which run; choose another "
                "--out, or remove them"
            )
        record = {"schema": SCHEMA, "fingerprint": self.fingerprint, "job": description}
        write_text_atomic(run, _json(record))

    def _check(self, run: Path, description: Mapping[str, Any]) -> None:
        record = _read(run)
        if record.get("fingerprint") == self.fingerprint:
            return
        before = record.get("job")
        changed = differences(before if isinstance(before, dict) else {}, description)
        shown = "; ".join(changed[:4]) + ("; ..." if len(changed) > 4 else "")
        raise InputError(
            f"{self.path} holds results of a run with other settings ({shown}); mixing them would "
            "mean nothing: choose another --out, or remove the folder"
        )

    def finished(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Records of the frames that are done.

        Raises:
            InputError: a record that cannot be read, or is of another run.
        """
        found = {}
        for name in names:
            path = self.path / "frames" / f"{name}.json"
            if not path.is_file() or not self.rows_file(name).is_file():
                continue
            record = _read(path)
            if record.get("fingerprint") != self.fingerprint or record.get("frame") != name:
                raise InputError(f"{path} is not of this run; remove it to compute the frame again")
            found[name] = record
        return found

    def rows_file(self, name: str) -> Path:
        """data/NAME.txt."""
        return self.path / "data" / f"{name}.txt"

    def add(self, outcome: FrameOutcome) -> dict[str, Any]:
        """Write what became of a frame; returns its record."""
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "frame": outcome.frame,
            "fingerprint": self.fingerprint,
            "seconds": outcome.seconds,
            "worker": outcome.worker,
            "attempts": outcome.attempts,
        }
        failure = self.path / "failures" / f"{outcome.frame}.json"
        if outcome.rows is None:
            record |= {"reason": outcome.reason, "details": outcome.details}
            write_text_atomic(failure, _json(record))
            self.rows_file(outcome.frame).unlink(missing_ok=True)  # of a try that was cut short
            return record
        record |= outcome.record
        failure.unlink(missing_ok=True)  # of an earlier try; first, so that no kill leaves it
        write_text_atomic(self.rows_file(outcome.frame), outcome.rows)
        write_text_atomic(self.path / "frames" / f"{outcome.frame}.json", _json(record))
        return record

    def write_zip(self, names: Iterable[str]) -> Path:
        """results.zip of the frames, files at its top as the server wants them.

        A frame without a result file is an empty file there, which the benchmark asks for.
        """
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for name in sorted(names):
                path = self.rows_file(name)
                info = zipfile.ZipInfo(f"{name}.txt", _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                archive.writestr(info, path.read_bytes() if path.is_file() else b"")
        return write_bytes_atomic(self.path / "results.zip", data.getvalue())

    def write(self, name: str, record: Mapping[str, Any]) -> Path:
        """A JSON file of the run."""
        return write_text_atomic(self.path / name, _json(record))

    def remove(self, name: str) -> None:
        """Take away a JSON file of the run, where there is one."""
        (self.path / name).unlink(missing_ok=True)


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _RECORD_LIMIT:
        raise InputError(f"{path} is larger than {_RECORD_LIMIT} bytes, expected a small record")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); remove it to go on") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} holds a {type(record).__name__}, expected an object")
    return record
