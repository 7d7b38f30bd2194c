"""A depth network whose backbone begins as a classifier's."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffrender._backbones import classifier_colours, load_backbone
from diffrender._torchvision import ensure_torchvision
from diffrender.depth.dpt import DptConfig, DptNet
from diffrender.depth.train_data import Batch
from diffrender.depth.train_run import Run, TrainSettings
from diffrender.errors import InputError

CONFIG = DptConfig(backbone="test_efficientnet", channels=8, size=(64, 96))


def classifier() -> dict[str, torch.Tensor]:
    ensure_torchvision()
    import timm

    torch.manual_seed(3)
    net = timm.create_model("test_efficientnet", pretrained=False)
    return {n: v + 0.5 if v.is_floating_point() else v for n, v in net.state_dict().items()}


def agree(net: DptNet, given: dict[str, torch.Tensor]) -> bool:
    own = net.backbone.state_dict()
    return all(torch.equal(value, given[name].to(value.dtype)) for name, value in own.items())


def test_a_backbone_takes_its_part_of_a_classifier(tmp_path: Path) -> None:
    given, net = classifier(), DptNet(CONFIG)
    assert not agree(net, given)
    save_file(given, tmp_path / "named.safetensors")
    load_backbone(net.backbone, CONFIG.backbone, tmp_path / "named.safetensors")
    assert agree(net, given)
    assert any(name.startswith("classifier") for name in given)  # and that was left out


def test_other_names_in_the_same_order_will_do(tmp_path: Path) -> None:
    given, net = classifier(), DptNet(CONFIG)
    renamed = {f"_tensor{k}": value for k, value in enumerate(given.values())}
    torch.save(renamed, tmp_path / "renamed.pth")
    load_backbone(net.backbone, CONFIG.backbone, tmp_path / "renamed.pth")
    assert agree(net, given)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    given, net = classifier(), DptNet(CONFIG)
    path = tmp_path / "weights.safetensors"
    save_file(dict(list(given.items())[1:]), path)
    with pytest.raises(InputError, match=r"tensors, timm's test_efficientnet"):
        load_backbone(net.backbone, CONFIG.backbone, path)
    first = next(iter(given))
    save_file(given | {first: torch.zeros(3)}, path)
    with pytest.raises(InputError, match=rf"'{first}' has shape \(3,\)"):
        load_backbone(net.backbone, CONFIG.backbone, path)
    with pytest.raises(InputError, match="no such file"):
        load_backbone(net.backbone, CONFIG.backbone, tmp_path / "none.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Path("x")))
    with pytest.raises(InputError, match="not a file of weights"):
        load_backbone(net.backbone, CONFIG.backbone, tmp_path / "code.pth")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(InputError, match="expected a state dict"):
        load_backbone(net.backbone, CONFIG.backbone, tmp_path / "list.pth")


def test_colours_are_those_that_the_weights_expect() -> None:
    assert classifier_colours("tf_efficientnet_lite0") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert classifier_colours("resnet18")[0] == (0.485, 0.456, 0.406)
    with pytest.raises(InputError, match="has no backbone 'resnet0'"):
        classifier_colours("resnet0")


def step(settings: TrainSettings) -> tuple[Run, dict[str, torch.Tensor]]:
    """A run after one step, and its network's state before."""
    torch.manual_seed(0)
    run = Run(CONFIG, replace(settings, steps=2, bfloat16=False, decay=0.0))
    before = {name: value.clone() for name, value in run.net.state_dict().items()}
    draw = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 64, 96, generator=draw)
    depth = 5 + 20 * torch.rand(2, 1, 32, 48, generator=draw)
    owner = torch.zeros(2, 1, 32, 48, dtype=torch.uint8)
    run.learn(Batch(image, depth, torch.ones(2), owner, torch.ones(2)))
    return run, before


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_statistics_stay_when_they_are_told_to(frozen: bool) -> None:
    run, before = step(TrainSettings(frozen_norm=frozen))
    after = run.net.state_dict()
    names = [n for n in before if n.startswith("backbone") and n.endswith("running_mean")]
    assert names
    assert all(torch.equal(after[n], before[n]) is frozen for n in names)


def test_a_backbone_learns_at_its_share_of_the_rate() -> None:
    run, before = step(TrainSettings(backbone_rate=0.1))
    # Adam's first step is the rate itself, whatever the gradient: with warm-up, a thirtieth of it.
    moved = {
        name: float((value.detach() - before[name]).abs().max())
        for name, value in run.net.named_parameters()
    }
    inside = max(v for n, v in moved.items() if n.startswith("backbone"))
    outside = max(v for n, v in moved.items() if not n.startswith("backbone"))
    assert inside == pytest.approx(0.1 * outside, rel=0.02)
