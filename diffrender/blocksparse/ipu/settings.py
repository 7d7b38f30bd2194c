"""How a simulation runs, and the checks that all planners share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffrender.blocksparse.ipu.machine import require_whole
from diffrender.errors import InputError

__all__ = ["SimulationSettings", "check_problem"]

DTYPES = (torch.float16, torch.float32)


@dataclass(frozen=True)
class SimulationSettings:
    """Options of PopSparse that change a plan, with its defaults.

    Attributes:
        memory_share: part of a tile's memory that a plan may use (`availableMemoryProportion`).
        rearrange: leave sparse rows and columns out of planning, in static mode.
        splits, bands: force the parts of n and of k in static mode, None to search.
        oversize: how much larger than even shares dynamic buckets are
            (`metaInfoBucketOversizeProportion`).
        max_density: what dynamic buckets are made for, in (0, 1]; None for the pattern's own.
    """

    memory_share: float = 0.6
    rearrange: bool = True
    splits: int | None = None
    bands: int | None = None
    oversize: float = 0.3
    max_density: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.memory_share <= 1:
            raise InputError(
                f"SimulationSettings.memory_share is {self.memory_share}, expected in (0, 1]"
            )
        for name in ("splits", "bands"):
            value = getattr(self, name)
            if value is not None:
                require_whole(f"SimulationSettings.{name}", value)
        if not 0 <= self.oversize <= 10:
            raise InputError(f"SimulationSettings.oversize is {self.oversize}, expected in [0, 10]")
        if self.max_density is not None and not 0 < self.max_density <= 1:
            raise InputError(
                f"SimulationSettings.max_density is {self.max_density}, expected in (0, 1]"
            )


def check_problem(columns: int, dtype: torch.dtype) -> None:
    """Raise InputError unless the columns and the storage are ones that the kernels have."""
    require_whole("columns", columns)
    if dtype not in DTYPES:
        raise InputError(
            f"dtype is {dtype}, expected torch.float16 or torch.float32: the machine has no other"
        )
