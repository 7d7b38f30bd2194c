"""A whole data set: every frame reconstructed, resumable, then zipped and evaluated."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffrender.errors import InputError
from diffrender.reconstruct.dataset.cluster import run_ray
from diffrender.reconstruct.dataset.folder import ResultFolder
from diffrender.reconstruct.dataset.frame import FrameOutcome, FrameReconstructor
from diffrender.reconstruct.dataset.job import DatasetJob, FrameChoice, describe
from diffrender.reconstruct.dataset.processes import run_here, run_processes
from diffrender.reconstruct.dataset.summary import (
    DatasetProgress,
    DatasetSummary,
    evaluate_results,
    summary_record,
)
from diffrender.reconstruct.inputs import default_masks
from diffrender.reconstruct.result_json import to_plain

__all__ = ["Where", "reconstruct_dataset"]


@dataclass(frozen=True)
class Where:
    """Where frames are computed; the results are the same everywhere.

    Attributes:
        workers: processes of this machine; 1 computes in this process.
        ray: address of a Ray cluster in place of that: "auto", HOST:PORT, or "local".
        retries: how often a frame is begun again whose worker died.
        in_flight: most Ray tasks submitted at a time; None: two for every place there is.
    """

    workers: int = 1
    ray: str | None = None
    retries: int = 3
    in_flight: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.in_flight is not None and self.in_flight < 1:
            raise InputError(f"in_flight is {self.in_flight}, expected at least 1")
        if self.ray is not None and self.workers != 1:
            raise InputError("give either workers, on this machine, or ray: a cluster has its own")

    def __str__(self) -> str:
        if self.ray is not None:
            return f"Ray at {self.ray}"
        return "this process" if self.workers == 1 else f"{self.workers} processes"


def reconstruct_dataset(
    job: DatasetJob,
    frames: FrameChoice,
    out: str | Path,
    where: Where | None = None,
    progress: Callable[[DatasetProgress], None] | None = None,
) -> DatasetSummary:
    """Reconstruct frames of a KITTI folder into a folder of results.

    Written: data/NAME.txt (KITTI rows), frames/NAME.json (poses, refused instances, times),
    failures/NAME.json, run.json (what run it is), results.zip (of this split, ready to be
    submitted), evaluation.json where there are labels, and summary.json. Labels are read at the
    end, for the evaluation alone (and, by their 2D boxes, where masks are made from them).

    A frame that fails is listed with its reason and stops nothing; frames that are finished are
    not computed again, failed ones are. The bits of the results do not depend on `where`, as long
    as the processors are of one kind.

    Args:
        job: what is done to a frame.
        frames: see `choose_frames`.
        out: folder of the results, new or of the same job.
        where: see `Where`.
        progress: called after every frame.

    Raises:
        InputError: the job cannot be begun, or `out` holds the results of another one.
        MissingExtraError: an extra that the job needs is not installed.
    """
    where = where or Where()
    started = time.perf_counter()
    if frames.folder != job.folder:
        raise InputError(f"the frames are of {frames.folder!r}, the job of {job.folder!r}")
    # Opened here even where others compute: what cannot be loaded is said before anything runs.
    near = _without_device(job) if where.ray is not None else job
    worker = FrameReconstructor(near)
    masks = _masks(worker, frames)
    folder = ResultFolder(out, describe(job))
    records = folder.finished(frames.names)
    waiting = [name for name in frames.names if name not in records]
    skipped, retries = len(records), 0
    failures: dict[str, str] = {}
    with closing(_outcomes(worker, job, waiting, where, folder.fingerprint)) as outcomes:
        for outcome in outcomes:
            record = folder.add(outcome)
            retries += outcome.attempts - 1
            if outcome.rows is None:
                failures[outcome.frame] = outcome.reason
            else:
                records[outcome.frame] = record
            if progress is not None:
                progress(
                    DatasetProgress(
                        outcome.frame,
                        outcome.reason,
                        len(frames.names),
                        skipped,
                        len(records) - skipped,
                        len(failures),
                        time.perf_counter() - started,
                    )
                )
    seconds = time.perf_counter() - started
    summary = DatasetSummary(
        out=folder.path,
        split=frames.split,
        folder=frames.folder,
        total=len(frames.names),
        skipped=skipped,
        done=len(records) - skipped,
        failures=failures,
        absent=frames.absent,
        objects=_classes(records.values()),
        rejected=sum(len(record.get("rejected", ())) for record in records.values()),
        retries=retries,
        seconds=seconds,
        frames_per_minute=60 * (len(records) - skipped + len(failures)) / seconds,
        where=str(where),
        masks=masks,
    )
    return _finish(summary, folder, frames, Path(job.root) / job.folder / "label_2")


def _finish(
    summary: DatasetSummary, folder: ResultFolder, frames: FrameChoice, labels: Path
) -> DatasetSummary:
    """Zip, evaluate, write the summary."""
    from diffrender.evaluate import report_json

    files = [folder.write_zip(frames.names)]
    report, reason = evaluate_results(labels, files[0], frames.names)
    if report is not None:
        files.append(folder.write("evaluation.json", report_json(report)))
    else:
        folder.remove("evaluation.json")  # of an earlier list: it would contradict the summary
    summary = dataclasses.replace(summary, report=report, not_evaluated=reason)
    record = to_plain(summary_record(summary, folder.fingerprint))
    files.append(folder.write("summary.json", record))
    return dataclasses.replace(summary, files=tuple(files))


def _outcomes(
    worker: FrameReconstructor, job: DatasetJob, names: Sequence[str], where: Where, key: str
) -> Generator[FrameOutcome, None, None]:
    if not names:
        return
    if where.ray is not None:
        yield from run_ray(
            job,
            names,
            address=where.ray,
            key=key,
            retries=where.retries,
            in_flight=where.in_flight,
        )
    elif where.workers > 1:
        yield from run_processes(job, names, where.workers, where.retries)
    else:
        yield from run_here(worker, names)


def _without_device(job: DatasetJob) -> DatasetJob:
    """The job as a driver can open it that has no GPU itself."""
    return dataclasses.replace(
        job,
        device="cpu",
        depth=dataclasses.replace(job.depth, device="cpu"),
        masks=dataclasses.replace(job.masks, device="cpu"),
    )


def _classes(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    found = Counter(item["category"] for record in records for item in record["objects"])
    return dict(sorted(found.items()))


def _masks(worker: FrameReconstructor, frames: FrameChoice) -> str:
    """Where instances came from, in words that say what a score of them is worth."""
    choice = worker.job.masks
    sharp = "" if choice.outline is None else f", sharpened by {choice.outline:g} pixels"
    frame = worker.frames[frames.names[0]]
    prompted = worker.sources.segmenter is not None and worker.sources.segmenter.card.needs_boxes
    if choice.segmenter is not None and not prompted:
        return f"the segmenter {choice.segmenter}{sharp}"
    source = choice.source or ("label_2" if prompted else default_masks(frame))
    by = f" by the segmenter {choice.segmenter}" if choice.segmenter is not None else ""
    if (frame.folder / source).resolve() == (frame.folder / "label_2").resolve():
        return f"the 2D boxes of label_2{by}{sharp}: detection itself is not measured"
    return f"{source}{by}{sharp}"
