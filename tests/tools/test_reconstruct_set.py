"""`diffrender reconstruct` over a split, from the image alone, and without a calibration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from command_files import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, refused, write_street
from PIL import Image
from typer.testing import CliRunner

from diffrender.tools.app import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["reconstruct", *arguments])


@pytest.fixture
def kitti(tmp_path: Path) -> Path:
    """Two frames of the street of `command_files` in the KITTI layout."""
    files = write_street(tmp_path)
    folder = tmp_path / "kitti" / "training"
    for name, source in (
        ("image_2", "street.png"), ("instance_2", "masks.png"), ("depth_2", "depth.png"),
        ("calib", "calib.txt"),
    ):  # fmt: skip
        (folder / name).mkdir(parents=True)
        suffix = Path(source).suffix
        for frame in ("000000", "000001"):
            (folder / name / f"{frame}{suffix}").write_bytes(Path(files[source]).read_bytes())
    for frame in ("000000", "000001"):
        calib = folder / "calib" / f"{frame}.txt"
        calib.write_text(calib.read_text() + "R0_rect: 1 0 0 0 1 0 0 0 1\n"
                         "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0\n")  # fmt: skip
    (tmp_path / "kitti" / "val.txt").write_text("000000\n000001\n000777\n")
    return tmp_path / "kitti"


def set_line(root: Path, *more: str) -> list[str]:
    return ["--kitti", str(root), "--split", "val", "--depth", "depth_2", "--method", "box", *more]


def test_a_split_with_progress_and_summary(kitti: Path, tmp_path: Path) -> None:
    out = tmp_path / "out [/b] [red]"  # no markup
    result = run(*set_line(kitti, "--out", str(out)))
    assert result.exit_code == 0, result.output
    said = result.stdout
    assert f"wrote {out / 'data'}: rows of 2 frames, 0 failed" in said
    assert f"wrote {out / 'summary.json'}" in said
    assert "frames   2 done, 0 finished before, 0 failed, of 2" in said
    assert "frames a minute, this process" in said
    assert "not evaluated: there are no labels in" in said
    progress = result.stderr
    assert "1 of the 3 frames of val have no image" in progress
    assert "2 of 2: " in progress
    assert "0:00:00 left" in progress
    assert sorted(path.name for path in (out / "data").iterdir()) == ["000000.txt", "000001.txt"]
    again = run(*set_line(kitti, "--out", str(out), "--json"))
    record = json.loads(again.stdout)
    assert record["frames"]["finished_before"] == 2
    assert record["absent"] == ["000777"]
    other = run(*set_line(kitti, "--out", str(out), "--seed", "5"))
    refused(other, "seed: 0, now 5", notes=True)


def test_a_failing_frame_is_warned_of_and_the_rest_is_scored(kitti: Path, tmp_path: Path) -> None:
    (kitti / "training" / "label_2").mkdir()
    row = f"Car 0 0 -1.57 {LEFT} {TOP} {RIGHT} {BOTTOM} 1.53 1.63 3.88 0 1.65 15.9 -1.57\n"
    for frame in ("000000", "000001"):
        (kitti / "training" / "label_2" / f"{frame}.txt").write_text(row)
    (kitti / "training" / "image_2" / "000001.png").write_bytes(b"no picture")
    result = run(*set_line(kitti, "--out", str(tmp_path / "out")))
    assert result.exit_code == 0, result.output
    assert "frame 000001 failed: " in result.stderr
    assert "1 done, 0 finished before, 1 failed, of 2" in result.stdout
    assert ": rows of 1 frames, 1 failed" in result.stdout
    assert (tmp_path / "out" / "evaluation.json").is_file()
    results = str(tmp_path / "out" / "results.zip")
    labels = str(kitti / "training" / "label_2")
    scored = CliRunner().invoke(
        app, ["evaluate", "kitti", "--labels", labels, "--results", results]
    )
    assert scored.exit_code == 0, scored.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--workers", "0"], "workers is 0"),
        (["--workers", "2", "--ray", "auto"], "either workers, on this machine, or ray"),
        (["--prior", "lorry"], "no shape prior 'lorry'"),
        (["--depth", "nowhere"], "none, or one of"),
        (["--segmenter-weights", "w"], "--segmenter-weights goes with --segmenter NAME"),
    ],
)
def test_bad_options_of_a_set(kitti: Path, tmp_path: Path, more: list[str], message: str) -> None:
    out = tmp_path / "out"
    result = run(*set_line(kitti, "--out", str(out), *more))
    if more[0] == "--depth":  # a matter of every frame
        assert result.exit_code == 2
        error = result.stderr.strip().splitlines()[-1]
        assert error.startswith("error: all 2 frames failed; the first, 000000: --depth nowhere")
        assert message in error
        assert (out / "summary.json").is_file()
        return
    # Of --workers and --ray nothing is said before, such as of frames without an image.
    refused(result, message, notes=more[0] != "--workers")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--split", "val"], "--split goes with --kitti"),
        (["a.png", "--masks", "m.png", "--workers", "2"], "--workers and --ray go with --kitti"),
        (["--kitti", "k", "--split", "val", "--fov", "80"], "give either IMAGE"),
        (["--kitti", "k", "--split", "val"], "k is not a folder"),
        (["a.png"], "a.png does not exist, expected an image"),
        (["a.png", "--sharpen", "2"], "--sharpen goes with other masks than street's"),
        (["a.png", "--masks", "m.png", "--sharpen", "0"], "--sharpen is 0, expected how far"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*arguments), message, notes=True)


def test_from_the_image_alone(tmp_path: Path) -> None:
    """An image and a network: masks by the network, camera by a guess that is said."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    files = write_street(tmp_path)
    helper, kinds = onnx.helper, onnx.TensorProto
    values = {
        "boxes": np.array([[LEFT, TOP, RIGHT, BOTTOM]], dtype=np.float32),
        "labels": np.array([3]),
        "scores": np.array([0.9], dtype=np.float32),
        "masks": np.ones((1, 1, 28, 28), dtype=np.float32),
    }
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{n}_"], [n]) for n in values],
        "net",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [
            helper.make_tensor_value_info(n, kinds.INT64 if n == "labels" else kinds.FLOAT, None)
            for n in values
        ],
        [onnx.numpy_helper.from_array(v, f"{n}_") for n, v in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    arguments = [
        files["street.png"], "--segmenter", "onnx", "--segmenter-weights",
        str(tmp_path / "net.onnx"), "--depth", files["depth.png"], "--method", "box",
    ]  # fmt: skip
    result = run(*arguments, "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "segmenter onnx; weights: that of the file" in said
    assert "a horizontal field of view of 81.4 degrees is assumed (KITTI's camera)" in said
    assert "each +1 % of focal length moves depth by" in said
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    (item,) = record["objects"]
    assert (item["name"], item["score"]) == ("car_01", pytest.approx(0.9))
    (range_of,) = record["calibration"]["objects"]
    z = item["pose"]["location"][2]
    assert range_of["depth_range"][0] <= z <= range_of["depth_range"][1]
    stated = run(*arguments, "--fov", "70", "--out", str(tmp_path / "stated"))
    assert stated.exit_code == 0, stated.output
    record = json.loads((tmp_path / "stated" / "result.json").read_text())
    assert record["calibration"]["source"] == "fov"
    assert record["camera"]["intrinsics"][0][0] == pytest.approx(100 / np.tan(np.radians(35)))
    both = run(*arguments, "--fov", "70", "--calib", files["calib.txt"], "--out", str(tmp_path))
    refused(both, "give either --calib or --fov", notes=True)
    masks = run(*arguments, "--masks", files["masks.png"], "--out", str(tmp_path))
    refused(masks, "--segmenter onnx finds the objects itself: leave out --masks", notes=True)


def test_masks_are_sharpened_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffrender.instances.street as street
    from diffrender.instances import Instance, box_of_mask

    seen = []

    def wider(net: object, image: np.ndarray, given: list[Instance], off: float) -> list[Instance]:
        seen.append((image.shape, len(given), off))
        masks = [one.mask | np.roll(one.mask, 1, axis=1) for one in given]
        return [Instance(mask, box_of_mask(mask)) for mask in masks]

    monkeypatch.setattr(street, "sharpen_masks", wider)
    files = write_street(tmp_path)
    result = run(
        files["street.png"], "--calib", files["calib.txt"], "--masks", files["masks.png"],
        "--sharpen", "1.5", "--depth", files["depth.png"], "--method", "box",
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert seen == [((HEIGHT, WIDTH, 3), 1, 1.5)]
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [item["box_2d"] for item in record["objects"]] == [[LEFT, TOP, RIGHT + 1, BOTTOM]]


def test_boxes_prompt_grabcut(tmp_path: Path) -> None:
    files = write_street(tmp_path)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps([{"box": [LEFT, TOP, RIGHT, BOTTOM], "category": "car"}]))
    arguments = [
        files["street.png"], "--calib", files["calib.txt"], "--segmenter", "grabcut", "--depth",
        files["depth.png"], "--method", "box", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    result = run(*arguments, "--masks", str(boxes))
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert "calibration" not in record
    assert len(record["objects"]) == 1
    refused(
        run(*arguments),
        "--segmenter grabcut is prompted by boxes: name them with --masks",
        notes=True,
    )
    Image.new("L", (2, 2)).save(tmp_path / "ids.png")
    ids = run(*arguments, "--masks", str(tmp_path / "ids.png"))
    refused(ids, "holds masks; expected boxes", notes=True)


def test_a_set_is_not_written_into_what_it_reads(kitti: Path) -> None:
    for name in ("image_2", "depth_2"):
        into = kitti / "training" / name
        refused(
            run(*set_line(kitti, "--out", str(into))), f"{name} is read as an input", notes=True
        )
        assert not (into / "data").exists()
