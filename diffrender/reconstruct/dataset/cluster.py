"""Frames as tasks of a Ray cluster, or of a local Ray.

Source: Moritz et al., "Ray: a distributed framework for emerging AI applications", OSDI 2018.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffrender._onnx import files_of
from diffrender.errors import InputError, require
from diffrender.reconstruct.dataset.frame import (
    FrameOutcome,
    FrameReconstructor,
    attempt,
    failed,
    lost,
    use_threads,
)
from diffrender.reconstruct.dataset.job import DatasetJob

__all__ = ["Payload", "frame_task", "pack", "run_ray"]

_AHEAD = 2  # tasks for every place that can run one: one at work, one waiting at its door


@dataclass(frozen=True)
class Content:
    """Files of a folder, or (where `name` is not "") that file and what lies beside it."""

    name: str
    files: dict[str, np.ndarray]


@dataclass(frozen=True)
class Payload:
    """What every task needs, put in the object store once.

    Attributes:
        job: with the paths of the files that travel.
        files: content of what the job's depth, masks, prior and start name.
        key: tells payloads apart in a worker's memory.
        version: of this package; another one on a worker is refused.
    """

    job: DatasetJob
    files: dict[str, Content]
    key: str
    version: str


def run_ray(
    job: DatasetJob,
    names: Sequence[str],
    *,
    address: str,
    key: str,
    retries: int,
    in_flight: int | None = None,
) -> Iterator[FrameOutcome]:
    """Frames as Ray tasks, as they are done.

    Weights and prior are put in the object store once; frames are read by the workers from the
    job's root. No more than `in_flight` tasks are submitted at a time (None: two for every place
    of the cluster as it is then), so that neither queue nor store grows with the data set. A task
    whose worker or node dies is begun again up to `retries` times.

    Args:
        address: "auto" or "ray://HOST:10001" or "HOST:6379" of a cluster; "local" starts a Ray on
            this machine. Ignored where this process has joined a cluster already.

    Raises:
        InputError: no cluster there.
        MissingExtraError: ray is not installed.
    """
    ray = require("ray", "cluster")
    joined = not ray.is_initialized()
    if joined:
        _join(ray, address)
    try:
        payload = ray.put(pack(job, key))
        task = ray.remote(
            num_cpus=job.threads, num_gpus=1 if job.device.startswith("cuda") else 0, max_retries=0
        )(frame_task)
        waiting = deque((name, 1) for name in names)
        running: dict[Any, tuple[str, int]] = {}
        while waiting or running:
            limit = in_flight or _AHEAD * _places(ray, job)
            while waiting and len(running) < limit:
                name, count = waiting.popleft()
                # In a list the reference stays one: workers fetch what they have not got yet.
                running[task.remote([payload], key, name)] = (name, count)
            (done,), _ = ray.wait(list(running), num_returns=1)
            name, count = running.pop(done)
            try:
                yield dataclasses.replace(ray.get(done), attempts=count)
            except ray.exceptions.RayTaskError as error:  # the task raised, its worker lives
                yield dataclasses.replace(failed(name, error, 0.0, ""), attempts=count)
            except ray.exceptions.RayError as error:  # worker, node, memory, object: all transient
                if count > retries:
                    yield lost(name, count, type(error).__name__)
                else:
                    waiting.append((name, count + 1))
    finally:
        if joined:
            ray.shutdown()


def _join(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, TimeoutError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"no Ray cluster at {address!r} ({said}); start one with `ray start --head` and give "
            "its address, or use --ray local, or --workers N without Ray"
        ) from error


def _places(ray: Any, job: DatasetJob) -> int:
    """How many tasks the cluster can run at once; at least one (it may grow)."""
    there = ray.cluster_resources()
    places = int(there.get("CPU", 0)) // job.threads
    if job.device.startswith("cuda"):
        places = min(places, int(there.get("GPU", 0)))
    return max(places, 1)


def pack(job: DatasetJob, key: str) -> Payload:
    """The job with the content of the files that it names, and of the shipped network.

    Shipped priors and the shipped predictor lie in every worker's own copy of this version. A model
    of the hub that is named, not a folder, is fetched by every worker itself.

    Raises:
        InputError: a file that cannot be read.
    """
    from importlib.metadata import version

    from diffrender.depth.dpt_timm import shipped_weights

    depth = job.depth.weights
    if job.depth.source == "dpt-timm" and depth is None:
        depth = str(shipped_weights())
    start = None if job.start is None else job.start.weights
    named = {"depth": depth, "masks": job.masks.weights, "prior": None, "start": start}
    if Path(job.prior).is_file():  # not a folder that happens to be called "car"
        named["prior"] = job.prior
    files = {what: _content(Path(p)) for what, p in named.items() if p and Path(p).exists()}
    return Payload(job, files, key, version("diffrender"))


def frame_task(payload: list[Any], key: str, name: str) -> FrameOutcome:
    """One frame in a worker; the networks are loaded by its first one."""
    if key not in _opened:
        import ray

        try:
            worker = _open(ray.get(payload[0]))
        except Exception as error:  # it opened in the driver: memory or a device is short here
            return failed(name, error, 0.0, "")
        _opened.clear()  # a worker may outlive a job
        _opened[key] = worker
    return attempt(_opened[key], name)


_opened: dict[str, FrameReconstructor] = {}


def _open(payload: Payload) -> FrameReconstructor:
    from importlib.metadata import version

    if version("diffrender") != payload.version:
        raise InputError(
            f"this worker has diffrender {version('diffrender')}, the driver {payload.version}; "
            "install the same version on every node"
        )
    job = payload.job
    use_threads(job.threads)
    with tempfile.TemporaryDirectory() as folder:
        paths = {what: _unpack(content, Path(folder) / what) for what, content in
                 payload.files.items()}  # fmt: skip
        start = job.start
        if start is not None and "start" in paths:
            start = start.at(paths["start"])
        job = dataclasses.replace(
            job,
            start=start,
            depth=dataclasses.replace(job.depth, weights=paths.get("depth", job.depth.weights)),
            masks=dataclasses.replace(job.masks, weights=paths.get("masks", job.masks.weights)),
            prior=paths.get("prior", job.prior),
        )
        return FrameReconstructor(job)


def _content(path: Path) -> Content:
    """A file and those beside it that belong to it, or all files of a folder."""
    top = path if path.is_dir() else path.parent
    name = "" if path.is_dir() else path.name
    return Content(name, {str(p.relative_to(top)): _bytes(p) for p in files_of(path)})


def _unpack(content: Content, folder: Path) -> str:
    """Write the files below `folder`; returns the path that the job is to name."""
    for name, data in content.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    return str(folder / content.name)


def _bytes(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), dtype=np.uint8)  # read without a copy by workers
