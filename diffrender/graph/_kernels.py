"""The graph's C++ kernels: when they can run, how to find one, and what its status says."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from diffrender.native import reason_missing, share_team, signature

__all__ = ["check_status", "kernel", "native_fits"]

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


def native_fits(*tensors: Tensor | None) -> bool:
    """Whether the kernels are there and take these: on the CPU, of one dtype, float32 or 64."""
    there = [t for t in tensors if t is not None]
    dtype = there[0].dtype
    return (
        dtype in _SUFFIX
        and all(t.device.type == "cpu" and t.dtype == dtype for t in there)
        and reason_missing() is None
    )


@functools.cache
def kernel(name: str, arguments: str, dtype: torch.dtype) -> Callable[..., int]:
    """The C++ function of that name for a dtype; `arguments` as `native.signature` takes them."""
    share_team()
    return signature(f"diffrender_{name}_{_SUFFIX[dtype]}", arguments)


def check_status(status: int) -> None:
    """Raise what a kernel's status stands for; 0 is success."""
    if status:
        raise MemoryError("a graph kernel ran out of memory")
