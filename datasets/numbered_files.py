"""Files of a long rendering job, one a number, written by several processes."""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from diffrender._files import atomic_path, write_text_atomic
from diffrender.errors import InputError
from diffrender.instances.reading import read_json

__all__ = ["NumberedFiles", "write_numbered"]


class _Counted(Protocol):
    @property
    def count(self) -> int: ...


_Job = TypeVar("_Job", bound=_Counted)
_STAMP = "made_of.json"


@dataclass(frozen=True)
class NumberedFiles:
    """Where the files of a job lie.

    Attributes:
        folder: is made, and says in made_of.json what its files are of.
        kind: of `kind_00000.npz`.
        each: items a file; the last one may hold fewer.
    """

    folder: Path
    kind: str
    each: int

    def path(self, number: int) -> Path:
        return self.folder / f"{self.kind}_{number:05d}.npz"

    def items(self, number: int, count: int) -> range:
        """Which of `count` items file `number` holds."""
        return range(number * self.each, min((number + 1) * self.each, count))


def write_numbered(
    write: Callable[[_Job, int, Path], None], job: _Job, files: NumberedFiles, workers: int
) -> list[Path]:
    """The files that hold `job.count` items, in order; those that are there already are left.

    Args:
        write: a function of a module that writes file `number` to a path.
        job: what to write, a small dataclass; `count`, the items, is all that may change while
            files are added. A last file that had to be short is written anew when there are more.
        files: where they lie.
        workers: processes; 1 writes in this one.

    Raises:
        InputError: fewer than one item or worker, or a folder with files of another job.
    """
    if job.count < 1 or workers < 1:
        raise InputError(f"a count of {job.count} and {workers} workers: expected at least 1 each")
    files.folder.mkdir(parents=True, exist_ok=True)
    _stamp(files, {"by": _module_of(write), **_what(job)}, job.count)
    numbers = range(-(-job.count // files.each))
    one = functools.partial(_write_missing, write, job, files)
    if workers == 1:
        return [one(number) for number in numbers]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return list(pool.imap(one, numbers))


def _write_missing(
    write: Callable[[_Job, int, Path], None], job: _Job, files: NumberedFiles, number: int
) -> Path:
    path = files.path(number)
    if not path.exists():
        with atomic_path(path) as temporary:
            write(job, number, temporary)
    return path


def _module_of(write: Callable[..., Any]) -> str:
    """The module's own name, where it runs as a command too."""
    spec = sys.modules[write.__module__].__spec__
    return write.__module__ if spec is None else spec.name


def _what(job: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(job)
    kept = {name: value for name, value in fields.items() if name not in ("folder", "count")}
    plain: dict[str, Any] = json.loads(json.dumps(kept))  # as the file gives it back
    return plain


def _stamp(files: NumberedFiles, what: dict[str, Any], count: int) -> None:
    """Compare the job with the folder's, and take away a last file that is now too short."""
    path = files.folder / _STAMP
    if not path.exists():
        if not any(files.folder.iterdir()):  # of files that are there already nobody knows
            _write_stamp(path, what, count)
        return
    there = read_json(path, "what the files of a folder are of")
    before = there.pop("count", None) if isinstance(there, dict) else None
    if there != what:
        raise InputError(
            f"{files.folder} holds files of {there}, asked for are {what}; choose another folder"
        )
    if type(before) is not int:  # a folder of an earlier version
        _write_stamp(path, what, count)
    elif count > before:
        if before % files.each:
            files.path(before // files.each).unlink(missing_ok=True)
        _write_stamp(path, what, count)


def _write_stamp(path: Path, what: dict[str, Any], count: int) -> None:
    write_text_atomic(path, json.dumps({**what, "count": count}, indent=1) + "\n")
