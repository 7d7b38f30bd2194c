"""Training runs: the log, interruption, what may not be mixed up, and that no label is read."""

from __future__ import annotations

import csv
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from predict_cases import NEAR, QUICK, TINY, prior, shards

from diffrender.datasets import SyntheticStreets, write_kitti
from diffrender.errors import InputError, MissingExtraError
from diffrender.predict import (
    Group,
    Samples,
    SampleSettings,
    Trainer,
    TrainSettings,
    load_predictor,
    load_samples,
    prepare,
    split_shards,
)
from diffrender.tools.inputs import DepthChoice
from diffrender.tools.train_sources import KittiFrames, kitti_frames


def trainer(out: Path, settings: TrainSettings = QUICK, **options: Any) -> Trainer:
    return Trainer(split_shards(shards(), 2), out, TINY, settings, prior(), **options)


class Killed(BaseException):
    """What a signal would do in the middle of a step."""


def test_a_run_leaves_log_weights_and_checkpoint(tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    run = trainer(tmp_path)
    assert run.run(report=seen.append)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2.0", "4.0"]
    assert set(rows[0]) >= {"silhouette", "depth", "student", "check_believed", "check_best"}
    assert float(rows[0]["check_best"]) <= float(rows[0]["check_believed"])
    assert [row["step"] for row in seen] == [2.0, 4.0]
    assert load_predictor(run.weights).config == TINY
    assert trainer(tmp_path).done


def test_tensorboard_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trainer(tmp_path, board=True).run()
    assert [f.name.split(".")[2] for f in (tmp_path / "board").iterdir()] == ["tfevents"]


def test_tensorboard_where_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"diffrender\[train\]"):
        trainer(tmp_path, board=True)


def test_a_killed_run_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run()
    step = Trainer._step

    def killed(self: Trainer, number: int) -> dict[str, float]:
        if number == 3:
            raise Killed
        return step(self, number)

    monkeypatch.setattr(Trainer, "_step", killed)
    with pytest.raises(Killed):
        trainer(tmp_path / "cut").run()
    monkeypatch.undo()
    rest = trainer(tmp_path / "cut")
    assert rest.state.step == 2  # the checkpoint before the kill
    assert rest.run()
    assert rest.weights.read_bytes() == whole.weights.read_bytes()
    steps = [row["step"] for row in rest.state.rows]
    assert steps == [2.0, 4.0]


def test_a_pause_is_a_checkpoint(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    assert not run.run(until=0.0)
    assert run.state.step == 1
    again = trainer(tmp_path)
    assert again.state.step == 1
    assert again.run()


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    trainer(tmp_path).run(until=0.0)
    with pytest.raises(InputError, match="run with other settings"):
        trainer(tmp_path, dataclasses.replace(QUICK, rate=1e-4))
    with pytest.raises(InputError, match="run with other settings"):
        trainer(tmp_path, source="other pictures")
    stretched = dataclasses.replace(prior(), basis=1.1 * prior().basis)
    with pytest.raises(InputError, match="run with other settings"):
        Trainer(split_shards(shards(), 2), tmp_path, TINY, QUICK, stretched)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        trainer(tmp_path)


def test_the_weights_name_the_prior_that_they_were_trained_with(tmp_path: Path) -> None:
    stretched = dataclasses.replace(prior(), basis=1.1 * prior().basis)
    run = Trainer(split_shards(shards(), 2), tmp_path, TINY, QUICK, stretched)
    run.run(until=0.0)
    assert load_predictor(run.weights).config.prior == stretched.digest() != prior().digest()


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="8 latents and 8 parts, the configuration 5"):
        Trainer(split_shards(shards(), 2), tmp_path, dataclasses.replace(TINY, latent_size=5),
                QUICK, prior())  # fmt: skip
    with pytest.raises(InputError, match="over 3 processes"):
        trainer(tmp_path, group=Group(0, 3))
    with pytest.raises(InputError, match="too few frames"):
        split_shards(shards()[:1], 2)
    with pytest.raises(InputError, match="batch is 1"):
        TrainSettings(batch=1)
    with pytest.raises(InputError, match=r"rate 2"):
        TrainSettings(rate=2.0)


def test_samples_of_another_folder_are_refused_and_of_a_moved_one_taken(tmp_path: Path) -> None:
    settings = SampleSettings(size=32, frames_per_file=1)

    def source(name: str) -> KittiFrames:
        return kitti_frames(tmp_path / name, "training", None, "instance_2", DepthChoice("depth_2"))

    for seed, name in ((1, "one"), (2, "two")):
        write_kitti(SyntheticStreets(seed, 2, (96, 320), NEAR), tmp_path / name)
    assert prepare(source("one"), tmp_path / "samples", settings)
    with pytest.raises(InputError, match="samples"):
        load_samples(source("two"), tmp_path / "samples", settings)
    (tmp_path / "one").rename(tmp_path / "moved")
    assert load_samples(source("moved"), tmp_path / "samples", settings)
    depth = next((tmp_path / "moved" / "training" / "depth_2").iterdir())
    depth.write_bytes(depth.read_bytes() + b"another map")
    with pytest.raises(InputError, match="samples"):
        load_samples(source("moved"), tmp_path / "samples", settings)


UNKNOWN = "-1 -1 -1 -1000 -1000 -1000 -10"  # as KITTI writes what is not given


def scramble(text: str) -> str:
    """The label file with height, width, length, place and rotation_y blanked."""
    rows = [line.split() for line in text.splitlines()]
    # alpha, column 4, follows from the 3D box too
    return "".join(" ".join([*r[:3], "-10", *r[4:8], UNKNOWN]) + "\n" for r in rows)


def test_the_3d_columns_of_labels_are_not_read(tmp_path: Path) -> None:
    """Blank them, or take the labels away: the weights stay the same to the bit."""
    settings = SampleSettings(size=32, frames_per_file=1)
    cars = dataclasses.replace(NEAR, van_share=0.0)  # without labels every instance is a car
    outcomes = []
    for variant in ("true", "blank", "absent"):
        root = write_kitti(SyntheticStreets(1, 3, (96, 320), cars), tmp_path / variant / "kitti")
        folder = root / "training" / "label_2"
        for file in sorted(folder.iterdir()):
            if variant == "blank":
                changed = scramble(file.read_text())
                assert changed != file.read_text()
                file.write_text(changed)
            elif variant == "absent":
                file.unlink()
        if variant == "absent":
            folder.rmdir()
        source = kitti_frames(root, "training", None, "instance_2", DepthChoice("depth_2"))
        assert prepare(source, tmp_path / variant / "samples", settings)
        found: list[Samples] = load_samples(source, tmp_path / variant / "samples", settings)
        run = Trainer(split_shards(found, 2), tmp_path / variant / "run", TINY,
                      dataclasses.replace(QUICK, steps=2), prior())  # fmt: skip
        run.run()
        outcomes.append((sum(map(len, found)), run.weights.read_bytes()))
    assert outcomes[0][0] >= 4
    assert outcomes[1] == outcomes[0]
    assert outcomes[2] == outcomes[0]
