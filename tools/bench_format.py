"""The one format of all benchmarks, and fair timing of two callables against each other.

A report is `{"schema": 1, "machine": {...}, "rows": [...], "targets": [...]}`: rows say what was
measured, targets repeat the figures that were set as goals and whether they hold, unmet too.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffrender._files import write_text_atomic
from diffrender.errors import InputError

__all__ = ["Report", "Row", "Target", "cpu_model", "machine", "spread", "threads_set", "time_calls"]

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One measured figure.

    Attributes:
        case: what it was measured on, such as "1280 faces, 256 x 256".
        operation: what was done, such as "silhouette forward + backward".
        value, unit: the median, and its unit ("ms", "share", "degrees", ...).
        spread: interquartile range of the repeats in the same unit, or None for a single value.
        peer: what it is compared with, or "" where nothing is.
        ratio: value divided by the peer's in the same run, or None.
    """

    case: str
    operation: str
    value: float
    unit: str
    spread: float | None = None
    peer: str = ""
    ratio: float | None = None


@dataclass(frozen=True)
class Target:
    """A figure that was set as a goal, and what was measured.

    Attributes:
        name: what is measured.
        goal: the goal in words, such as "<= 1.5 s".
        value: what was measured, or None where it was not (then `met` is False).
        met: whether it holds.
    """

    name: str
    goal: str
    value: float | None
    met: bool


@dataclass(frozen=True)
class Report:
    """Rows and targets of one benchmark; `machine` is filled in when it is made."""

    rows: list[Row]
    targets: list[Target] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def leave_out(self, peer: str, reason: str) -> None:
        """The one row of a peer that was not timed."""
        self.rows.append(Row(f"peer {peer}", f"not timed: {reason}", 0, "timings"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values in the order of the format."""
        return {
            "schema": SCHEMA,
            "machine": self.machine,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "targets": [dataclasses.asdict(target) for target in self.targets],
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all; missing folders are made."""
        write_text_atomic(path, json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n")


def machine() -> dict[str, Any]:
    """What a timing depends on: processor, cores, threads, versions, accelerator."""
    import numpy
    import torch

    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "diffrender": importlib.metadata.version("diffrender"),
    }


def cpu_model() -> str:
    """Name of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()


def spread(values: Sequence[float]) -> float:
    """Interquartile range; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


@contextmanager
def threads_set(count: int) -> Iterator[None]:
    """Set once around a whole measurement: changing it between calls costs more than they do."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def time_calls(
    calls: dict[str, Callable[[], object]],
    *,
    repeats: int,
    warm_up: int = 1,
) -> dict[str, list[float]]:
    """Seconds of each call per repeat, the calls taking turns within one run.

    Turns make a slow moment of the machine fall on all of them alike; the first `warm_up`
    rounds are run and not counted.
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}, expected at least 1")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if turn >= warm_up:
                seconds[name].append(elapsed)
    return seconds
