"""How many threads the kernels use, apart from how many torch uses for its own operations."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
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
    token = _threads.set(_enter())
    try:
        yield
    finally:
        _threads.reset(token)
        _leave()


# Torch's number is one for the whole process, and several of its threads may be inside.
_inside = threading.Lock()
_depth, _before = 0, 1


def _enter() -> int:
    """Set torch to one thread; returns how many the kernels may have."""
    global _depth, _before
    with _inside:
        if _depth == 0:
            _before = torch.get_num_threads()
        _depth += 1
        torch.set_num_threads(1)
        return _threads.get() or _before


def _leave() -> None:
    """The last one to leave gives torch its number back."""
    global _depth
    with _inside:
        _depth -= 1
        if _depth == 0:
            torch.set_num_threads(_before)


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
