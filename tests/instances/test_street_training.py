"""Training of the street segmenter on pictures of bright boxes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import diffrender.instances.street.train as street_train
from diffrender._backbones import classifier
from diffrender.errors import InputError
from diffrender.instances.street import StreetConfig, load_street
from diffrender.instances.street.check import check_street
from diffrender.instances.street.train import (
    StreetTrainSettings,
    main,
    train_street,
    untrained_street,
)
from diffrender.instances.street.train_data import OwnedSet, load_owned, make_street_batch

TINY = StreetConfig("test_efficientnet", channels=8, width=96)
QUICK = StreetTrainSettings(
    steps=4, batch=2, size=(64, 96), scale=(0.9, 1.2), every=2, bfloat16=False
)


def boxes(count: int = 8) -> OwnedSet:
    """One bright box a picture; the frames are as large as the network's input."""
    draw = np.random.default_rng(0)
    images = draw.integers(20, 60, (count, 64, 96, 3), dtype=np.uint8)
    owner = np.zeros((count, 64, 96), np.uint8)
    for k in range(count):
        left, top = int(draw.integers(4, 50)), int(draw.integers(4, 30))
        images[k, top : top + 26, left : left + 40] = (250, 240, 60)
        owner[k, top : top + 26, left : left + 40] = 1
    return OwnedSet(images, owner)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("backbone") / "weights.pth"
    torch.save(classifier("test_efficientnet").state_dict(), path)
    return path


def write(folder: Path, some: OwnedSet) -> Path:
    folder.mkdir()
    np.savez(folder / "frames_00000.npz", image=some.images, owner=some.owner)
    return folder


def test_it_learns_where_the_boxes_are(backbone: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(
        QUICK, steps=150, batch=4, rate=6e-3, every=150, average=0.9, scale=(0.95, 1.05)
    )
    weights = train_street(untrained_street(TINY, backbone), boxes(), boxes(), tmp_path, settings)
    report = check_street(load_street(weights), boxes(), score=0.3)
    assert report["found"] >= 0.75
    assert report["iou"] > 0.6
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert log[0].startswith("step,vehicle,centre,offset,van,total,rate,found,wrong,iou")


def test_an_interrupted_run_ends_with_the_same_bits(
    backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_street(
        untrained_street(TINY, backbone), boxes(), boxes(2), tmp_path / "whole", QUICK
    )
    learn, left = street_train._learn, [3]

    def stops(*given: Any) -> dict[str, float]:
        left[0] -= 1
        if left[0] == 0:  # in the third step, after the checkpoint of the second
            raise KeyboardInterrupt
        return learn(*given)

    monkeypatch.setattr(street_train, "_learn", stops)
    with pytest.raises(KeyboardInterrupt):
        train_street(
            untrained_street(TINY, backbone), boxes(), boxes(2), tmp_path / "halted", QUICK
        )
    monkeypatch.undo()
    again = train_street(
        untrained_street(TINY, backbone), boxes(), boxes(2), tmp_path / "halted", QUICK
    )
    assert again.read_bytes() == whole.read_bytes()


def test_another_run_in_the_folder_is_refused(backbone: Path, tmp_path: Path) -> None:
    net = untrained_street(TINY, backbone)
    train_street(net, boxes(2), boxes(1), tmp_path, QUICK)
    with pytest.raises(InputError, match="run with other settings"):
        train_street(net, boxes(2), boxes(1), tmp_path, dataclasses.replace(QUICK, seed=3))
    other = untrained_street(TINY, backbone, seed=1)
    with pytest.raises(InputError, match="run with other settings"):
        train_street(other, boxes(2), boxes(1), tmp_path, QUICK)
    train_street(untrained_street(TINY, backbone), boxes(2), boxes(1), tmp_path, QUICK)  # its own


def test_a_batch_keeps_picture_and_owner_together() -> None:
    """Mirrored and cropped alike: the bright pixels are the vehicle's."""
    frames, draw = boxes(), np.random.default_rng(4)
    for _ in range(6):
        images, target = make_street_batch(frames, (64, 96), (0.8, 1.3), np.arange(4), draw)
        assert images.shape == (4, 3, 64, 96) and target.vehicle.shape == (4, 32, 48)
        small = images[:, :, 1::2, 1::2].mean(dim=1)
        for k in range(4):
            on = target.vehicle[k] > 0
            if 20 < int(on.sum()) < 1400:
                # recoloured, shaded and covered in part, but still brighter for the most part
                assert float(small[k][on].median()) > float(small[k][~on].median())


def test_folders_that_do_not_hold_what_they_should_are_refused(tmp_path: Path) -> None:
    some = boxes(2)
    folder = write(tmp_path / "good", some)
    assert len(load_owned(folder, folder)) == 4
    with pytest.raises(InputError, match=r"instance_frames --out FOLDER"):
        load_owned(tmp_path)
    bad = write(tmp_path / "bad", OwnedSet(some.images, some.owner[:, :10]))
    with pytest.raises(InputError, match=r"owner uint8 \(2, 10, 96\); expected uint8"):
        load_owned(bad)
    for name, value in {"size": (60, 96), "scale": (1.2, 0.8), "average": 1.0}.items():
        with pytest.raises(InputError, match=name):
            StreetTrainSettings(**{name: value})  # type: ignore[arg-type]


def test_the_command(backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = write(tmp_path / "frames", boxes(2))
    main(["--frames", str(frames), "--check", str(frames), "--backbone", str(backbone), "--model",
          "test_efficientnet", "--channels", "8", "--steps", "1", "--batch", "1", "--no-bfloat16",
          "--out", str(tmp_path / "out")])  # fmt: skip
    assert "found=" in capsys.readouterr().out
    weights = tmp_path / "out" / "weights.safetensors"
    assert load_street(weights).config.channels == 8
    main(["--frames", str(frames), "--check", str(frames), "--start", str(weights), "--steps", "1",
          "--batch", "1", "--rate", "1e-9", "--no-bfloat16",
          "--out", str(tmp_path / "on")])  # fmt: skip
    on = load_street(tmp_path / "on" / "weights.safetensors").state_dict()
    for name, value in load_street(weights).state_dict().items():
        assert torch.allclose(on[name].float(), value.float(), rtol=1e-3, atol=1e-4), name
    with pytest.raises(SystemExit):
        main(["--frames", str(frames), "--check", str(frames), "--start", str(weights),
              "--channels", "8", "--out", str(tmp_path / "other")])  # fmt: skip
    assert "of the network that --start names" in capsys.readouterr().err
