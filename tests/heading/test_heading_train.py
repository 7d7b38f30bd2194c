"""Training a heading network's head on crops that differ by which end is red."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrender._backbones import classifier
from diffrender.errors import InputError
from diffrender.heading import HeadingConfig, load_heading
from diffrender.heading.train import (
    CropSet,
    HeadingTrainSettings,
    _target,
    _vary,
    _with_glints,
    check_heading,
    load_crops,
    main,
    train_heading,
)

TINY = HeadingConfig("test_efficientnet", blocks=4, side=64, bins=8, channels=8, hidden=16)


def crops(count: int = 24) -> CropSet:
    """A bright bar on the left of those that face left and on the right of those facing right."""
    draw = np.random.default_rng(0)
    images = draw.integers(60, 90, (count, 64, 64, 3), dtype=np.uint8)
    alpha = np.where(np.arange(count) % 2, math.pi, 0.0).astype(np.float32)
    for k in range(count):
        images[k, 16:48, slice(8, 20) if alpha[k] else slice(44, 56)] = 250
    masks = np.zeros((count, 64, 64), np.uint8)
    masks[:, 10:54, 4:60] = 255
    return CropSet(images, masks, alpha)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("backbone") / "weights.pth"
    torch.save(classifier("test_efficientnet").state_dict(), path)
    return path


def write(folder: Path, some: CropSet) -> Path:
    folder.mkdir()
    np.savez(folder / "crops_00000.npz", image=some.images, mask=some.masks, alpha=some.alpha)
    return folder


def test_a_head_learns_which_end_is_the_front(backbone: Path) -> None:
    settings = HeadingTrainSettings(copies=3, steps=150, batch=16, rate=1e-2)
    before = train_heading(crops(), backbone, TINY, HeadingTrainSettings(1, 1, 2, 1e-9))
    net = train_heading(crops(), backbone, TINY, settings)
    report = check_heading(net, crops())
    assert report["right"] == 1.0
    assert report["nats"] < 0.5 * check_heading(before, crops())["nats"]
    # The backbone is the classifier's still.
    given = torch.load(backbone, weights_only=True)
    assert torch.equal(net.backbone.state_dict()["0.weight"], given["conv_stem.weight"])


def test_variations_turn_the_direction_with_the_picture() -> None:
    some = crops(2)
    for seed in range(20):
        image, mask, alpha = _vary(some, 0, HeadingTrainSettings(), np.random.default_rng(seed))
        assert image.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert mask.shape == (64, 64)
        left, right = image[20:44, :28].mean(), image[20:44, 36:].mean()
        if abs(left - right) > 0.05:  # but for covered or burnt-out ones
            faces_right = math.cos(alpha) > 0
            assert bool(right > left) == faces_right


def test_glints_lighten_the_vehicle_and_nothing_else() -> None:
    image, mask = np.full((64, 64, 3), 0.3, np.float32), np.zeros((64, 64), np.float32)
    assert np.array_equal(_with_glints(image, mask, np.random.default_rng(0)), image)
    mask[20:40, 20:40] = 1
    lit = _with_glints(image, mask, np.random.default_rng(0))
    assert lit.min() >= 0.3 - 1e-6
    assert 0.5 < lit.max() <= 1
    assert np.abs(lit[:4] - 0.3).max() < 0.02


def test_convention_targets_peak_at_their_bin() -> None:
    wanted = _target(torch.tensor([0.0, math.pi / 2, -math.pi / 2]), 8)
    assert wanted.argmax(dim=1).tolist() == [0, 2, 6]
    torch.testing.assert_close(wanted.sum(dim=1), torch.ones(3))


def test_the_command_writes_a_network(
    tmp_path: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = write(tmp_path / "crops", crops(8)), tmp_path / "net.safetensors"
    files = ["--crops", str(folder), "--check", str(folder), "--backbone", str(backbone)]
    more = ["--model", "test_efficientnet", "--blocks", "4", "--side", "64"]
    more += ["--steps", "2", "--copies", "1", "--out", str(out)]
    main([*files, *more])
    assert "'right':" in capsys.readouterr().out
    assert load_heading(out).config.backbone == "test_efficientnet"


@pytest.mark.parametrize("steps", [1, 9, 10, 11])
def test_a_head_is_trained_for_any_number_of_steps(backbone: Path, steps: int) -> None:
    net = train_heading(crops(4), backbone, TINY, HeadingTrainSettings(1, steps, 2))
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())


def test_unfit_crops_are_refused(tmp_path: Path, backbone: Path) -> None:
    with pytest.raises(InputError, match="make some with"):
        load_crops(tmp_path)
    folder = write(tmp_path / "crops", crops(4))
    assert len(load_crops(folder)) == 4
    assert len(load_crops(folder, folder)) == 8
    np.savez(folder / "crops_00001.npz", image=np.zeros((2, 8, 8, 3)), mask=0, alpha=0)
    with pytest.raises(InputError, match=r"crops_00001.npz: image is float64"):
        load_crops(folder)
    np.savez(folder / "crops_00001.npz", picture=0)
    with pytest.raises(InputError, match="expected image, mask, alpha"):
        load_crops(folder)
    for broken in (b"", b"no archive", (folder / "crops_00000.npz").read_bytes()[:-40]):
        (folder / "crops_00001.npz").write_bytes(broken)
        with pytest.raises(InputError, match=r"crops_00001.npz: not a readable .npz file"):
            load_crops(folder)
    with pytest.raises(InputError, match="crops have side 64, the network 128"):
        train_heading(crops(4), backbone)
    with pytest.raises(InputError, match="expected positive numbers"):
        HeadingTrainSettings(steps=0)
