"""What came of a run over a data set, as values, as JSON and evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffrender.errors import InputError

if TYPE_CHECKING:
    from diffrender.evaluate import KittiReport

__all__ = ["DatasetProgress", "DatasetSummary", "evaluate_results", "summary_record"]

SCHEMA = 1


@dataclass(frozen=True)
class DatasetProgress:
    """How far a run is, after each frame.

    Attributes:
        frame: the frame that has just ended, and `reason` why it failed, or "".
        total, skipped, done, failed: frames in all, finished by an earlier run, and of this one.
        seconds: since the run began.
    """

    frame: str
    reason: str
    total: int
    skipped: int
    done: int
    failed: int
    seconds: float

    @property
    def frames_per_minute(self) -> float:
        """Of this run, with its start."""
        return 60 * (self.done + self.failed) / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """At the rate so far."""
        left = self.total - self.skipped - self.done - self.failed
        return 60 * left / max(self.frames_per_minute, 1e-9)


@dataclass(frozen=True)
class DatasetSummary:
    """Attributes:
    out: the folder.
    split, folder: of the frames.
    total, skipped, done: frames asked for, finished by an earlier run, done by this one.
    failures: frame -> why it failed.
    absent: frames of the split that have no image.
    objects, rejected: over all finished frames, by class and by count.
    retries: how often a frame was begun again because a worker died.
    seconds, frames_per_minute: of this run, start and end included.
    where: "this process", "4 processes" or "Ray at ADDRESS".
    masks: where instances came from.
    report: the evaluation, or None; then `not_evaluated` says why.
    files: what was written.
    """

    out: Path
    split: str
    folder: str
    total: int
    skipped: int
    done: int
    failures: dict[str, str]
    absent: tuple[str, ...]
    objects: dict[str, int]
    rejected: int
    retries: int
    seconds: float
    frames_per_minute: float
    where: str
    masks: str
    report: KittiReport | None = None
    not_evaluated: str = ""
    files: tuple[Path, ...] = field(default=())


def evaluate_results(
    labels: Path, results: Path, names: Sequence[str]
) -> tuple[KittiReport | None, str]:
    """Average precision over the frames that have labels, or why there is none."""
    from diffrender.evaluate import kitti_average_precision

    if not labels.is_dir():
        return None, f"there are no labels in {labels}"
    labelled = [name for name in names if (labels / f"{name}.txt").is_file()]
    if not labelled:
        return None, f"none of the {len(names)} frames has a label file in {labels}"
    try:
        return kitti_average_precision(labels, results, labelled), ""
    except InputError as error:
        return None, str(error)


def summary_record(summary: DatasetSummary, fingerprint: str) -> dict[str, Any]:
    """summary.json; docs/datasets-at-scale.md describes it."""
    report = summary.report
    evaluated: dict[str, Any] = {"not_evaluated": summary.not_evaluated}
    if report is not None:
        evaluated = {
            "frames": report.inputs.frames,
            "average_precision": [
                {
                    "class": one.name,
                    "metric": row.metric,
                    "overlap": row.overlap,
                    "difficulty": row.difficulty,
                    "ap_r40": row.r40,
                }
                for one in report.classes
                for row in one.rows
            ],
            "warnings": list(report.warnings),
        }
    return {
        "schema": SCHEMA,
        "fingerprint": fingerprint,
        "split": summary.split,
        "folder": summary.folder,
        "frames": {
            "total": summary.total,
            "finished_before": summary.skipped,
            "done": summary.done,
            "failed": len(summary.failures),
            "absent": len(summary.absent),
        },
        "failures": [{"frame": f, "reason": r} for f, r in sorted(summary.failures.items())],
        "absent": list(summary.absent),
        "objects": summary.objects,
        "rejected": summary.rejected,
        "retries": summary.retries,
        "seconds": summary.seconds,
        "frames_per_minute": summary.frames_per_minute,
        "where": summary.where,
        "masks": summary.masks,
        "evaluation": evaluated,
    }
