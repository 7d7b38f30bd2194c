"""Check a KITTI object submission as the server would, before a submission is spent on it.

Source: the devkit's readme ("Evaluation", "Data Format Description") and the reading loop of its
cpp/evaluate_object.cpp, which drops wrong rows without a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from diffrender.evaluate.frame_files import FrameFiles, FrameSource, open_frames
from diffrender.evaluate.kitti_rows import ObjectRows, parse_files
from diffrender.evaluate.rows_python import TYPES
from diffrender.native import reason_missing

__all__ = ["Finding", "SubmissionReport", "lint_submission"]

TEST_FRAMES = 7518
IMAGE_SIZE = (1242.0, 376.0)  # the largest image of the set
_EVALUATED = ("Car", "Pedestrian", "Cyclist")
_TURN = math.pi + 0.005  # two decimals of pi are larger than pi


@dataclass(frozen=True)
class Finding:
    """Attributes:
    level: "error" for what the server rejects, drops or misreads, else "warning".
    what: what was found, what was expected.
    count: how many rows or files.
    first: where it was found first, or "".
    """

    level: Literal["error", "warning"]
    what: str
    count: int
    first: str


@dataclass(frozen=True)
class SubmissionReport:
    """Attributes:
    source: what was read.
    files, empty, rows: result files, those without a row, rows of the right form.
    classes: rows per type.
    findings: errors first.
    """

    source: str
    files: int
    empty: int
    rows: int
    classes: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level == "error" for finding in self.findings)


def lint_submission(source: FrameSource, frames: Sequence[str] | None = None) -> SubmissionReport:
    """Names, number of files, columns, ranges and angles of a submission.

    Args:
        source: the .zip to be submitted, or a folder or tar of the same files.
        frames: frames that must be there; None: the 7518 of the test set.

    Raises:
        InputError: nothing that can be read as results at all.
    """
    files = open_frames(source, "results")
    wanted = list(frames) if frames is not None else [f"{i:06d}" for i in range(TEST_FRAMES)]
    backend = "python" if reason_missing() else "native"
    rows = parse_files(files, files.names, (16, 16), "drop", backend)
    found = [*_container(source, files), *_names(files, wanted)]
    if rows.wrong:
        found.append(Finding("error", f"wrong row: {rows.wrong[0]}", len(rows.wrong), ""))
    found += _row_findings(files, rows)
    kinds = {name: int((rows.kind == i).sum()) for i, name in enumerate(TYPES)}
    return SubmissionReport(
        files.source,
        len(files.names),
        int((np.diff(rows.starts) == 0).sum()),
        len(rows.kind),
        {name: n for name, n in (kinds | rows.other_types).items() if n},
        tuple(sorted(found, key=lambda finding: finding.level != "error")),
    )


def _container(source: FrameSource, files: FrameFiles) -> list[Finding]:
    found = []
    if isinstance(source, str | Path) and Path(source).is_file():
        with Path(source).open("rb") as file:
            if file.read(2) != b"PK":
                found.append(Finding("error", "the archive is no zip; the server wants one", 1, ""))
        if files.folder:
            where = f"the files lie in the folder '{files.folder}', expected at the top of the zip"
            found.append(Finding("error", where, len(files.names), ""))
    if files.others:
        what = "files that are no result file"
        found.append(Finding("warning", what, len(files.others), files.others[0]))
    return found


def _names(files: FrameFiles, wanted: list[str]) -> list[Finding]:
    here, expected = set(files.names), set(wanted)
    missing = [name for name in wanted if name not in here]
    extra = [name for name in files.names if name not in expected]
    found = []
    if missing:
        what = f"frames without a file, expected all of {len(wanted)} (an empty one is allowed)"
        found.append(Finding("error", what, len(missing), f"{missing[0]}.txt"))
    if extra:
        what = f"files of frames that are not among the {len(wanted)} expected"
        found.append(Finding("error", what, len(extra), f"{extra[0]}.txt"))
    return found


def _row_findings(files: FrameFiles, rows: ObjectRows) -> list[Finding]:
    """Rules over all rows; each gives one finding with its count and first place."""
    column = rows.column
    left, top, right, bottom = rows.image_boxes.T
    size = np.stack([column(name) for name in ("height", "width", "length")])
    place = np.stack([column(axis) for axis in "xyz"])
    unsized, unplaced = (size == -1).all(axis=0), (place == -1000).any(axis=0)
    placed: np.ndarray = ~unsized & ~unplaced
    evaluated = np.isin(rows.kind, [TYPES.index(name) for name in _EVALUATED])
    cut, alpha, yaw = column("truncated"), column("alpha"), column("rotation_y")
    ray = (alpha - yaw + np.arctan2(place[0], place[2]) + math.pi) % (2 * math.pi) - math.pi
    bent = placed & (alpha != -10) & (np.abs(ray) > math.radians(10))
    rules: list[tuple[Literal["error", "warning"], str, np.ndarray]] = [
        ("error", "alpha is outside [-pi, pi] and not -10", (abs(alpha) > _TURN) & (alpha != -10)),
        ("error", "rotation_y is outside [-pi, pi] and not -10", (abs(yaw) > _TURN) & (yaw != -10)),
        ("error", "the 2D box is empty: left < right and top < bottom are expected",
         ~((left < right) & (top < bottom))),
        ("error", "a size is not positive, though not all three are -1 (unknown)",
         (size <= 0).any(axis=0) & ~unsized),
        ("warning", "the class is none that the server evaluates (Car, Pedestrian, Cyclist)",
         ~evaluated),
        ("warning", "truncated is neither -1 nor within [0, 1]",
         (cut != -1) & ~((cut >= 0) & (cut <= 1))),
        ("warning", "occluded is none of -1, 0, 1, 2, 3",
         ~np.isin(column("occluded"), (-1, 0, 1, 2, 3))),
        ("warning", "alpha is -10, which switches AOS off for every class", alpha == -10),
        ("warning", "the 2D box leaves the largest KITTI image (1242 x 376)",
         (left < 0) | (top < 0) | (right > IMAGE_SIZE[0]) | (bottom > IMAGE_SIZE[1])),
        ("warning", "the 2D box is lower than 25 pixels, so the detection is ignored",
         np.trunc(np.abs(bottom - top)) < 25),
        ("warning", "the size is unknown (-1), so BEV and 3D cannot count it", unsized),
        ("warning", "the place is unknown (-1000), so BEV or 3D cannot count it", unplaced),
        ("warning", "the place is behind the camera (z <= 0)", placed & (column("z") <= 0)),
        ("warning", "a size is over 30 m", size.max(axis=0) > 30),
    ]  # fmt: skip
    found = [
        Finding(level, what, int(hit.sum()), _where(files, rows, int(hit.argmax())))
        for level, what, hit in rules
        if hit.any()
    ]
    if bent.sum() > 0.1 * max(int(placed.sum()), 1):
        what = "alpha differs from rotation_y - atan2(x, z) by more than 10 degrees"
        found.append(
            Finding("warning", what, int(bent.sum()), _where(files, rows, int(bent.argmax())))
        )
    return found + _whole_set(rows, placed)


def _whole_set(rows: ObjectRows, placed: np.ndarray) -> list[Finding]:
    found = []
    score = rows.column("score")
    if len(score) > 1 and (score == score[0]).all():
        what = f"every score is {score[0]:g}, so the curves have a single point"
        found.append(Finding("warning", what, len(score), ""))
    cars = placed & (rows.kind == TYPES.index("Car"))
    if cars.any():
        height, width, length = (
            float(np.median(rows.column(name)[cars])) for name in ("height", "width", "length")
        )
        if not length > max(height, width):
            what = (
                f"the median car is {height:.2f} high, {width:.2f} wide and {length:.2f} long; "
                "columns 9 to 11 are height, width, length"
            )
            found.append(Finding("warning", what, int(cars.sum()), ""))
    return found


def _where(files: FrameFiles, rows: ObjectRows, row: int) -> str:
    frame = int(np.searchsorted(rows.starts, row, side="right")) - 1
    return f"{files.names[frame]}.txt line {int(rows.lines[row])}"
