"""Geometry is computed in float32 or better, whatever autocast or half-precision inputs say."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["at_precision", "full_precision", "without_autocast"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_HALVES = (torch.float16, torch.bfloat16)


def without_autocast(operation: Callable[_P, _R]) -> Callable[_P, _R]:
    """The operation with autocast switched off inside: half-precision pixels are no pixels."""

    @functools.wraps(operation)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            kind = "cpu" if torch.is_autocast_enabled("cpu") else "cuda"
            with torch.autocast(kind, enabled=False):
                return run(*args, **kwargs)
        return operation(*args, **kwargs)

    return run


def full_precision(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, everything else as it is."""
    return tensor.float() if tensor.dtype in _HALVES else tensor


def at_precision(name: str, tensor: Tensor, geometry: Tensor) -> Tensor:
    """A half-precision tensor in the dtype of the geometry; another one must have it already.

    Raises:
        InputError: the dtype is neither that of the geometry nor a half precision, or the tensor
            is on another device.
    """
    if tensor.device != geometry.device:
        raise InputError(
            f"{name} is on {tensor.device} but the fragments are on {geometry.device}; move one"
        )
    if tensor.dtype in _HALVES:
        return tensor.to(geometry.dtype)
    if tensor.dtype != geometry.dtype:
        raise InputError(
            f"{name} is {tensor.dtype} but the fragments are {geometry.dtype}; convert one"
        )
    return tensor
