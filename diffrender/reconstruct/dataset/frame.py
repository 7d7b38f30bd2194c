"""One frame of a data set, wherever it is computed: what it gives, or why it failed."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
import traceback
from dataclasses import dataclass
from typing import Any

import torch

from diffrender.datasets import KittiObject
from diffrender.errors import InputError
from diffrender.reconstruct.classes import named_prior
from diffrender.reconstruct.dataset.job import DatasetJob
from diffrender.reconstruct.inputs import Sources
from diffrender.reconstruct.kitti_rows import kitti_rows
from diffrender.reconstruct.pipeline import Run, reconstruct
from diffrender.reconstruct.result_json import object_record, to_plain
from diffrender.reconstruct.scene import Scene

__all__ = ["FrameOutcome", "FrameReconstructor", "attempt", "lost", "use_threads"]


@dataclass(frozen=True)
class FrameOutcome:
    """What became of a frame.

    Attributes:
        frame: its name.
        rows: text of the KITTI result file; None where the frame failed.
        record: objects and refused instances as plain values; {} where it failed.
        reason: one line that says why it failed, or "".
        details: the traceback of a failure that is no matter of the inputs, or "".
        seconds: spent on it.
        worker: host and process.
        attempts: how often it was begun; more than 1 where a worker died.
    """

    frame: str
    rows: str | None
    record: dict[str, Any]
    reason: str = ""
    details: str = ""
    seconds: float = 0.0
    worker: str = ""
    attempts: int = 1


class FrameReconstructor:
    """A job with its networks and prior loaded, for one frame after another.

    Raises:
        InputError, MissingExtraError: something that the job names cannot be loaded.
    """

    def __init__(self, job: DatasetJob) -> None:
        from diffrender._devices import pick_device

        pick_device(job.device)
        self.job = job
        self.frames = KittiObject(job.root, split=job.folder)
        self.prior = named_prior(job.prior)
        self.start = None if job.start is None else job.start.load(job.device)
        self.sources = Sources(job.depth, job.masks)

    def scene(self, name: str) -> Scene:
        """The reconstruction of one frame.

        Raises:
            InputError: the frame's files are missing or broken, or its depth finds no scale.
        """
        job = self.job
        inputs = self.sources.of_kitti(self.frames[name])
        return reconstruct(
            inputs.image,
            inputs.camera,
            inputs.instances,
            inputs.depth,
            self.prior,
            dataclasses.replace(job.settings, camera_height=inputs.camera_height),
            Run(
                name=name,
                depth_source=inputs.depth_source,
                device=job.device,
                seed=job.seed,
                rejected=tuple(inputs.rejected),
                start=self.start,
            ),
        )


def attempt(worker: FrameReconstructor, name: str) -> FrameOutcome:
    """Reconstruct a frame; whatever it raises is its outcome and not the run's end."""
    started = time.perf_counter()
    where = f"{socket.gethostname()}:{os.getpid()}"
    try:
        scene = worker.scene(name)
        rows = kitti_rows(scene.objects, scene.camera.size)
        record = _record(scene)
    except Exception as error:  # one frame must not stop the others, whatever is wrong with it
        seconds = time.perf_counter() - started
        return failed(name, error, seconds, where)
    return FrameOutcome(name, rows, record, seconds=time.perf_counter() - started, worker=where)


def failed(name: str, error: Exception, seconds: float, worker: str) -> FrameOutcome:
    """The outcome of a frame that raised."""
    said = " ".join(str(error).split())
    if isinstance(error, InputError):
        return FrameOutcome(name, None, {}, said, "", seconds, worker)
    reason = f"{type(error).__name__}: {said}"
    details = "".join(traceback.format_exception(error))
    return FrameOutcome(name, None, {}, reason, details, seconds, worker)


def lost(name: str, attempts: int, why: str) -> FrameOutcome:
    """The outcome of a frame whose workers died."""
    times = "once" if attempts == 1 else f"{attempts} times"
    reason = f"the worker died {times} while it had this frame ({why})"
    return FrameOutcome(name, None, {}, reason, attempts=attempts)


def use_threads(count: int) -> None:
    """Let torch and OpenCV compute with `count` threads in this process."""
    import cv2

    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def _record(scene: Scene) -> dict[str, Any]:
    """Everything of result.json that is not about the run or the files; without loss curves."""
    objects = [object_record(item) for item in scene.objects]
    for one in objects:
        del one["history"]
    record: dict[str, Any] = to_plain(
        {
            "depth_source": scene.depth_source,
            "objects": objects,
            "rejected": [item._asdict() for item in scene.rejected],
            "timings": scene.timings,
        }
    )
    return record
