"""Which back-ends of the products can run here, and which one a call gets."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from typing import Protocol

import torch
from torch import Tensor

from diffrender.blocksparse.pattern import BlockPattern
from diffrender.errors import InputError
from diffrender.native import instruction_set, reason_missing

__all__ = ["BACKENDS", "Products", "backends", "choose_backend", "products"]

BACKENDS = ("native", "torch", "triton")
_NATIVE_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Products(Protocol):
    """What a back-end's module offers: the products without autograd, inputs already checked."""

    def multiply(
        self,
        pattern: BlockPattern,
        values: Tensor,  # (nnz, b_m, b_k)
        x: Tensor,  # (..., k, n) or (..., n, k)
        *,
        transpose: bool,
        features_last: bool,
        plan: object | None = None,
    ) -> Tensor:
        """W x or W^T x, in x's dtype and layout."""
        ...

    def block_outer(
        self,
        pattern: BlockPattern,
        dy: Tensor,  # (..., m, n) or (..., n, m)
        x: Tensor,  # (..., k, n) or (..., n, k)
        *,
        features_last: bool,
        plan: object | None = None,
    ) -> Tensor:
        """dy x^T at the stored blocks, (nnz, b_m, b_k) in x's dtype."""
        ...


@functools.cache
def products(backend: str) -> Products:
    """The module of a back-end; "dense" is what the planner may answer."""
    return importlib.import_module(f"diffrender.blocksparse.{backend}_products")


@functools.cache
def _written(backend: str) -> bool:
    return importlib.util.find_spec(f"diffrender.blocksparse.{backend}_products") is not None


def backends() -> dict[str, str | None]:
    """The back-ends of the block-sparse products: None where usable, else the reason why not.

    `native` works on CPU tensors, `triton` on CUDA tensors, `torch` on any.
    """
    return {"native": _native_missing(), "torch": None, "triton": _triton_missing()}


def _native_missing() -> str | None:
    if not _written("native"):
        return "this version has no C++ kernels for these products"
    return reason_missing()


def _interpreting() -> bool:
    """Triton's interpreter, which runs kernels on the CPU to test them."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _triton_missing() -> str | None:
    if not _written("triton"):
        return "this version has no Triton kernels for these products"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (it comes with CUDA builds of torch for Linux)"
    if not torch.cuda.is_available() and not _interpreting():
        return "there is no CUDA device"
    return None


def _fits(backend: str, tensor: Tensor) -> bool:
    """Whether the back-end, where usable, can work on this tensor."""
    device = tensor.device.type
    if backend == "torch":
        return True
    if tensor.dtype not in _NATIVE_DTYPES:
        return False
    if backend == "native":
        return device == "cpu"
    return device == "cuda" or (device == "cpu" and _interpreting())


def choose_backend(backend: str | None, tensor: Tensor) -> str:
    """The back-end for `tensor`: the one asked for, or the fastest that fits.

    Raises:
        InputError: the back-end is unknown, or cannot work on this tensor here.
    """
    if backend is None:
        if _fits("native", tensor) and _written("native") and instruction_set() is not None:
            return "native"
        if tensor.is_cuda and _fits("triton", tensor) and _triton_missing() is None:
            return "triton"
        return "torch"
    if backend not in BACKENDS:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}, or None")
    missing = backends()[backend]
    if missing is not None:
        raise InputError(f"backend {backend!r} cannot be used: {missing}")
    if not _fits(backend, tensor):
        where = {"native": "the CPU", "triton": "a CUDA device"}.get(backend, "any device")
        raise InputError(
            f"backend {backend!r} works on floating tensors on {where}, not on {tensor.dtype} on "
            f"{tensor.device}; use backend='torch' or None"
        )
    return backend
