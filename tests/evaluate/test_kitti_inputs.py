"""Which frames are evaluated, what is missing, and what a reader is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
from kitti_scene import row

from diffrender.errors import InputError
from diffrender.evaluate import KittiSettings, kitti_average_precision

LABELS = {f"{i:06d}": row() + "\n" for i in range(4)}
RESULTS = {"000001": row(score=0.5) + " \n", "000002": "", "000009": row(score=0.5)}
STRICT = KittiSettings(classes=("Car",), strict=True)


def test_without_a_list_the_frames_with_results_are_evaluated() -> None:
    report = kitti_average_precision(LABELS, RESULTS)
    facts = report.inputs
    assert (facts.frames, facts.missing, facts.without_labels) == (2, (), ("000009",))
    assert (facts.empty, facts.truth_rows, facts.found_rows) == (1, 2, 1)
    assert report["Car"].row("2d", "easy").truths == 2
    assert any("1 result files have no label" in warning for warning in report.warnings)
    with pytest.raises(InputError, match=r"1 result files have no label, the first is 000009.txt"):
        kitti_average_precision(LABELS, RESULTS, settings=STRICT)


def test_with_a_list_a_missing_file_counts_as_no_detection() -> None:
    frames = ["000000", "000001", "000003"]
    report = kitti_average_precision(LABELS, RESULTS, frames)
    assert report.inputs.missing == ("000000", "000003")
    line = report["Car"].row("2d", "easy")
    assert (line.truths, line.true_positives, line.misses) == (3, 1, 2)
    assert report.warnings[0].startswith("2 of 3 frames have no result file (the first is 000000)")
    with pytest.raises(InputError, match=r"2 frames have no result file, the first is 000000.txt"):
        kitti_average_precision(LABELS, RESULTS, frames, STRICT)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            ["000001", "000009"],
            r"1 of the 2 frames asked for have no label file, the first is 0000",
        ),
        (["000000", "000003"], r"has none of the 2 frames asked for; it has 3 files"),
        (["000001", "000001"], "empty or names a frame twice"),
        ([], "empty or names a frame twice"),
    ],
)
def test_lists_that_cannot_be_evaluated(frames: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kitti_average_precision(LABELS, RESULTS, frames)


def test_names_that_do_not_meet_are_shown() -> None:
    with pytest.raises(InputError, match=r"results has 1.txt, labels has 000000.txt"):
        kitti_average_precision(LABELS, {"1": ""})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (KittiSettings(classes=("Cars",)), "classes are Cars; expected some of Car, Pedestrian"),
        (KittiSettings(classes=()), "classes are empty"),
        (KittiSettings(classes=("Car", "Car")), "one is named twice"),
        (KittiSettings(wrong_rows="skip"), "wrong_rows is 'skip'"),  # type: ignore[arg-type]
        (KittiSettings(detail="medium"), "detail is 'medium'"),
        (KittiSettings(bands=(10.0, 0.0)), "expected rising distances"),
        (KittiSettings(backend="cuda"), "backend is 'cuda'"),
    ],
)
def test_settings_are_checked(settings: KittiSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        kitti_average_precision(LABELS, RESULTS, settings=settings)


def test_types_that_nobody_evaluates_are_named() -> None:
    results = {"000001": f"{row('vehicle', score=0.5)}\n{row(score=0.4)}\n"}
    report = kitti_average_precision(LABELS, results)
    assert "the results hold types that KITTI does not have: vehicle (1)" in report.warnings


def test_the_result_does_not_depend_on_how_it_is_stored(tmp_path: Path) -> None:
    for name, text in RESULTS.items():
        (tmp_path / f"{name}.txt").write_text(text)
    stored = kitti_average_precision(LABELS, tmp_path)
    memory = kitti_average_precision(LABELS, RESULTS)
    assert [line.r40 for line in stored["Car"].rows] == [line.r40 for line in memory["Car"].rows]


def test_it_runs_without_the_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffrender.evaluate import kitti_settings

    monkeypatch.setattr(kitti_settings, "reason_missing", lambda: "not built")
    report = kitti_average_precision(LABELS, RESULTS)
    assert report["Car"].row("2d", "easy").true_positives == 1
    with pytest.raises(InputError, match="backend 'native' cannot be used: not built"):
        kitti_average_precision(LABELS, RESULTS, settings=KittiSettings(backend="native"))
