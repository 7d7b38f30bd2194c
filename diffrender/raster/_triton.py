"""Triton where it is installed, and what every Triton kernel shares.

Kernels are defined when their modules are loaded, so the modules that hold them are imported only
by functions that run them. Without Triton they still load, as plain functions that nobody calls.

Kernels compute in float64 and are compiled without fused multiply-add: a x b is then exactly
-(b x a), as in the C++ kernels, so two faces that share an edge see opposite edge functions and
both back-ends draw the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "Block",
    "Pointer",
    "blocks",
    "constant",
    "constexpr",
    "define",
    "fp64",
    "i64",
    "kernel",
    "launch",
    "library",
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
    return -(-count // size)


def power_of_two(count: int) -> int:
    """The least power of two that is at least `count`."""
    return 1 << max(count - 1, 0).bit_length()


def launch(kernel: Any, programs: int, *arguments: Any, warps: int = 4) -> None:
    """Run `programs` programs of `kernel`, none of them with fused multiply-add."""
    if not programs:
        return
    with np.errstate(all="ignore"):  # the interpreter's arithmetic is numpy's
        kernel[(programs,)](*arguments, num_warps=warps, enable_fp_fusion=False)


def _device_of(tensor: Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device: make it the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


library = torch.library.Library("diffrender", "FRAGMENT")


def define(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """An operator `diffrender::NAME` for CUDA tensors, and for the interpreter's on the CPU."""
    name = schema.split("(")[0]

    def on_device(first: Tensor, *rest: Any) -> Any:
        with _device_of(first):
            return run(first, *rest)

    library.define(schema)
    for key in ("CPU", "CUDA"):
        library.impl(name, on_device, key)
    torch.library.register_fake(f"diffrender::{name}", fake, lib=library)
    return f"diffrender::{name}"
