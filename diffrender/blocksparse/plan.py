"""(to be completed)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffrender.blocksparse.backends import choose_backend
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import kernel_threads


@dataclass(frozen=True)
class StaticPlan:
    backend: str
    kernel: Any = None


def static_plan(
    pattern: BlockPattern, name: str, x: Tensor, features_last: bool, backend: str | None
) -> StaticPlan:
    columns = x.shape.numel() // x.shape[-1 if features_last else -2]
    key = (name, columns, x.dtype, features_last, backend, kernel_threads())
    found = pattern.remembered.get(key)
    if found is None:
        found = StaticPlan(choose_backend(backend, x))
        pattern.remembered[key] = found
    return found
