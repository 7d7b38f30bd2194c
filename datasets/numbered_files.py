"""Files of a long rendering job, one a number, written by several processes."""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from diffrender._files import write_text_atomic
from diffrender.errors import InputError
from diffrender.instances.reading import read_json

__all__ = ["write_numbered"]

_Job = TypeVar("_Job")
_STAMP = "made_of.json"


def write_numbered(
    write: Callable[[_Job, int], Path], job: _Job, folder: Path, count: int, workers: int
) -> list[Path]:
    """The paths of `write(job, 0)` to `write(job, count - 1)`, in order.

    Args:
        write: a function of a module that writes file `number` unless it is there already.
        job: what to write, a small dataclass; `count` is all that may change while files are added.
        folder: is made, and says what its files are of.
        count: files.
        workers: processes; 1 writes in this one.

    Raises:
        InputError: fewer than one file or worker, or a folder with files of another job.
    """
    if count < 1 or workers < 1:
        raise InputError(f"{count} files and {workers} workers: expected at least 1 of each")
    folder.mkdir(parents=True, exist_ok=True)
    _stamp(folder, {"by": _module_of(write), **_what(job)})
    if workers == 1:
        return [write(job, number) for number in range(count)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return list(pool.imap(functools.partial(write, job), range(count)))


def _module_of(write: Callable[..., Any]) -> str:
    """The module's own name, where it runs as a command too."""
    spec = sys.modules[write.__module__].__spec__
    return write.__module__ if spec is None else spec.name


def _what(job: Any) -> dict[str, Any]:
    fields = dataclasses.asdict(job)
    kept = {name: value for name, value in fields.items() if name not in ("folder", "count")}
    plain: dict[str, Any] = json.loads(json.dumps(kept))  # as the file gives it back
    return plain


def _stamp(folder: Path, what: dict[str, Any]) -> None:
    path = folder / _STAMP
    if not path.exists():
        if not any(folder.iterdir()):  # of files that are there already nobody knows
            write_text_atomic(path, json.dumps(what, indent=1) + "\n")
        return
    there = read_json(path, "what the files of a folder are of")
    if there != what:
        raise InputError(
            f"{folder} holds files of {there}, asked for are {what}; choose another folder"
        )
