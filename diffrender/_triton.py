"""Triton where it is installed, and the names that every Triton kernel is written with.

Kernels are defined when their modules are loaded, so the modules that hold them are imported only
by functions that run them. Without Triton they still load, as plain functions that nobody calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

__all__ = [
    "Block",
    "Pointer",
    "blocks",
    "constant",
    "constexpr",
    "device_of",
    "fp64",
    "i64",
    "interpreting",
    "kernel",
    "power_of_two",
    "tl",
]


def _load() -> tuple[Any, Any]:
    try:
        import triton
        import triton.language as language
    except ImportError:
        return None, None
    return triton, language


triton, tl = _load()


def interpreting() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU, to be tested."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def kernel(function: Callable[..., Any]) -> Any:
    """`triton.jit`, or the function itself where Triton is not installed."""
    return function if triton is None else triton.jit(function)


def constant(value: float) -> Any:
    """A number of the module that kernels may read."""
    return value if tl is None else tl.constexpr(value)


# Types of kernel parameters, of which Triton reads the name alone: `i64` and `fp64` fix the type
# of a number (a Python float would arrive as float32), `constexpr` makes it part of the kernel.
if TYPE_CHECKING:
    Block = Any
    Pointer = Any
    constexpr = Any
    fp64 = Any
    i64 = Any
else:
    Block = Pointer = fp64 = i64 = constant(0)
    constexpr = None if tl is None else tl.constexpr


def blocks(count: int, size: int) -> int:
    """How many blocks of `size` hold `count`."""
    return -(-count // size)


def power_of_two(count: int) -> int:
    """The least power of two that is at least `count`."""
    return 1 << max(count - 1, 0).bit_length()


def device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device: make it the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
