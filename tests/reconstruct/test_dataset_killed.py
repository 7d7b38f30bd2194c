"""A run that is killed takes its worker processes with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# A run whose only process has begun and waits for its next frame.
RUN = """
import os, time
from diffrender.reconstruct.dataset.processes import _new_pool

if __name__ == "__main__":
    pool = _new_pool()
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a matter of POSIX")
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(RUN)
    words = [sys.executable, str(tmp_path / "run.py")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert worker != parent.pid
        parent.kill()
        try:
            # The worker holds the other end of this pipe: it closes when the worker ends. Its
            # process id would not tell, since nobody may collect what a killed parent leaves.
            parent.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            pytest.fail(f"process {worker} outlived its killed parent")
