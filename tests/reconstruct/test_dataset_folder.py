"""The folder of a run over a data set: what must not stay, and names that no encoding holds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from street_set import write_streets

from diffrender.reconstruct import ReconstructSettings
from diffrender.reconstruct.dataset import DatasetJob, choose_frames, reconstruct_dataset
from diffrender.reconstruct.dataset.folder import ResultFolder
from diffrender.reconstruct.dataset.frame import FrameOutcome
from diffrender.reconstruct.dataset.job import describe, fingerprint
from diffrender.reconstruct.input_depth import DepthChoice
from diffrender.reconstruct.inputs import MaskChoice


def test_no_evaluation_of_an_earlier_list_stays(tmp_path: Path) -> None:
    root, out = write_streets(tmp_path / "kitti", 2), tmp_path / "out"
    settings = ReconstructSettings(method="box")
    job = DatasetJob(str(root), depth=DepthChoice("depth_2"), settings=settings)
    assert reconstruct_dataset(job, choose_frames(root, "val"), out).report is not None
    assert (out / "evaluation.json").is_file()
    (root / "one.txt").write_text("000001\n")
    row = root / "training" / "label_2" / "000001.txt"
    row.write_text(row.read_text().strip() + " 1 2 3\n")  # refused by the evaluation
    summary = reconstruct_dataset(job, choose_frames(root, "one"), out)
    assert "expected 15 or 16 columns" in summary.not_evaluated
    assert not (out / "evaluation.json").exists()
    assert out / "evaluation.json" not in summary.files


def test_a_frame_that_fails_has_no_rows_of_an_earlier_try(tmp_path: Path) -> None:
    """Rows without a record are of a frame that a kill cut short; the zip is of what is known."""
    root, out = write_streets(tmp_path / "kitti", 2), tmp_path / "out"
    settings = ReconstructSettings(method="box")
    job = DatasetJob(str(root), depth=DepthChoice("depth_2"), settings=settings)
    frames = choose_frames(root, "val")
    reconstruct_dataset(job, frames, out)
    (out / "frames" / "000001.json").unlink()
    (root / "training" / "calib" / "000001.txt").write_text("P2: 1\n")
    assert list(reconstruct_dataset(job, frames, out).failures) == ["000001"]
    with zipfile.ZipFile(out / "results.zip") as archive:
        assert archive.read("000000.txt") and archive.read("000001.txt") == b""
    assert [path.name for path in (out / "data").iterdir()] == ["000000.txt"]


def test_names_that_no_encoding_holds_are_written(tmp_path: Path) -> None:
    root = write_streets(tmp_path / "kitti", 1)
    job = DatasetJob(str(root), masks=MaskChoice("m\udce9.json"))
    folder = ResultFolder(tmp_path / "out", describe(job))
    assert (
        json.loads((folder.path / "run.json").read_text())["job"]["masks"]["source"]
        == "m\ufffd.json"
    )
    ResultFolder(tmp_path / "out", describe(job))  # the same run again
    folder.add(FrameOutcome("000000", "a\ud800 row\n", {"objects": [{"name": "\ud800bad"}]}))
    assert folder.rows_file("000000").read_text(encoding="utf-8") == "a\ufffd row\n"
    assert folder.finished(["000000"])["000000"]["objects"] == [{"name": "\ufffdbad"}]
    folder.add(FrameOutcome("000001", None, {}, "no such file d\udce9.png"))
    failure = json.loads((folder.path / "failures" / "000001.json").read_text(encoding="utf-8"))
    assert failure["reason"] == "no such file d\ufffd.png"


def test_weights_in_files_of_any_name_have_a_digest(tmp_path: Path) -> None:
    root = write_streets(tmp_path / "kitti", 1)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "w\udce9.bin").write_bytes(b"1")
    job = DatasetJob(str(root), depth=DepthChoice("hub", str(weights)))
    before = describe(job)["files"]["depth"]
    (weights / "w\udce9.bin").write_bytes(b"2")
    assert describe(job)["files"]["depth"] != before


def test_settings_beside_a_network_are_part_of_a_run(tmp_path: Path) -> None:
    network = tmp_path / "net.onnx"
    network.write_bytes(b"weights")
    job = DatasetJob(str(tmp_path), masks=MaskChoice(segmenter="onnx", weights=str(network)))
    seen = [fingerprint(describe(job))]
    for text in ('{"score": 0.5}', '{"score": 0.2}'):
        network.with_suffix(".json").write_text(text)
        seen.append(fingerprint(describe(job)))
    assert len(set(seen)) == 3


def test_another_working_folder_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder "mine" is another one; what the split holds stays what it is."""
    root = write_streets(tmp_path / "kitti", 1)
    seen = []
    for place in ("a", "b"):
        (tmp_path / place / "mine").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / place)
        jobs = [
            DatasetJob(str(root), depth=DepthChoice("depth_2"), masks=MaskChoice("instance_2")),
            DatasetJob(str(root), depth=DepthChoice("none"), masks=MaskChoice("mine")),
            DatasetJob(str(root), depth=DepthChoice("mine")),
        ]
        seen.append([fingerprint(describe(job)) for job in jobs])
    assert [a == b for a, b in zip(*seen, strict=True)] == [True, False, False]


def test_weights_beside_a_network_are_part_of_a_run(tmp_path: Path) -> None:
    network = tmp_path / "net.onnx"
    network.write_bytes(b"graph")
    job = DatasetJob(str(tmp_path), depth=DepthChoice("onnx", str(network)))
    seen = [fingerprint(describe(job))]
    for content in (b"1", b"2"):
        (tmp_path / "net.onnx.data").write_bytes(content)
        seen.append(fingerprint(describe(job)))
    assert len(set(seen)) == 3


def test_a_folder_called_like_a_prior_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = DatasetJob(str(write_streets(tmp_path / "kitti", 1)))
    before = fingerprint(describe(job))
    (tmp_path / job.prior).mkdir()
    (tmp_path / job.prior / "file").touch()
    assert fingerprint(describe(job)) == before


def test_no_kill_leaves_a_failure_beside_a_finished_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = DatasetJob(str(write_streets(tmp_path / "kitti", 1)))
    folder = ResultFolder(tmp_path / "out", describe(job))
    folder.add(FrameOutcome("000000", None, {}, "no"))
    failure = folder.path / "failures" / "000000.json"
    assert failure.is_file()
    monkeypatch.setattr(Path, "unlink", _killed)
    with pytest.raises(KeyboardInterrupt):
        folder.add(FrameOutcome("000000", "row\n", {"objects": []}))
    assert failure.is_file() and not folder.finished(["000000"])


def _killed(path: Path, missing_ok: bool = False) -> None:
    raise KeyboardInterrupt
