"""A data set at a time: resuming, failures, processes, and what is written."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import zipfile
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import ClassVar

import pytest
from street_set import write_streets

from diffrender.errors import InputError
from diffrender.evaluate import kitti_average_precision, lint_submission
from diffrender.reconstruct import ReconstructSettings
from diffrender.reconstruct.dataset import (
    DatasetJob,
    DatasetProgress,
    Where,
    choose_frames,
    processes,
    reconstruct_dataset,
)
from diffrender.reconstruct.dataset import frame as frame_module
from diffrender.reconstruct.dataset import run as run_module
from diffrender.reconstruct.dataset.frame import FrameOutcome
from diffrender.reconstruct.dataset.job import describe, differences, fingerprint
from diffrender.reconstruct.input_depth import DepthChoice
from diffrender.reconstruct.inputs import MaskChoice

QUICK = ReconstructSettings(method="box")


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_streets(tmp_path_factory.mktemp("kitti"), 4)


def job_of(root: Path, **changes: object) -> DatasetJob:
    job = DatasetJob(str(root), depth=DepthChoice("depth_2"), settings=QUICK)
    return dataclasses.replace(job, **changes)  # type: ignore[arg-type]


def outputs(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


def poses(out: Path) -> dict[str, object]:
    """What a frame's record says of its objects: everything but times and processes."""
    found = {}
    for path in sorted((out / "frames").iterdir()):
        record = json.loads(path.read_text())
        for one in record["objects"]:
            del one["seconds"]
        found[path.name] = record["objects"]
    return found


def test_a_split_becomes_a_submission_and_is_evaluated(streets: Path, tmp_path: Path) -> None:
    seen: list[DatasetProgress] = []
    out = tmp_path / "out"
    frames = choose_frames(streets, "val")
    summary = reconstruct_dataset(job_of(streets), frames, out, progress=seen.append)
    assert (summary.total, summary.done, summary.skipped, summary.failures) == (4, 4, 0, {})
    assert summary.objects == {"Car": 4}
    assert summary.masks == "instance_2"
    assert [one.done for one in seen] == [1, 2, 3, 4]
    assert seen[-1].seconds_left == 0
    assert seen[0].frames_per_minute > 0
    # The zip is what the server takes, and the evaluator reads the same figures from it.
    assert lint_submission(out / "results.zip", frames.names).errors == 0
    again = kitti_average_precision(
        streets / "training" / "label_2", out / "results.zip", frames.names
    )
    assert summary.report is not None
    name = summary.report.classes[0].row("2d", "moderate")
    assert again.classes[0].row("2d", "moderate").r40 == name.r40
    record = json.loads((out / "summary.json").read_text())
    assert record["frames"] == {
        "total": 4, "finished_before": 0, "done": 4, "failed": 0, "absent": 0,
    }  # fmt: skip
    assert record["evaluation"]["frames"] == 4
    metrics = {row["metric"] for row in record["evaluation"]["average_precision"]}
    assert metrics == {"2d", "aos", "bev", "3d"}
    assert record["frames_per_minute"] == pytest.approx(60 * 4 / record["seconds"])
    row = (out / "data" / "000001.txt").read_text().split()
    assert row[0] == "Car"
    assert float(row[13]) == pytest.approx(14.0 + 1.94, abs=1.5)


def test_resuming_computes_only_what_is_missing(
    streets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, out = job_of(streets), tmp_path / "out"
    frames = choose_frames(streets, "val")
    whole = reconstruct_dataset(job, frames, tmp_path / "whole")
    asked: list[str] = []
    true_run = run_module.run_here

    def stop_after_two(worker, names):  # type: ignore[no-untyped-def]
        for number, outcome in enumerate(true_run(worker, names)):
            if number == 2:
                raise KeyboardInterrupt
            yield outcome

    monkeypatch.setattr(run_module, "run_here", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_dataset(job, frames, out)
    # A kill between the rows and the record leaves rows alone: the frame is not finished.
    shutil.copy(tmp_path / "whole" / "data" / "000003.txt", out / "data" / "000003.txt")

    def listen(worker, names):  # type: ignore[no-untyped-def]
        asked.extend(names)
        return true_run(worker, names)

    monkeypatch.setattr(run_module, "run_here", listen)
    summary = reconstruct_dataset(job, frames, out)
    assert asked == ["000002", "000003"]
    assert (summary.skipped, summary.done) == (2, 2)
    assert summary.objects == whole.objects
    assert outputs(out) == outputs(tmp_path / "whole")
    assert (out / "results.zip").read_bytes() == (tmp_path / "whole/results.zip").read_bytes()
    asked.clear()
    assert reconstruct_dataset(job, frames, out).skipped == 4
    assert asked == []


def test_one_failing_frame_stops_nothing(tmp_path: Path) -> None:
    root, out = write_streets(tmp_path / "kitti", 3), tmp_path / "out"
    broken = root / "training" / "calib" / "000001.txt"
    good = broken.read_text()
    broken.write_text("P2: 1 2 3\n")
    frames = choose_frames(root, "val")
    summary = reconstruct_dataset(job_of(root), frames, out)
    assert summary.done == 2
    assert list(summary.failures) == ["000001"]
    assert "calib/000001.txt" in summary.failures["000001"].replace(os.sep, "/")
    assert list(outputs(out)) == ["000000.txt", "000002.txt"]
    record = json.loads((out / "summary.json").read_text())
    (failure,) = record["failures"]
    assert failure["frame"] == "000001"
    assert json.loads((out / "failures" / "000001.json").read_text())["reason"] == failure["reason"]
    # The benchmark wants a file for every frame: an empty one is no detection.
    with zipfile.ZipFile(out / "results.zip") as archive:
        assert archive.read("000001.txt") == b""
    broken.write_text(good)  # mended: the next run computes it, and the failure is gone
    summary = reconstruct_dataset(job_of(root), frames, out)
    assert (summary.skipped, summary.done, summary.failures) == (2, 1, {})
    assert list((out / "failures").iterdir()) == []


def test_a_bug_in_a_frame_keeps_its_traceback(
    streets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(frame_module, "reconstruct", fail)
    summary = reconstruct_dataset(job_of(streets), choose_frames(streets, "val"), tmp_path)
    assert summary.failures["000000"] == "ZeroDivisionError: of all things"
    assert summary.done == 0
    details = json.loads((tmp_path / "failures" / "000000.json").read_text())["details"]
    assert details.startswith("Traceback")
    assert summary.report is None or summary.report.inputs.found_rows == 0


def test_another_run_does_not_mix(streets: Path, tmp_path: Path) -> None:
    frames = choose_frames(streets, "val")
    reconstruct_dataset(job_of(streets), frames, tmp_path)
    changed = job_of(streets, depth=DepthChoice("none"), seed=3)
    with pytest.raises(InputError) as raised:
        reconstruct_dataset(changed, frames, tmp_path)
    message = str(raised.value)
    assert "results of a run with other settings" in message
    assert "depth.source: 'depth_2', now 'none'; seed: 0, now 3" in message
    assert "choose another --out" in message
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match="no run.json that says of which run"):
        reconstruct_dataset(job_of(streets), frames, tmp_path)


def test_a_record_of_another_run_is_refused(streets: Path, tmp_path: Path) -> None:
    frames = choose_frames(streets, "val")
    reconstruct_dataset(job_of(streets), frames, tmp_path)
    path = tmp_path / "frames" / "000000.json"
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(InputError, match=r"000000\.json is not of this run"):
        reconstruct_dataset(job_of(streets), frames, tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"000000\.json is no JSON"):
        reconstruct_dataset(job_of(streets), frames, tmp_path)


def test_the_fingerprint_sees_the_content_of_weights(streets: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.npz"
    weights.write_bytes(b"one")
    job = job_of(streets, depth=DepthChoice("pydnet", str(weights)))
    before = describe(job)
    weights.write_bytes(b"two")
    after = describe(job)
    assert fingerprint(before) != fingerprint(after)
    (line,) = differences(before, after)
    assert line.startswith("files.depth: ")
    assert fingerprint(describe(job)) == fingerprint(after)


def test_processes_give_the_bits_of_the_serial_run_though_one_is_killed(
    streets: Path, tmp_path: Path
) -> None:
    stages = tuple(
        dataclasses.replace(stage, iterations=2) for stage in ReconstructSettings().stages
    )
    settings = ReconstructSettings(hypotheses=2, stages=stages)
    job, frames = job_of(streets, settings=settings), choose_frames(streets, "val")
    serial, two = tmp_path / "serial", tmp_path / "two"
    reconstruct_dataset(job, frames, serial)
    killed: list[int] = []

    def kill_one(seen: DatasetProgress) -> None:
        """The process that gave the first frame: by now it has the next one."""
        if not killed:
            record = json.loads((two / "frames" / f"{seen.frame}.json").read_text())
            killed.append(int(record["worker"].split(":")[1]))
            os.kill(killed[0], signal.SIGKILL)

    summary = reconstruct_dataset(job, frames, two, Where(workers=2), kill_one)
    assert killed
    assert (summary.done, summary.failures, summary.where) == (4, {}, "2 processes")
    assert outputs(two) == outputs(serial)
    assert poses(two) == poses(serial)
    assert (two / "results.zip").read_bytes() == (serial / "results.zip").read_bytes()


def test_a_frame_that_kills_its_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is replaced by one whose processes die at a frame, so that no process is begun."""

    class Dying:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def submit(self, work: object, job: object, name: str) -> Future[FrameOutcome]:
            future: Future[FrameOutcome] = Future()
            if name == "b":
                future.set_exception(BrokenProcessPool("terminated abruptly"))
            else:
                future.set_result(FrameOutcome(name, "", {}))
            return future

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Dying)
    found = {one.frame: one for one in processes.run_processes(job_of(Path()), "abc", 2, 2)}
    assert sorted(found) == ["a", "b", "c"]
    assert found["b"].attempts == 3
    assert found["b"].rows is None
    assert found["b"].reason == (
        "the worker died 3 times while it had this frame (terminated abruptly)"
    )
    assert found["a"].attempts == found["c"].attempts == 1


def test_a_process_that_died_between_two_frames_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pool refuses the next frame at once; neither the run nor the frame suffers from that."""

    class Idle:
        made: ClassVar[list[Idle]] = []

        def __init__(self, *_: object, **__: object) -> None:
            self.made.append(self)
            self.frames = 0

        def submit(self, work: object, job: object, name: str) -> Future[FrameOutcome]:
            if self is self.made[0] and self.frames:
                raise BrokenProcessPool("a process was terminated abruptly")
            self.frames += 1
            future: Future[FrameOutcome] = Future()
            future.set_result(FrameOutcome(name, "", {}))
            return future

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Idle)
    found = list(processes.run_processes(job_of(Path()), "abcde", 2, 2))
    assert sorted(one.frame for one in found) == list("abcde")
    assert all(one.attempts == 1 for one in found)
    assert len(Idle.made) == 3


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", "no split list 'train'"),
        ("no/such.txt", "--split no/such.txt does not exist"),
        ("other", "none of the 2 frames of other has an image"),
    ],
)
def test_bad_splits(streets: Path, split: str, message: str) -> None:
    (streets / "other.txt").write_text("900000\n900001\n")
    with pytest.raises(InputError, match=message):
        choose_frames(streets, split)


def test_splits_by_file_name_and_folder(streets: Path, tmp_path: Path) -> None:
    listed = tmp_path / "some.txt"
    listed.write_text("000002\n000777\n000000\n")
    chosen = choose_frames(streets, str(listed))
    assert chosen.names == ("000002", "000000")
    assert chosen.absent == ("000777",)
    assert choose_frames(streets, "training").names == choose_frames(streets, "val").names


def test_what_cannot_be_begun_is_said_before(streets: Path, tmp_path: Path) -> None:
    frames = choose_frames(streets, "val")
    with pytest.raises(InputError, match="no shape prior 'lorry'"):
        reconstruct_dataset(job_of(streets, prior="lorry"), frames, tmp_path / "a")
    wrong = job_of(streets, masks=MaskChoice(segmenter="sieve"))
    with pytest.raises(InputError, match="no segmenter 'sieve', expected one of street, grabcut"):
        reconstruct_dataset(wrong, frames, tmp_path / "b")
    assert not (tmp_path / "a").exists()
    with pytest.raises(InputError, match="workers is 0"):
        Where(workers=0)
    with pytest.raises(InputError, match="either workers, on this machine, or ray"):
        Where(workers=2, ray="auto")
    with pytest.raises(InputError, match="threads is 0"):
        job_of(streets, threads=0)


def test_boxes_of_the_labels_become_masks(streets: Path, tmp_path: Path) -> None:
    job = job_of(streets, masks=MaskChoice(segmenter="grabcut"))
    summary = reconstruct_dataset(job, choose_frames(streets, "val"), tmp_path)
    assert summary.objects == {"Car": 4}
    assert summary.masks.startswith("the 2D boxes of label_2 by the segmenter grabcut")


def test_sharpened_masks_are_said_to_be(streets: Path, tmp_path: Path) -> None:
    job = job_of(streets, masks=MaskChoice(outline=1.5))
    summary = reconstruct_dataset(job, choose_frames(streets, "val"), tmp_path)
    assert summary.done == 4
    assert summary.masks == "instance_2, sharpened by 1.5 pixels"


def test_boxes_of_the_labels_are_known_by_any_name(streets: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("label_2", "label_2/", str(streets / "training" / "label_2"))):
        job = job_of(streets, masks=MaskChoice(name))
        summary = reconstruct_dataset(job, choose_frames(streets, "val"), tmp_path / str(number))
        assert summary.masks == "the 2D boxes of label_2: detection itself is not measured"
