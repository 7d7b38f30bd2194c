"""Which back-ends can run here, and which one a call gets."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.native import instruction_set, reason_missing

__all__ = ["backends", "choose_backend"]


def backends() -> dict[str, str | None]:
    """The rasterizer's back-ends: None where usable, else the reason why not."""
    return {"native": reason_missing(), "torch": None, "pytorch3d": _pytorch3d_missing()}


def _pytorch3d_missing() -> str | None:
    if importlib.util.find_spec("pytorch3d") is None:
        return "pytorch3d is not installed; build it from source, then: diffrender[pytorch3d]"
    return "it draws through diffrender.raster.pytorch3d_raster.rasterize_with_pytorch3d alone"


def choose_backend(backend: str | None, tensor: Tensor) -> str:
    """The back-end for `tensor`: the one asked for, or the fastest that fits.

    Raises:
        InputError: the back-end is unknown, or cannot work on this tensor here.
    """
    fits = tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)
    if backend is None:
        return "native" if fits and instruction_set() is not None else "torch"
    if backend == "torch":
        return backend
    if backend not in backends():
        raise InputError(f"backend is {backend!r}, expected one of {sorted(backends())} or None")
    missing = backends()[backend]
    if missing is not None:
        raise InputError(f"backend {backend!r} cannot be used: {missing}")
    if not fits:
        raise InputError(
            f"backend 'native' works on float32 or float64 tensors on the CPU, not on "
            f"{tensor.dtype} on {tensor.device}; use backend='torch' or None"
        )
    return backend
