"""What worker processes do at their beginning, so that none is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

from diffrender.errors import InputError

__all__ = ["begin_worker", "ended_worker"]


def begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: for the initializer of a pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def ended_worker(error: Exception) -> InputError:
    """What to say of a pool that broke because one of its processes was killed."""
    return InputError(
        f"a worker process was ended from outside, often for want of memory ({error}); what is "
        "done is kept: the same call goes on, with fewer workers if it happens again"
    )


def _end_with_parent() -> None:
    """A parent that was killed shuts no pool down: its processes would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # files of a worker are whole or absent, and nothing else of it is kept
