"""Which back-ends can run here, and which one a call gets."""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.native import instruction_set, reason_missing

__all__ = ["backends", "check_deterministic", "choose_backend", "native_ready"]

_NAMES = ("native", "torch", "triton")


def backends() -> dict[str, str | None]:
    """The rasterizer's back-ends: None where usable, else the reason why not.

    `native` works on CPU tensors, `triton` on CUDA tensors, `torch` on any. `pytorch3d` only draws:
    `rasterize` takes it, and the other operations take its fragments on any other back-end.
    """
    return {
        "native": reason_missing(),
        "torch": None,
        "triton": _triton_missing(),
        "pytorch3d": _pytorch3d_missing(),
    }


def _pytorch3d_missing() -> str | None:
    if importlib.util.find_spec("pytorch3d") is None:
        return "pytorch3d is not installed; build it from source, then: diffrender[pytorch3d]"
    return None


def _interpreting() -> bool:
    """Triton's interpreter, which runs kernels on the CPU to test them."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _triton_missing() -> str | None:
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
    if backend == "pytorch3d":
        return tensor.dtype == torch.float32
    if tensor.dtype not in (torch.float32, torch.float64):
        return False
    if backend == "native":
        return device == "cpu"
    return device == "cuda" or (device == "cpu" and _interpreting())


def native_ready() -> bool:
    """Whether the C++ kernels can be used; a constant for torch.compile."""
    return instruction_set() is not None


# What torch.compiler.assume_constant_result does, without loading the compiler to say so.
native_ready._dynamo_marked_constant = True  # type: ignore[attr-defined]


def choose_backend(
    backend: str | None, tensor: Tensor, *, drawing: bool = False, deterministic: bool = False
) -> str:
    """The back-end for `tensor`: the one asked for, or the fastest that fits.

    Raises:
        InputError: the back-end is unknown, or cannot work on this tensor here, or not with the
            same bits twice where `deterministic` asks for that.
    """
    chosen = _choose(backend, tensor, drawing)
    if deterministic:
        check_deterministic(chosen, tensor.is_cuda)
    return chosen


def check_deterministic(backend: str, on_cuda: bool) -> None:
    """Raise InputError unless the back-end gives the same bits twice, forward and backward.

    Our kernels add in a fixed order, and so does torch on the CPU. On a CUDA device torch's own
    sums around and instead of them do so only when it is told to.
    """
    if not on_cuda:
        return
    if backend == "pytorch3d":
        raise InputError(
            "deterministic=True cannot be kept by backend 'pytorch3d' on a CUDA device, whose "
            "gradients add up in any order; use backend=None"
        )
    if not torch.are_deterministic_algorithms_enabled():
        raise InputError(
            "deterministic=True on a CUDA device needs torch.use_deterministic_algorithms(True): "
            "torch's own sums add up in any order there"
        )


def _choose(backend: str | None, tensor: Tensor, drawing: bool) -> str:
    if backend is None:
        if _fits("native", tensor) and native_ready():
            return "native"
        if tensor.is_cuda and _fits("triton", tensor) and _triton_missing() is None:
            return "triton"
        return "torch"
    names = (*_NAMES, "pytorch3d") if drawing else _NAMES
    if backend not in names:
        raise InputError(f"backend is {backend!r}, expected one of {', '.join(names)}, or None")
    missing = backends()[backend]
    if missing is not None:
        raise InputError(f"backend {backend!r} cannot be used: {missing}")
    if not _fits(backend, tensor):
        where = {"native": "the CPU", "triton": "a CUDA device"}.get(backend, "any device")
        kinds = "float32" if backend == "pytorch3d" else "float32 or float64"
        raise InputError(
            f"backend {backend!r} works on {kinds} tensors on {where}, not on "
            f"{tensor.dtype} on {tensor.device}; use backend='torch' or None"
        )
    return backend
