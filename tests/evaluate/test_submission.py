"""A submission is checked as the server would: names, number, columns, ranges."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from archives import write_zip
from kitti_scene import row

from diffrender.evaluate import SubmissionReport, lint_submission

FRAMES = ["000000", "000001", "000002"]


def _found(report: SubmissionReport, words: str) -> list[tuple[str, int, str]]:
    return [(f.level, f.count, f.first) for f in report.findings if words in f.what]


def _good() -> dict[str, str]:
    # alpha = rotation_y - atan2(x, z) = 0.3 - 0.0997
    rows = [row(place=(2, 1.6, 20), yaw=0.3, alpha=0.2, hard=(-1, -1), score=s) for s in (0.5, 0.6)]
    return {"000000": "\n".join(rows), "000001": "", "000002": rows[0]}


def _zip(path: Path, files: dict[str, str], folder: str = "") -> Path:
    return write_zip(path, {f"{folder}{name}.txt": text for name, text in files.items()})


def test_a_good_zip_has_no_findings(tmp_path: Path) -> None:
    report = lint_submission(_zip(tmp_path / "a.zip", _good()), FRAMES)
    assert report.findings == ()
    assert (report.files, report.empty, report.rows, report.errors) == (3, 1, 3, 0)
    assert report.classes == {"Car": 3}


def test_the_container_is_checked(tmp_path: Path) -> None:
    report = lint_submission(_zip(tmp_path / "a.zip", _good(), "data/"), FRAMES)
    assert _found(report, "lie in the folder 'data'") == [("error", 3, "")]
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("000000.txt"))
        archive.addfile(tarfile.TarInfo("notes.md"))
    report = lint_submission(path, FRAMES)
    assert _found(report, "the archive is no zip") == [("error", 1, "")]
    assert _found(report, "no result file") == [("warning", 1, "notes.md")]


def test_the_test_set_has_7518_frames(tmp_path: Path) -> None:
    report = lint_submission(_good())
    assert _found(report, "frames without a file, expected all of 7518") == [
        ("error", 7515, "000003.txt")
    ]


def test_files_of_other_frames_are_named() -> None:
    report = lint_submission({**_good(), "000099": ""}, FRAMES)
    assert _found(report, "not among the 3 expected") == [("error", 1, "000099.txt")]


def test_wrong_rows_are_counted_and_the_first_is_named() -> None:
    files = {**_good(), "000001": f"\n{row()}\n{row(score=0.5)} 7\n"}
    report = lint_submission(files, FRAMES)
    (finding,) = [f for f in report.findings if f.what.startswith("wrong row")]
    assert (finding.level, finding.count) == ("error", 2)
    assert "results: 000001.txt line 2: column 15 is the last" in finding.what


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"alpha": 3.5}, "error", "alpha is outside"),
        ({"yaw": -3.2}, "error", "rotation_y is outside"),
        ({"box": (200.0, 100.0, 100.0, 180.0)}, "error", "2D box is empty"),
        ({"size": (1.5, 0.0, 4.0)}, "error", "a size is not positive"),
        ({"kind": "Van"}, "warning", "none that the server evaluates"),
        ({"hard": (1.5, -1)}, "warning", "truncated is neither"),
        ({"hard": (-1, 5)}, "warning", "occluded is none of"),
        ({"alpha": -10}, "warning", "alpha is -10"),
        ({"box": (-3.0, 100.0, 100.0, 180.0)}, "warning", "leaves the largest KITTI image"),
        ({"box": (0.0, 100.0, 1250.0, 180.0)}, "warning", "leaves the largest KITTI image"),
        ({"box": (0.0, 100.0, 100.0, 124.9)}, "warning", "lower than 25 pixels"),
        ({"size": (-1.0, -1.0, -1.0)}, "warning", "the size is unknown"),
        ({"place": (2.0, -1000.0, 20.0)}, "warning", "the place is unknown"),
        ({"place": (2.0, 1.6, -1.0)}, "warning", "behind the camera"),
        ({"size": (1.5, 1.6, 40.0)}, "warning", "over 30 m"),
    ],
)
def test_ranges(changes: dict[str, object], level: str, words: str) -> None:
    good = {"alpha": 0.2, "hard": (-1, -1), "score": 0.4}
    files = {**_good(), "000001": f"\n{row(**{**good, **changes})}\n"}  # type: ignore[arg-type]
    report = lint_submission(files, FRAMES)
    assert _found(report, words) == [(level, 1, "000001.txt line 2")]


def test_angles_within_a_rounding_of_pi_are_fine() -> None:
    files = {**_good(), "000001": row(alpha=-3.14, yaw=3.14, score=0.4)}
    assert not _found(lint_submission(files, FRAMES), "is outside")


def test_mistakes_of_the_whole_set_are_seen() -> None:
    # Height and length exchanged, alpha left at 0, every score 1.
    wrong = row(size=(4.0, 1.6, 1.5), yaw=1.5, alpha=0, hard=(-1, -1), score=1)
    report = lint_submission(dict.fromkeys(FRAMES, f"{wrong}\n{wrong}"), FRAMES)
    assert _found(report, "columns 9 to 11 are height, width, length") == [("warning", 6, "")]
    assert _found(report, "alpha differs from rotation_y - atan2(x, z)") == [
        ("warning", 6, "000000.txt line 1")
    ]
    assert _found(report, "every score is 1") == [("warning", 6, "")]


def test_errors_come_first() -> None:
    report = lint_submission({**_good(), "000001": row(alpha=9, hard=(-1, 7), score=0.4)}, FRAMES)
    levels = [finding.level for finding in report.findings]
    assert levels == sorted(levels)
    assert report.errors == levels.count("error") == 1
