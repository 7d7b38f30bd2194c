"""Files of a long rendering job, one a number, written by several processes."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from diffrender.errors import InputError

__all__ = ["write_numbered"]

_Job = TypeVar("_Job")


def write_numbered(
    write: Callable[[_Job, int], Path], job: _Job, folder: Path, count: int, workers: int
) -> list[Path]:
    """The paths of `write(job, 0)` to `write(job, count - 1)`, in order.

    Args:
        write: a function of a module that writes file `number` unless it is there already.
        job: what to write, small and picklable.
        folder: is made.
        count: files.
        workers: processes; 1 writes in this one.

    Raises:
        InputError: fewer than one file or worker.
    """
    if count < 1 or workers < 1:
        raise InputError(f"{count} files and {workers} workers: expected at least 1 of each")
    folder.mkdir(parents=True, exist_ok=True)
    if workers == 1:
        return [write(job, number) for number in range(count)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return list(pool.imap(functools.partial(write, job), range(count)))
