"""What every Triton kernel of the rasterizer shares, beyond the names of `diffrender._triton`.

Kernels compute in float64 and are compiled without fused multiply-add: a x b is then exactly
-(b x a), as in the C++ kernels, so two faces that share an edge see opposite edge functions and
both back-ends draw the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrender._triton import (
    Block,
    Pointer,
    blocks,
    constant,
    constexpr,
    device_of,
    fp64,
    i64,
    kernel,
    power_of_two,
    tl,
)

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


def launch(kernel: Any, programs: int, *arguments: Any, warps: int = 4) -> None:
    """Run `programs` programs of `kernel`, none of them with fused multiply-add."""
    if not programs:
        return
    with np.errstate(all="ignore"):  # the interpreter's arithmetic is numpy's
        kernel[(programs,)](*arguments, num_warps=warps, enable_fp_fusion=False)


library = torch.library.Library("diffrender", "FRAGMENT")


def define(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """An operator `diffrender::NAME` for CUDA tensors, and for the interpreter's on the CPU."""
    name = schema.split("(")[0]

    def on_device(first: Tensor, *rest: Any) -> Any:
        with device_of(first):
            return run(first, *rest)

    library.define(schema)
    for key in ("CPU", "CUDA"):
        library.impl(name, on_device, key)
    torch.library.register_fake(f"diffrender::{name}", fake, lib=library)
    return f"diffrender::{name}"
