"""A data set of `diffrender reconstruct`: progress, summary and evaluation."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from diffrender._files import readable
from diffrender.errors import InputError
from diffrender.tools.console import note, print_json, warn
from diffrender.tools.console import out as standard_out
from diffrender.tools.evaluate import print_report
from diffrender.tools.inputs import DepthChoice, MaskChoice, kitti_folders
from diffrender.tools.reconstruct_frame import Fit

if TYPE_CHECKING:
    from diffrender.reconstruct.dataset import DatasetProgress, DatasetSummary

__all__ = ["whole_set"]

EVERY = 10.0  # seconds between lines where there is no terminal to draw a bar on


def whole_set(
    frames: tuple[Path, str],
    choices: tuple[DepthChoice, MaskChoice],
    fit: Fit,
    out: Path,
    where: tuple[int, str | None],
    as_json: bool,
) -> None:
    """Reconstruct a split of a KITTI folder and say what came of it.

    `frames` are root and split, `where` the workers and Ray's address.
    """
    from diffrender.reconstruct.dataset import (
        DatasetJob,
        Where,
        choose_frames,
        reconstruct_dataset,
    )

    place = Where(*where)  # wrong options are refused before anything is said of the frames
    chosen = choose_frames(*frames)
    depth, masks = choices
    read = kitti_folders(frames[0] / chosen.folder, masks.source, depth.source)
    if os.path.realpath(out) in [os.path.realpath(folder) for folder in read]:
        raise InputError(f"--out {out} is read as an input: name another place to write to")
    job = DatasetJob(
        str(frames[0]), chosen.folder, depth, masks, fit.prior, fit.settings, fit.start,
        depth.device, fit.seed,
    )  # fmt: skip
    if chosen.absent:
        warn(
            f"{len(chosen.absent)} of the {len(chosen.absent) + len(chosen.names)} frames of "
            f"{chosen.split} have no image in {frames[0] / chosen.folder}, the first is "
            f"{chosen.absent[0]}; they are left out"
        )
    with _progress(len(chosen.names)) as progress:
        summary = reconstruct_dataset(job, chosen, out, place, progress)
    for frame, reason in summary.failures.items():
        warn(f"frame {frame} failed: {reason}")
    if as_json:
        print_json(json.loads((out / "summary.json").read_text(encoding="utf-8")))
    else:
        _print(summary)
    if len(summary.failures) == summary.total:
        frame, reason = next(iter(summary.failures.items()))
        raise InputError(f"all {summary.total} frames failed; the first, {frame}: {reason}")


def _print(summary: DatasetSummary) -> None:
    console = standard_out()
    objects = ", ".join(f"{count} {name}" for name, count in summary.objects.items()) or "none"
    lines = {
        "frames": f"{summary.done} done, {summary.skipped} finished before, "
        f"{len(summary.failures)} failed, of {summary.total}",
        "objects": f"{objects}; {summary.rejected} instances not used",
        "masks": summary.masks,
        "rate": f"{summary.frames_per_minute:.1f} frames a minute, {summary.where}"
        + (f", {summary.retries} frames begun again" if summary.retries else ""),
    }
    for name, line in lines.items():
        console.print(readable(f"{name:<8} {line}"), markup=False, soft_wrap=True)
    if summary.report is not None:
        print_report(summary.report)
        for message in summary.report.warnings:
            warn(message)
    else:
        reason = readable(summary.not_evaluated)
        console.print(f"not evaluated: {reason}", markup=False, soft_wrap=True)
    finished = summary.done + summary.skipped
    rows = f"{summary.out / 'data'}: rows of {finished} frames, {len(summary.failures)} failed"
    for written in (rows, *map(str, summary.files)):
        console.print(f"wrote {readable(written)}", markup=False, soft_wrap=True)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[DatasetProgress], None]]:
    """A bar on a terminal, elsewhere a line now and then; on standard error."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = note()
    if not console.is_terminal:
        last = [time.monotonic()]

        def line(seen: DatasetProgress) -> None:
            ended = seen.skipped + seen.done + seen.failed == seen.total
            if ended or time.monotonic() - last[0] >= EVERY:
                last[0] = time.monotonic()
                console.print(f"{_ended(seen)} of {total}: {_rate(seen)}", markup=False)

        yield line
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def draw(seen: DatasetProgress) -> None:
            bar.update(task, completed=_ended(seen), description=_rate(seen))

        yield draw


def _ended(seen: DatasetProgress) -> int:
    return seen.skipped + seen.done + seen.failed


def _rate(seen: DatasetProgress) -> str:
    left = int(seen.seconds_left)
    text = f"{seen.frames_per_minute:.1f} frames a minute, "
    text += f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
    return text + (f", {seen.failed} failed" if seen.failed else "")
