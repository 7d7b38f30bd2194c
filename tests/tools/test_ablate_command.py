"""`diffrender ablate`: cases, lines that a run goes on from, and figures with spread."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffrender.errors import InputError
from diffrender.reconstruct import ReconstructSettings, StageSettings
from diffrender.reconstruct.classes import CLASS_SIZES
from diffrender.tools import ablate_run
from diffrender.tools.ablate_report import markdown, plot, summary
from diffrender.tools.ablate_run import REAL, Line, read_lines, real_lines, write_lines
from diffrender.tools.ablate_variants import BASE, Variant, variants
from diffrender.tools.app import app

STAGES = (StageSettings(iterations=8, size=(32, 32), keep=1, parts=True),)


def Short(**fields: object) -> ReconstructSettings:
    return ReconstructSettings(stages=STAGES, hypotheses=2, **fields)  # type: ignore[arg-type]


def car(case: Variant, scene: str, name: str | None, iou: float | None, seed: int = 1) -> Line:
    place = f"{scene}, {case.key}"
    line: Line = {"case": case.key, "place": place, "where": f"seed {seed}", "name": name}
    if name is None:
        return {**line, "error": None, "seconds": 2.0, "objects": 2}
    error = None if iou is None else {"iou": iou, "centre": 0.01, "yaw": 1.0, "axis": 1.0}
    return {**line, "error": error, "clear": True}


def test_every_case_changes_one_thing() -> None:
    cases = variants()
    assert cases[0] is BASE and len({case.key for case in cases}) == len(cases)
    plain = ReconstructSettings()
    assert BASE.settings(plain) == plain
    for case in cases[1:]:
        same = case.change == BASE.change
        assert same != (case.settings(plain) == plain), case.key
    groups = {case.group for case in cases}
    assert groups >= {"loss off", "depth noise", "depth source", "masks", "hypotheses", "occlusion"}
    off = {c.label: c.settings(plain) for c in cases if c.group == "loss off"}
    assert off["depth"].weights.depth == 0 and off["depth"].weights.silhouette > 0
    assert off["ground"].ground is None
    assert not next(c for c in cases if c.label == "lidar").of_real_frames


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path, made = tmp_path / "cars.jsonl", []

    def job(scene: str) -> list[Line]:
        made.append(scene)
        return [car(BASE, scene, None, None), car(BASE, scene, "a", 0.5)]

    jobs = [(f"{s}, {BASE.key}", lambda s=s: job(s)) for s in ("street 1/0", "street 1/1")]
    assert write_lines(path, jobs[:1], 60.0) == 0
    with path.open("a") as file:
        file.write('{"case": "cut sho')
    assert write_lines(path, jobs, 60.0) == 0
    assert made == ["street 1/0", "street 1/1"]
    assert len(read_lines(path)) == 4
    assert write_lines(path, jobs, 60.0) == 0 and len(made) == 2
    assert write_lines(tmp_path / "new.jsonl", jobs, -1.0) == 2
    path.write_text('{"case": 1}\n' + path.read_text())
    with pytest.raises(InputError, match="line 1, is no line of an ablation: fields are missing"):
        read_lines(path)


def test_a_job_cut_short_between_its_cars_is_done_again(tmp_path: Path) -> None:
    """A kill or a full disk may keep the first of a job's lines alone."""
    path, made = tmp_path / "cars.jsonl", []

    def job() -> list[Line]:
        made.append(1)
        return [car(BASE, "street 1/0", name, 0.5) for name in (None, "a", "b")]

    jobs = [(f"street 1/0, {BASE.key}", job)]
    write_lines(path, jobs, 60.0)
    whole = path.read_text()
    for kept in range(3):
        path.write_text("".join(whole.splitlines(keepends=True)[:kept]))
        write_lines(path, jobs, 60.0)
        assert path.read_text() == whole
        assert len(made) == 2 + kept
    path.write_text(2 * whole)  # as two processes write it
    assert [line["name"] for line in read_lines(path)] == ["a", "b", None]


@pytest.mark.skipif(os.name == "nt", reason="limits of files are a matter of POSIX")
def test_a_full_disk_names_the_file_and_loses_no_car(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "cars.jsonl"
    lines = [car(BASE, "street 1/0", name, 0.5) for name in (None, *map(str, range(9)))]
    jobs = [(f"street 1/0, {BASE.key}", lambda: lines)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError) as refused:
            write_lines(path, jobs, 60.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused.value.filename == str(path)
    assert write_lines(path, jobs, 60.0) == 0
    assert len(read_lines(path)) == 10


def test_a_case_that_its_inputs_do_not_allow_is_named(tmp_path: Path) -> None:
    def job() -> list[Line]:
        raise InputError("no road was found")

    with pytest.raises(InputError, match=f"street 1/0, {BASE.key}: no road was found"):
        write_lines(tmp_path / "cars.jsonl", [(f"street 1/0, {BASE.key}", job)], 60.0)


def test_real_frames_need_lidar_and_masks(tmp_path: Path) -> None:
    root, row = tmp_path, "Car 0.00 0 0.7 100 190 228 358 1.50 1.65 3.91 -6.24 1.72 7.54 0.01\n"
    kinds = {"image_2": ".png", "velodyne": ".bin", "instance_2": ".png", "label_2": ".txt"}
    for kind, suffix in kinds.items():
        (root / "training" / kind).mkdir(parents=True)
        for number in range(3):
            (root / "training" / kind / f"00000{number}{suffix}").write_text(row)
    assert len(list(real_lines([BASE], root))) == 3
    (root / "training" / "instance_2" / "000000.png").unlink()
    (root / "training" / "velodyne" / "000001.bin").unlink()
    assert [place for place, _ in real_lines([BASE], root)] == [f"frame 000002, {BASE.key}"]
    (root / "training" / "instance_2" / "000002.png").unlink()
    with pytest.raises(InputError, match="no frame with velodyne, instance_2 and a car to score"):
        list(real_lines([BASE], root))


def test_figures_and_their_spread(tmp_path: Path) -> None:
    case = variants()[1]
    lines = []
    ious = {1: (0.8, 0.6), 2: (0.6, 0.2)}
    for seed, (base, other) in ious.items():
        scene = f"street {seed}/0"
        lines += [car(BASE, scene, None, None, seed), car(BASE, scene, "a", base, seed)]
        lines += [car(case, scene, None, None, seed), car(case, scene, "a", other, seed)]
        lines += [car(BASE, scene, "b", 0.9, seed), car(case, scene, "b", None, seed)]
    report = summary(lines, [BASE, case])
    rows = {(row.case, row.operation): row for row in report.rows}
    title = f"synthetic streets, 4 cars, {case.key}"
    # Means of two seeds whose medians over (a, b) are 0.3 and 0.1: the lost car counts as 0.
    median = rows[title, "median 3D IoU"]
    assert median.value == pytest.approx(0.2) and median.spread == pytest.approx(0.2 / 2**0.5)
    change = rows[title, "mean 3D IoU over the base, same cars"]
    # -0.2, -0.9, -0.4, -0.9; sums of the two scenes off the mean by 0.1 each way.
    assert change.value == pytest.approx(-0.6)
    assert change.spread == pytest.approx((2 * (0.1**2 + 0.1**2)) ** 0.5 / 4)
    assert rows[title, "time an object"].value == pytest.approx(1.0)
    table = markdown(report)
    assert f"| {case.key} | 0.20 ± 0.14 |" in table and "-0.600 ± 0.050" in table
    assert plot(report, tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_real_frames_do_not_count_among_streets() -> None:
    case = variants()[1]
    street = [car(c, "street 1/0", n, iou) for c, iou in ((BASE, 0.8), (case, 0.6)) for n in "ab"]
    real = [
        car(c, "frame 000002", n, iou) | {"where": REAL}
        for c, iou in ((BASE, 0.5), (case, 0.1))
        for n in "abc"
    ]
    both, alone = (summary(lines, [BASE, case]).rows for lines in (street + real, street))
    assert [row for row in both if row.case.startswith("synthetic")] == alone
    assert "synthetic streets, 2 cars, " + case.key in {row.case for row in both}
    titles = {row.case: row.value for row in both if row.operation.startswith("mean 3D IoU")}
    assert titles[f"{REAL}, 3 cars, {case.key}"] == pytest.approx(-0.4)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablate_run, "class_sizes", lambda: dict(CLASS_SIZES))
    monkeypatch.setattr(ablate_run, "ReconstructSettings", Short)
    words = ["ablate", "--scenes", "1", "--seeds", "1", "--only", "method", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    cases = {row["case"].rpartition(" cars, ")[2] for row in report["rows"]}
    assert cases == {BASE.key, "method: boxes, nothing rendered"}
    assert (tmp_path / "plot.png").is_file() and (tmp_path / "tables.md").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "weather"], "--only names 'weather', expected some of: loss off"),
        (["--only", ","], "--only is ',', expected some of: loss off"),
        (["--seeds", "one"], "--seeds is 'one', expected numbers"),
        (["--scenes", "0"], "--scenes is 0, expected at least 1"),
        (["--limit", "0"], "--limit is 0"),
    ],
)
def test_bad_options_are_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["ablate", "--out", str(tmp_path), *words])
    assert done.exit_code == 2
    assert message in done.output
