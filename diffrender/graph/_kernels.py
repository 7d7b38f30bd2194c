"""The graph's C++ kernels: when they can run, how to find one, and what its status says."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffrender.native import reason_missing, share_team, signature

__all__ = ["as_written", "check_status", "kernel", "native_inputs"]

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
_HALF = (torch.bfloat16, torch.float16)  # is widened: kernels sum in float32


def native_inputs(*tensors: Tensor | None) -> list[Tensor | None] | None:
    """The tensors as the kernels take them, in one dtype of float32 and float64; else None.

    None where the kernels are missing or a tensor is not on the CPU or of another dtype. Half
    precision becomes float32, whatever autocast says; who calls rounds what comes out.
    """
    there = [t for t in tensors if t is not None]
    wide = {torch.float32 if t.dtype in _HALF else t.dtype for t in there}
    if len(wide) > 1 or not wide <= _SUFFIX.keys() or reason_missing() is not None:
        return None
    if any(t.device.type != "cpu" for t in there):
        return None
    (dtype,) = wide
    return [None if t is None else t.to(dtype) for t in tensors]


def as_written(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a layer's weight and bias are all that it does, so that it need not be called.

    Not one with hooks, nor one whose weight is worked out by a hook (torch's pruning) or a subclass
    (its parametrizations).
    """
    return (
        type(layer) is kind
        and layer._parameters.get("weight") is not None
        and "forward" not in vars(layer)
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and not layer._backward_hooks
        and not layer._backward_pre_hooks
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
