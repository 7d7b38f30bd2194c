"""`diffrender evaluate`, called as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from archives import write_zip
from command_files import refused
from PIL import Image
from typer.testing import CliRunner

from diffrender.tools.app import app

LABEL = "Car 0.00 0 0.20 100 100 200 180 1.5 1.6 4.0 2.0 1.6 20.0 0.3"
RESULT = "Car -1 -1 0.20 100 100 200 180 1.5 1.6 4.0 2.0 1.6 20.0 0.3 0.9"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    for folder, line in (("labels", LABEL), ("results", RESULT)):
        (tmp_path / folder).mkdir()
        for frame in range(45):
            (tmp_path / folder / f"{frame:06d}.txt").write_text(line + "\n")
    return str(tmp_path / "labels"), str(tmp_path / "results")


def _kitti(folders: tuple[str, str], *more: str) -> tuple[int, str, str]:
    command = ["evaluate", "kitti", "--labels", folders[0], "--results", folders[1], *more]
    result = CliRunner().invoke(app, command)
    assert result.exit_code in (0, 2), result.output
    return result.exit_code, result.stdout, result.stderr


def test_kitti_prints_tables_that_say_what_they_are(folders: tuple[str, str]) -> None:
    code, stdout, stderr = _kitti(folders, "--classes", "Car")
    assert (code, stderr) == (0, "")
    lines = [" ".join(line.split()) for line in stdout.splitlines()]
    assert lines[0] == "KITTI object evaluation of 45 frames"
    assert "overlap > R40 easy R40 moderate R40 hard R11 easy R11 moderate R11 hard" in lines
    assert "3D 0.70" + " 100.00" * 6 in lines
    assert "3D 0.50" + " 100.00" * 6 in lines
    assert "ground truths 45 45 45" in lines
    assert "3D 0.70 45 / 0 / 0 45 / 0 / 0 45 / 0 / 0" in lines


def test_kitti_writes_what_is_asked_for(folders: tuple[str, str], tmp_path: Path) -> None:
    names = {"--json": "a/r.json", "--markdown": "b/r.md", "--plots": "c"}
    more = [word for option, name in names.items() for word in (option, str(tmp_path / name))]
    code, stdout, _ = _kitti(folders, *more)
    assert code == 0
    assert json.loads((tmp_path / "a/r.json").read_text())["classes"][0]["rows"][0]["r40"] == 100
    assert "| 3D | 0.70 | 100.00 |" in (tmp_path / "b/r.md").read_text()
    assert (tmp_path / "c/report.html").read_text().startswith("<!doctype html>")
    assert stdout.count("wrote ") == 5  # JSON, Markdown, page and two pictures


def test_kitti_warns_of_missing_files_and_strict_fails(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "results" / "000003.txt").unlink()
    split = tmp_path / "val.txt"
    split.write_text("".join(f"{i:06d}\n" for i in range(45)))
    code, stdout, stderr = _kitti(folders, "--classes", "Car", "--split", str(split))
    assert code == 0
    assert "1 frames without a file" in stdout
    assert "1 of 45 frames have no result file (the first is 000003)" in stderr
    code, stdout, stderr = _kitti(folders, "--split", str(split), "--strict")
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert "000003.txt; write an empty file for a frame without detections" in stderr


def test_a_wrong_row_is_one_line(folders: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "results" / "000007.txt"
    path.write_text(f"{RESULT}\n{RESULT.replace('1.6', 'NaN', 1)}\n")
    code, _, stderr = _kitti(folders)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "000007.txt line 2: column 10 (width) is 'NaN', expected a finite number" in stderr
    code, stdout, stderr = _kitti(folders, "--drop-wrong-rows")
    assert (code, "45 rows" in stdout) == (0, True)
    assert "1 rows break the format and were left out" in stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--classes", "Cars"], "classes are Cars; expected some of Car"),
        (["--split", "absent.txt"], "absent.txt does not exist, expected a split list"),
    ],
)
def test_bad_calls_are_one_line(folders: tuple[str, str], more: list[str], message: str) -> None:
    code, _, stderr = _kitti(folders, *more)
    assert (code, stderr.count("\n")) == (2, 1)
    assert message in stderr


def test_lint_says_what_to_mend(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"data/000000.txt": RESULT})
    result = CliRunner().invoke(app, ["evaluate", "lint", str(path)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "2 kinds of error" in result.stderr
    assert "7517  frames without a file" in result.stdout
    assert "the files lie in the folder 'data'" in result.stdout
    result = CliRunner().invoke(app, ["evaluate", "lint", str(path), "--json"])
    assert json.loads(result.stdout)["errors"] == 2


def test_lint_passes_a_good_zip(tmp_path: Path) -> None:
    path, split = write_zip(tmp_path / "a.zip", {"000000.txt": RESULT}), tmp_path / "one.txt"
    split.write_text("000000\n")
    result = CliRunner().invoke(app, ["evaluate", "lint", str(path), "--split", str(split)])
    assert result.exit_code == 0, result.output
    assert "nothing to mend" in result.stdout


def _depth_maps(folder: Path, depths: dict[str, np.ndarray]) -> str:
    folder.mkdir()
    for name, depth in depths.items():
        Image.fromarray(np.rint(depth * 256).astype(np.uint16)).save(folder / f"{name}.png")
    return str(folder)


def test_depth_against_depth_maps(tmp_path: Path) -> None:
    truth = _depth_maps(tmp_path / "truth", {n: np.full((40, 60), 10.0) for n in "ab"})
    pred = _depth_maps(
        tmp_path / "pred", {"a": np.full((40, 60), 11.0), "b": np.full((40, 60), 13.0)}
    )
    target = tmp_path / "new" / "depth.json"
    command = ["evaluate", "depth", "--pred", pred, "--truth", truth, "--crop", "none"]
    result = CliRunner().invoke(app, [*command, "--json", str(target)])
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "frames 2, against depth maps" in lines
    assert {"crop none", "cap 80 m", "scaling none"} <= set(lines)
    record = json.loads(target.read_text())
    assert record["summary"]["mean"]["abs_rel"] == pytest.approx(0.2)
    assert record["frames"]["b"]["rmse"] == pytest.approx(3.0)
    result = CliRunner().invoke(app, [*command, "--median-scaling"])
    assert "by the median of each frame (factors 0.8" in result.stdout
    assert "0.0000" in result.stdout


def _scan(tmp_path: Path) -> str:
    for folder in ("velodyne", "calib", "image_2"):
        (tmp_path / folder).mkdir()
    # Two points straight ahead, at 10 and 20 m; x forward, y left, z up.
    points = np.array([[10, 0, 0, 0], [20, -0.5, 0, 0]], np.float32)
    (tmp_path / "velodyne" / "000000.bin").write_bytes(points.tobytes())
    (tmp_path / "calib" / "000000.txt").write_text(
        "P2: 100 0 30 0 0 100 20 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
        "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n"
    )
    return str(tmp_path / "velodyne")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_depth_against_velodyne(tmp_path: Path, suffix: str) -> None:
    truth = _scan(tmp_path)
    Image.new("RGB", (60, 40)).save(tmp_path / "image_2" / f"000000{suffix}")
    pred = _depth_maps(tmp_path / "pred", {"000000": np.full((40, 60), 10.0)})
    command = ["evaluate", "depth", "--pred", pred, "--truth", truth]
    result = CliRunner().invoke(app, [*command, "--json", str(tmp_path / "d.json")])
    assert result.exit_code == 0, result.output
    assert "against velodyne scans" in result.stdout
    record = json.loads((tmp_path / "d.json").read_text())
    assert record["frames"]["000000"]["count"] == 2
    assert record["summary"]["mean"]["abs_rel"] == pytest.approx((0 + 0.5) / 2)


def test_a_scan_is_projected_at_the_size_of_the_image_not_of_the_prediction(tmp_path: Path) -> None:
    truth = _scan(tmp_path)
    pred = _depth_maps(tmp_path / "pred", {"000000": np.full((20, 30), 10.0)})
    command = ["evaluate", "depth", "--pred", pred, "--truth", truth, "--resize"]
    refused(CliRunner().invoke(app, command), "frame 000000 has no image 000000.png, .jpg or .jpeg")
    Image.new("RGB", (60, 40)).save(tmp_path / "image_2" / "000000.jpg")
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "2 compared" in result.stdout
    assert "from 20 x 30" in result.stdout


def test_depth_of_another_size_must_be_asked_for(tmp_path: Path) -> None:
    truth = _depth_maps(tmp_path / "truth", {"a": np.full((40, 60), 10.0)})
    pred = _depth_maps(tmp_path / "pred", {"a": np.full((20, 30), 10.0), "b": np.ones((20, 30))})
    command = ["evaluate", "depth", "--pred", pred, "--truth", truth]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "has (20, 30) (height, width) and its truth (40, 60); --resize" in result.stderr
    result = CliRunner().invoke(app, [*command, "--resize"])
    assert result.exit_code == 0, result.output
    assert "from 20 x 30" in result.stdout
    assert "1 frames lack a prediction or a truth, the first is b" in result.stderr
    result = CliRunner().invoke(app, [*command, "--resize", "--strict"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--crop", "middle"], "--crop is 'middle', expected garg, eigen or none"),
        (["--cap", "inf", "--json", "d.json"], "--cap is inf, expected finite metres"),
        (["--truth", "absent"], "absent is not a folder, expected files NAME.png or NAME.bin"),
    ],
)
def test_bad_depth_calls_are_one_line(tmp_path: Path, more: list[str], message: str) -> None:
    pred = _depth_maps(tmp_path / "pred", {"a": np.full((20, 30), 10.0)})
    command = ["evaluate", "depth", "--pred", pred, "--truth", pred, *more]
    refused(CliRunner().invoke(app, command), message)


def test_names_that_are_not_utf8_are_printed_all_the_same(tmp_path: Path) -> None:
    labels, results = tmp_path / "labels", tmp_path / "r\udcff"
    for folder, row in ((labels, LABEL), (results, RESULT)):
        folder.mkdir()
        (folder / "000000.txt").write_text(row + "\n")
    code, stdout, _ = _kitti((str(labels), str(results)), "--json", f"{results}.json")
    assert code == 0
    assert "r\ufffd" in stdout
    result = CliRunner().invoke(app, ["evaluate", "lint", str(results)])
    assert result.exit_code == 2
    assert "r\ufffd: 1 files" in result.stdout
