"""Frames one after another, or in several processes of this machine."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import torch

from diffrender._processes import begin_worker
from diffrender.reconstruct.dataset.frame import (
    FrameOutcome,
    FrameReconstructor,
    attempt,
    failed,
    lost,
    use_threads,
)
from diffrender.reconstruct.dataset.job import DatasetJob

__all__ = ["run_here", "run_processes"]


def run_here(worker: FrameReconstructor, names: Sequence[str]) -> Iterator[FrameOutcome]:
    """Frames in this process, in their order; torch's threads are put back afterwards."""
    import cv2

    before = torch.get_num_threads(), cv2.getNumThreads()
    use_threads(worker.job.threads)
    try:
        for name in names:
            yield attempt(worker, name)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def run_processes(
    job: DatasetJob, names: Sequence[str], workers: int, retries: int
) -> Iterator[FrameOutcome]:
    """Frames in `workers` processes, as they are done; at most one a process is under way.

    A process that dies (killed, out of memory) is replaced, and its frame begun again up to
    `retries` times; no other frame is touched by that.
    """
    waiting = deque((name, 1) for name in names)
    pools = [_new_pool() for _ in range(min(workers, len(names)))]
    free = list(range(len(pools)))
    running: dict[Future[FrameOutcome], tuple[int, str, int]] = {}
    try:
        while waiting or running:
            while waiting and free:
                name, count = waiting.popleft()
                slot = free.pop()
                try:
                    future = pools[slot].submit(_work, job, name)
                except BrokenProcessPool:  # it died between two frames, which costs none a try
                    pools[slot].shutdown(wait=False)
                    pools[slot] = _new_pool()
                    future = pools[slot].submit(_work, job, name)
                running[future] = (slot, name, count)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, name, count = running.pop(future)
                free.append(slot)
                try:
                    yield dataclasses.replace(future.result(), attempts=count)
                except BrokenProcessPool as error:
                    pools[slot].shutdown(wait=False)
                    pools[slot] = _new_pool()
                    if count > retries:
                        yield lost(name, count, str(error).split("\n")[0])
                    else:
                        waiting.append((name, count + 1))
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _new_pool() -> ProcessPoolExecutor:
    # One process each: a pool of several is lost whole when one of them dies. Spawned, because
    # a fork of a process with threads (torch's, CUDA's) may hang.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=begin_worker)


_opened: list[FrameReconstructor] = []  # of this process: networks are loaded once


def _work(job: DatasetJob, name: str) -> FrameOutcome:
    if not _opened:
        use_threads(job.threads)
        try:
            _opened.append(FrameReconstructor(job))
        except Exception as error:  # it opened in the parent: memory or a device is short here
            return failed(name, error, 0.0, "")
    return attempt(_opened[0], name)
