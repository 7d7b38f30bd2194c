"""How many threads the kernels use, apart from how many torch uses for its own operations."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch

from diffrender.native._library import signature

__all__ = ["kernel_threads", "share_team", "small_tensors"]

_threads: ContextVar[int | None] = ContextVar("diffrender_kernel_threads", default=None)


def kernel_threads() -> int:
    """Threads for a kernel: torch's own number, unless inside `small_tensors`."""
    return _threads.get() or torch.get_num_threads()


@contextmanager
def small_tensors() -> Iterator[None]:
    """Torch's operations on one thread and the kernels on as many as torch had before.

    For loops over small tensors: torch's threads gain nothing there, and where other processes
    want the cores too they spend most of the time spinning at their barriers.
    """
    before = torch.get_num_threads()
    token = _threads.set(kernel_threads())
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _threads.reset(token)


@functools.cache
def share_team() -> bool:
    """Let kernels that take turns with torch's own use its team of threads; whether there is one.

    Torch's wheels bring their own libgomp. Nothing is loaded for this: where that library is not in
    the process already, the kernels keep their own pool.
    """
    already = getattr(os, "RTLD_NOLOAD", None)
    if already is None:
        return False
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        try:
            start = ctypes.CDLL(str(path), mode=already).GOMP_parallel
        except (OSError, AttributeError):
            continue
        address = ctypes.cast(start, ctypes.c_void_p).value
        return bool(signature("diffrender_share_team", "p")(address))
    return False
