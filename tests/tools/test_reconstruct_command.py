"""`diffrender reconstruct`, called as a user would."""

from __future__ import annotations

import importlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from command_files import (
    BOTTOM,
    DEPTH,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    command_line,
    refused,
    write_street,
)
from PIL import Image
from typer.testing import CliRunner

from diffrender.errors import InputError
from diffrender.predict import PredictorChoice
from diffrender.tools import reconstruct as reconstruct_command
from diffrender.tools.app import app
from diffrender.tools.reconstruct import settings_for


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return write_street(tmp_path)


def test_files_in_scene_out(files: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    more = ("--method", "render", "--hypotheses", "4", "--iterations", "6", "--out", str(out))
    result = CliRunner().invoke(app, command_line(files, *more))
    assert result.exit_code == 0, result.output
    named = [line.split()[1].rstrip(":") for line in result.stdout.splitlines() if "wrote" in line]
    assert str(out / "report.html") in named
    assert str(out / "scene.glb") in named
    assert all(Path(name).exists() for name in named)
    record = json.loads((out / "result.json").read_text())
    assert record["frame"] == "street"
    assert record["depth_source"] == "depth.png"
    assert record["settings"]["hypotheses"] == 4
    assert sum(stage["iterations"] for stage in record["settings"]["stages"]) == 6
    row = (out / "street.txt").read_text().split()
    assert row[0] == "Car"
    # The bottom's centre: straight ahead, half a length behind the visible rear, on the road.
    x, y, z = (float(v) for v in row[11:14])
    assert abs(x) < 0.6
    assert 1.2 < y < 2.1
    assert DEPTH - 0.5 < z < DEPTH + 3.5


def test_json_on_standard_output_is_result_json(files: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, command_line(files, "--out", str(out), "--json"))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((out / "result.json").read_text())


def test_masks_from_boxes(files: dict[str, str], tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.txt"
    size = "0 0 0 0 -1000 -1000 -1000 -10"
    boxes.write_text(
        f"Car -1 -1 -10 {LEFT} {TOP} {RIGHT - 1} {BOTTOM - 1} -1 -1 -1 {size[16:]} 0.9\n"
    )
    files["masks.png"] = str(boxes)
    result = CliRunner().invoke(app, command_line(files, "--out", str(tmp_path / "out")))
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert len(record["objects"]) == 1


def test_nothing_usable_is_an_empty_scene_with_a_warning(
    files: dict[str, str], tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), dtype=np.uint16)).save(files["masks.png"])
    result = CliRunner().invoke(app, command_line(files, "--out", str(tmp_path / "out")))
    assert result.exit_code == 0, result.output
    assert "warning: nothing could be reconstructed" in result.stderr
    assert (tmp_path / "out" / "street.txt").read_text() == ""
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"street.png": "absent.png"}, "absent.png does not exist"),
        ({"calib.txt": "masks.png"}, "masks.png"),
        ({"masks.png": "absent"}, "--masks absent does not exist"),
        ({"depth.png": "midas"}, "--depth midas is neither a file nor a network"),
        ({"depth.png": "lidar"}, "lidar depth needs --kitti"),
        ({"depth.png": "rt-monodepth"}, "needs weights=FILE"),
    ],
)
def test_bad_files_arerefused(
    files: dict[str, str], change: dict[str, str], message: str, tmp_path: Path
) -> None:
    changed = files | {key: files.get(value, value) for key, value in change.items()}
    result = CliRunner().invoke(app, command_line(changed, "--out", str(tmp_path / "out")))
    refused(result, message)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--depth-weights", "w.npz"], "--depth-weights goes with a network"),
        (["--align", "lidar"], "--align goes with a depth network"),
        (["--prior", "lorry"], "no shape prior 'lorry'"),
        (["--device", "abacus"], "device is 'abacus'"),
        (["--hypotheses", "0", "--method", "render"], "hypotheses is 0"),
        (["--iterations", "2", "--method", "render"], "--iterations is 2, expected at least 4"),
        (["--hypotheses", "4"], "--hypotheses goes with --method render"),
        (["--no-heading"], "--no-heading goes with --method render"),
        (["--frame", "000003"], "--frame goes with --kitti"),
        (
            ["--kitti", "root"],
            "give either IMAGE, with --calib, --fov, --camera-height and --masks, or --kitti",
        ),
        (["--traffic", "right", "--method", "box"], "--traffic right goes with --method render"),
        (["--depth-units-per-metre", "0"], "units_per_metre is 0"),
        (
            ["--depth-units-per-metre", "1000", "--depth", "none"],
            "--depth-units-per-metre goes with a depth map in a file",
        ),
    ],
)
def test_bad_options_arerefused(
    files: dict[str, str], more: list[str], message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, command_line(files, "--out", str(tmp_path / "out"), *more))
    refused(result, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected IMAGE, or --kitti ROOT with --frame"),
        (["--kitti", "absent"], "--kitti needs --frame"),
        (["--kitti", "absent", "--frame", "000003"], "absent is not a folder"),
    ],
)
def test_missing_arguments_arerefused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(CliRunner().invoke(app, ["reconstruct", *arguments]), message)


@pytest.mark.parametrize("name", ["masks.png", "depth.png"])
def test_maps_of_another_size_are_refused(files: dict[str, str], name: str, tmp_path: Path) -> None:
    Image.fromarray(np.ones((HEIGHT, WIDTH + 1), dtype=np.uint16)).save(files[name])
    result = CliRunner().invoke(app, command_line(files, "--out", str(tmp_path / "out")))
    refused(result, f"{name} is {WIDTH + 1} x {HEIGHT} pixels, the image {WIDTH} x {HEIGHT}")


def test_a_folder_that_cannot_be_made_is_refused_at_once(files: dict[str, str]) -> None:
    inside_a_file = files["street.png"] + "/out"
    refused(CliRunner().invoke(app, command_line(files, "--out", inside_a_file)), "street.png")


def test_a_folder_that_cannot_be_written_is_refused_at_once(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:  # root may write everywhere: file modes would not refuse it
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(reconstruct_command, "_one_scene", lambda *_: pytest.fail("computed"))
    result = CliRunner().invoke(app, command_line(files, "--out", str(tmp_path)))
    refused(result, f"error: {tmp_path}: Permission denied")


@pytest.mark.parametrize(
    "option",
    ["IMAGE", "--calib", "--masks", "--depth", "--out", "--kitti", "--split", "--frame",
     "--prior", "--predictor", "--depth-weights", "--segmenter", "--ray"],
)  # fmt: skip
def test_empty_options_are_refused(
    files: dict[str, str], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where "" would be looked for, and written to
    line = command_line(files, "--out", "out")
    if option == "IMAGE":
        line[1] = ""
    else:
        line += [option, ""]
    refused(CliRunner().invoke(app, line), f"{option} is empty")
    assert not (tmp_path / "out").exists() and not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("factor", "message"), [(1e3, "--depth-units-per-metre"), (1e30, "the median depth is")]
)
def test_depth_in_another_unit_is_refused(
    files: dict[str, str], factor: float, message: str, tmp_path: Path
) -> None:
    metres = np.asarray(Image.open(files["depth.png"])).astype(np.float32) / 256
    files["depth.png"] = str(tmp_path / "other.npy")
    np.save(files["depth.png"], metres * np.float32(factor))
    result = CliRunner().invoke(app, command_line(files, "--out", str(tmp_path / "out")))
    refused(result, "other.npy: the median depth is")
    assert message in result.stderr


def test_names_that_no_encoding_holds(files: dict[str, str], tmp_path: Path) -> None:
    """A file name in Latin-1, and a name in JSON that is half a character."""
    image = tmp_path / "caf\udce9.png"
    image.write_bytes(Path(files["street.png"]).read_bytes())
    masks = tmp_path / "boxes.json"
    box = {"box": [LEFT, TOP, RIGHT, BOTTOM], "category": "Car", "name": "\ud800bad"}
    masks.write_text(json.dumps([box]))
    depth = tmp_path / "d\udce9.png"
    depth.write_bytes(Path(files["depth.png"]).read_bytes())
    files |= {"street.png": str(image), "masks.png": str(masks), "depth.png": str(depth)}
    out = tmp_path / "o\udce9"
    result = CliRunner().invoke(app, command_line(files, "--out", str(out)))
    assert result.exit_code == 0, result.output
    assert "caf\ufffd, depth from d\ufffd.png" in result.stdout
    assert "\ufffdbad" in result.stdout
    record = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert record["objects"][0]["name"] == "\ufffdbad"


def test_a_kitti_frame_with_lidar(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "kitti"
    arguments = ["reconstruct", "--kitti", str(root), "--frame", "000003", "--depth", "lidar"]
    arguments += ["--method", "box", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    row = (tmp_path / "000003.txt").read_text().split()
    truth = (root / "training" / "label_2" / "000003.txt").read_text().splitlines()[0].split()
    near = [abs(float(a) - float(b)) for a, b in zip(row[11:14], truth[11:14], strict=True)]
    assert max(near) < 1.0


def test_iterations_are_shared_by_the_stages() -> None:
    settings = settings_for("render", 3, 100)
    assert settings.hypotheses == 3
    assert sum(stage.iterations for stage in settings.stages) == 100
    with pytest.raises(InputError, match="one for each stage"):
        settings_for("render", None, 0)


def test_a_guessed_camera_loads_once_and_keeps_objects_apart_by_odd_names(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with half a surrogate pair is shown as U+FFFD: it still finds its exponents."""
    loads: list[str] = []
    package = importlib.import_module("diffrender.reconstruct")
    named, load = package.named_prior, PredictorChoice.load
    monkeypatch.setattr(package, "named_prior", lambda name: loads.append("prior") or named(name))
    monkeypatch.setattr(
        PredictorChoice, "load", lambda self, device: loads.append("start") or load(self, device)
    )
    boxes = tmp_path / "boxes.json"
    box = {"box": [LEFT, TOP, RIGHT, BOTTOM], "category": "car", "name": "a\ud800"}
    boxes.write_text(json.dumps([box]))
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app,
        [
            "reconstruct", files["street.png"], "--fov", "71", "--masks", str(boxes), "--depth",
            files["depth.png"], "--iterations", "4", "--hypotheses", "1", "--out", str(out),
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert loads == ["prior", "start"]
    record = json.loads((out / "result.json").read_text())
    (item,) = record["calibration"]["objects"]
    assert item["name"] == record["objects"][0]["name"] == "a\ufffd"
    assert item["percent_per_percent"] is not None


def test_a_picture_alone_is_enough(tmp_path: Path) -> None:
    """No calibration, masks or weights: the shipped network finds the cars of the sample."""
    image = Path(str(resources.files("diffrender.datasets"))) / "sample" / "image.jpg"
    result = CliRunner().invoke(
        app,
        ["reconstruct", str(image), "--method", "box", "--depth", "none", "--out", str(tmp_path)],
    )
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "result.json").read_text())
    assert len(written["objects"]) >= 3
    assert {item["category"] for item in written["objects"]} <= {"Car", "Van"}


def test_inputs_are_not_written_over(files: dict[str, str], tmp_path: Path) -> None:
    boxes = tmp_path / "street.txt"
    boxes.write_text(f"Car 0 0 0 {LEFT} {TOP} {RIGHT} {BOTTOM} 1.5 1.6 4 0 1.6 14 0\n")
    before = boxes.read_text()
    named = command_line(files | {"masks.png": str(boxes)}, "--out", str(tmp_path))
    refused(CliRunner().invoke(app, named), "street.txt is read as an input")
    assert boxes.read_text() == before
    result = CliRunner().invoke(app, command_line(files, "--out", str(tmp_path)))
    assert result.exit_code == 0, result.output  # masks.png is not written to
