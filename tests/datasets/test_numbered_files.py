"""Files of a long job, numbered, and what happens when there is to be more of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from diffrender.datasets.numbered_files import NumberedFiles, write_numbered
from diffrender.errors import InputError


@dataclass(frozen=True)
class Job:
    folder: Path
    count: int
    start: int = 100


def _write(job: Job, number: int, path: Path) -> None:
    np.savez(path, items=job.start + np.array(_files(job).items(number, job.count)))


def _files(job: Job) -> NumberedFiles:
    return NumberedFiles(job.folder, "items", 4)


def _items(paths: list[Path]) -> list[int]:
    return [int(one) for path in paths for one in np.load(path, allow_pickle=False)["items"]]


def test_more_items_are_added_to_a_short_last_file(tmp_path: Path) -> None:
    few = write_numbered(_write, Job(tmp_path, 6), _files(Job(tmp_path, 6)), 1)
    assert [path.name for path in few] == ["items_00000.npz", "items_00001.npz"]
    assert _items(few) == list(range(100, 106))
    full = few[0].stat().st_mtime_ns
    more = write_numbered(_write, Job(tmp_path, 9), _files(Job(tmp_path, 9)), 1)
    assert _items(more) == list(range(100, 109))
    assert few[0].stat().st_mtime_ns == full  # a full file is left as it is
    fewer = write_numbered(_write, Job(tmp_path, 3), _files(Job(tmp_path, 3)), 1)
    assert _items(fewer) == list(range(100, 104))  # what is there is not cut
    assert json.loads((tmp_path / "made_of.json").read_text())["count"] == 9
    assert _items(write_numbered(_write, Job(tmp_path, 10), _files(Job(tmp_path, 10)), 1)) == list(
        range(100, 110)
    )


def test_a_folder_of_another_job_is_refused(tmp_path: Path) -> None:
    write_numbered(_write, Job(tmp_path, 2), _files(Job(tmp_path, 2)), 1)
    other = Job(tmp_path, 2, start=0)
    with pytest.raises(InputError, match="choose another folder"):
        write_numbered(_write, other, _files(other), 1)
    for count, workers in ((0, 1), (1, 0)):
        with pytest.raises(InputError, match="expected at least 1 each"):
            write_numbered(_write, Job(tmp_path, count), _files(Job(tmp_path, count)), workers)
