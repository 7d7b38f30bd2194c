"""The C++ side of the products on the CPU: the record that kernels read, and how to call them."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch

from diffrender.native import signature

__all__ = ["DTYPES", "Product", "check_status", "kernel"]


# Types of storage, as `Product::dtype` of blocksparse.h numbers them.
DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


class Product(ctypes.Structure):
    """`Product` of blocksparse.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in (
            "dtype", "transposed", "features_last", "out_blocks", "in_blocks", "out_size",
            "in_size", "batch", "n", "threads", "vectors", "group", "bands", "chunk", "parts",
            "window", "pieces", "slices",
        )),
        *((name, ctypes.c_void_p) for name in (
            "offsets", "indices", "order", "segments", "starts", "groups", "places", "steps",
        )),
    )  # fmt: skip


@functools.cache
def kernel(name: str, arguments: str = "pppp") -> Callable[..., int]:
    """The C++ function of that name; `arguments` as `native.signature` takes them."""
    return signature(f"diffrender_blocksparse_{name}", arguments)


def check_status(status: int) -> None:
    """Raise what a kernel's status stands for; 0 is success."""
    if status:
        raise MemoryError("the native block-sparse product ran out of memory")
