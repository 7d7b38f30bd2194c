"""How many threads the kernels use, apart from how many torch uses for its own operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

__all__ = ["kernel_threads", "small_tensors"]

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
