"""The same frames as tasks of a local Ray with two workers, one of which is killed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from street_set import write_streets

from diffrender.errors import InputError, MissingExtraError
from diffrender.reconstruct import ReconstructSettings
from diffrender.reconstruct.dataset import (
    DatasetJob,
    Where,
    choose_frames,
    cluster,
    reconstruct_dataset,
)
from diffrender.reconstruct.dataset.frame import FrameOutcome
from diffrender.reconstruct.input_depth import DepthChoice
from diffrender.shape_priors import load_prior, save_prior

TRUE_TASK = cluster.frame_task


@pytest.fixture
def ray() -> Iterator[Any]:
    """A local Ray with two workers."""
    ray = pytest.importorskip("ray", reason="ray is not installed (extra cluster)")
    # The tasks of this file are sent as they are: workers cannot import a test.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield ray
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def outputs(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "data").iterdir())}


def objects(out: Path) -> list[Any]:
    records = [json.loads(path.read_text()) for path in sorted((out / "frames").iterdir())]
    return [
        {k: v for k, v in one.items() if k != "seconds"} for r in records for one in r["objects"]
    ]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_streets(tmp_path / "kitti", 5)
    stages = tuple(
        dataclasses.replace(stage, iterations=2) for stage in ReconstructSettings().stages
    )
    settings = ReconstructSettings(hypotheses=2, stages=stages)
    # The shipped network: its weights travel, and so does a prior of the user's own.
    prior = str(save_prior(load_prior("car"), tmp_path / "mine.safetensors"))
    depth = DepthChoice("dpt-timm", align="scene")
    job = DatasetJob(str(root), depth=depth, prior=prior, settings=settings)
    broken = root / "training" / "calib" / "000004.txt"
    broken.write_text("P2: 1\n")
    frames = choose_frames(root, "val")
    serial = reconstruct_dataset(job, frames, tmp_path / "serial")

    marker = str(tmp_path / "killed")
    puts: list[Any] = []
    most: list[int] = []

    def task(payload: list[Any], key: str, name: str) -> Any:
        """As the true task, but the worker that first meets frame 000001 dies in the middle."""
        outcome = TRUE_TASK(payload, key, name)
        if name == "000001" and not os.path.exists(marker):
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    true_put, true_wait = ray.put, ray.wait

    def put(value: Any) -> Any:
        puts.append(value)
        return true_put(value)

    def wait(running: list[Any], **options: Any) -> Any:
        most.append(len(running))
        return true_wait(running, **options)

    monkeypatch.setattr(cluster, "frame_task", task)
    monkeypatch.setattr(ray, "put", put)
    monkeypatch.setattr(ray, "wait", wait)
    summary = reconstruct_dataset(job, frames, tmp_path / "ray", Where(ray="auto", in_flight=3))
    assert Path(marker).exists()
    assert (summary.done, list(summary.failures)) == (4, ["000004"])
    assert summary.retries >= 1  # Ray may lose more than the frame that was at work
    assert summary.failures == serial.failures
    assert outputs(tmp_path / "ray") == outputs(tmp_path / "serial")
    assert objects(tmp_path / "ray") == objects(tmp_path / "serial")
    assert (tmp_path / "ray/results.zip").read_bytes() == (
        tmp_path / "serial/results.zip"
    ).read_bytes()
    record = json.loads((tmp_path / "ray" / "frames" / "000001.json").read_text())
    assert record["attempts"] >= 2
    # Weights and prior once in the store, and never more under way than was allowed.
    assert len(puts) == 1
    assert set(puts[0].files) == {"depth", "prior"}
    assert max(most) == 3


def test_no_cluster_there_is_one_line() -> None:
    class NoRay:
        def init(self, **_: Any) -> None:
            raise ConnectionError("Could not find any running Ray instance.\nPlease specify")

    with pytest.raises(InputError, match=r"no Ray cluster at 'auto' .*`ray start --head`"):
        cluster._join(NoRay(), "auto")


class FakeRay(types.ModuleType):
    """Ray's calls within this process: what a task does, or how its worker dies, is given."""

    def __init__(self, deaths: dict[str, int], places: int) -> None:
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=self.Error, RayTaskError=self.TaskError)
        self.deaths, self.places = deaths, places
        self.most, self.options, self.down = 0, {}, False

    class Error(Exception):
        pass

    class TaskError(Error):
        pass

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        self.address = options["address"]

    def shutdown(self) -> None:
        self.down = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.places}

    def put(self, value: Any) -> Any:
        return ("reference", value)

    def remote(self, **options: Any) -> Any:
        self.options = options
        return lambda task: types.SimpleNamespace(remote=lambda *given: (object(), given[2]))

    def wait(self, running: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(running))
        return [running[-1]], running[:-1]

    def get(self, done: Any) -> Any:
        name = done[1]
        if self.deaths.get(name, 0) < 0:
            raise self.TaskError("no module")
        if self.deaths.get(name, 0) > 0:
            self.deaths[name] -= 1
            raise self.Error("worker died")
        return FrameOutcome(name, "", {})


def run_fake(
    monkeypatch: pytest.MonkeyPatch, fake: FakeRay, names: list[str], **options: Any
) -> dict[str, FrameOutcome]:
    monkeypatch.setitem(sys.modules, "ray", fake)
    job = DatasetJob("", depth=DepthChoice("none"))
    found = cluster.run_ray(job, names, address="there:1", key="k", retries=2, **options)
    return {one.frame: one for one in found}


def test_lost_tasks_are_begun_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay({"f1": 1, "f2": 99, "f3": -1}, places=2)
    found = run_fake(monkeypatch, fake, [f"f{i}" for i in range(9)])
    assert len(found) == 9
    assert (found["f1"].attempts, found["f1"].rows) == (2, "")
    assert (found["f2"].attempts, found["f2"].rows) == (3, None)
    assert "the worker died 3 times" in found["f2"].reason
    assert found["f3"].reason == "TaskError: no module"
    assert all(found[f"f{i}"].attempts == 1 for i in (0, 4, 5, 6, 7, 8))
    assert fake.address == "there:1"
    assert fake.down
    assert fake.options == {"num_cpus": 1, "num_gpus": 0, "max_retries": 0}


@pytest.mark.parametrize(("places", "in_flight", "most"), [(2, None, 4), (0, None, 2), (8, 3, 3)])
def test_no_more_tasks_than_places_ask_for(
    monkeypatch: pytest.MonkeyPatch, places: int, in_flight: int | None, most: int
) -> None:
    fake = FakeRay({}, places)
    names = [f"f{i}" for i in range(40)]
    assert len(run_fake(monkeypatch, fake, names, in_flight=in_flight)) == 40
    assert fake.most == most


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    job = DatasetJob("")
    with pytest.raises(MissingExtraError, match=r"diffrender\[cluster\]"):
        next(cluster.run_ray(job, ["a"], address="auto", key="", retries=0))


def test_a_worker_of_another_version_is_refused() -> None:
    payload = dataclasses.replace(cluster.pack(DatasetJob(""), "k"), version="0.0.0")
    with pytest.raises(InputError, match=r"this worker has diffrender .* the driver 0\.0\.0"):
        cluster._open(payload)


def test_folders_and_files_travel(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "deep" / "weights.bin").write_bytes(b"\x00\x01")
    network = tmp_path / "net.onnx"
    network.write_bytes(b"onnx")
    (tmp_path / "net.json").write_text('{"kind": "metric"}')
    for number, source in enumerate((model, network)):
        there = Path(cluster._unpack(cluster._content(source), tmp_path / str(number)))
        assert there.is_dir() is source.is_dir()
        if source.is_dir():
            assert (there / "deep" / "weights.bin").read_bytes() == b"\x00\x01"
        else:
            assert there.read_bytes() == b"onnx"
            assert there.with_suffix(".json").is_file()


def test_weights_beside_a_network_travel(tmp_path: Path) -> None:
    for name in ("net.onnx", "net.onnx.data", "net.json", "other.bin"):
        (tmp_path / name).write_text(name)
    there = Path(cluster._unpack(cluster._content(tmp_path / "net.onnx"), tmp_path / "there"))
    names = sorted(path.name for path in there.parent.iterdir())
    assert names == ["net.json", "net.onnx", "net.onnx.data"]
