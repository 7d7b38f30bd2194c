"""The heading network: its conventions, what it refuses, its file, its crops."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffrender.errors import InputError
from diffrender.heading import (
    HeadingConfig,
    HeadingNet,
    load_heading,
    object_crops,
    save_heading,
    shipped_heading,
    to_tensors,
)

TINY = HeadingConfig("test_efficientnet", blocks=4, side=64, bins=8, channels=4, hidden=6)


def tiny() -> HeadingNet:
    torch.manual_seed(0)
    return HeadingNet(TINY).eval()


def told(*directions: float, bins: int = 8, sure: float = 20.0) -> torch.Tensor:
    """Distributions about directions, as log probabilities."""
    centres = torch.arange(bins) * 2 * math.pi / bins
    return (sure * torch.cos(torch.tensor(directions)[:, None] - centres)).log_softmax(1)


def test_it_reads_log_probabilities_and_leaves_the_backbone_alone() -> None:
    net = tiny()
    image = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, 64, 64)
    out = net(image, mask)
    assert out.shape == (3, 8)
    torch.testing.assert_close(out.exp().sum(dim=1), torch.ones(3))
    assert not any(p.requires_grad for p in net.backbone.parameters())
    out.sum().backward()
    assert net.tell.weight.grad is not None


def test_convention_a_mirrored_car_faces_pi_minus_alpha() -> None:
    net = tiny()
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    mask = (torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(3)) > 0.3).float()
    direct, mirrored = net.read(image, mask), net.read(image.flip(-1), mask.flip(-1))
    for k in range(8):  # bin k is alpha = k pi / 4, and pi - alpha is bin 4 - k
        torch.testing.assert_close(mirrored[:, k], direct[:, (4 - k) % 8])


def test_odds_are_of_a_direction_against_its_half_turn() -> None:
    net = tiny()
    alpha = torch.tensor([0.0, math.pi, -2 * math.pi, math.pi / 2])
    found = net.odds(told(0.0).expand(4, 8), alpha)
    doubt = TINY.doubt
    assert found[0] == pytest.approx(1 - doubt / 2, abs=1e-3)  # never surer than the doubt allows
    assert found[1] == pytest.approx(doubt / 2, abs=1e-3)
    assert found[2] == pytest.approx(float(found[0]), abs=1e-5)
    assert found[3] == pytest.approx(0.5, abs=1e-4)  # across it, nothing is said
    both = net.odds(told(0.0).expand(2, 8), alpha[:2])
    assert float(both.sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backbone": "test_convnext"}, "has no stem and 5 blocks"),
        ({"backbone": "resnet0"}, "has no backbone 'resnet0'"),
        ({"blocks": 3}, "has stride 8, expected 16"),
        ({"side": 100}, "HeadingConfig.side is 100"),
        ({"doubt": 0.0}, "HeadingConfig.doubt is 0.0"),
        ({"bins": 6}, "HeadingConfig.bins is 6"),
    ],
)
def test_configurations_that_make_no_network_are_refused(
    config: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        HeadingNet(HeadingConfig(**({"backbone": "tf_efficientnet_lite0"} | config)))  # type: ignore[arg-type]


def test_a_file_brings_the_same_network_back(tmp_path: Path) -> None:
    net = tiny()
    net.feature_std.fill_(2.0)
    again = load_heading(save_heading(net, tmp_path / "net.safetensors"))
    assert again.config == TINY
    image, mask = torch.rand(1, 3, 64, 64), torch.ones(1, 64, 64)
    torch.testing.assert_close(again.read(image, mask), net.read(image, mask))


def test_files_of_strangers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_heading(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="metadata holds no 'diffrender.heading'"):
        load_heading(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"diffrender.heading": json.dumps({"a": 1})})
    with pytest.raises(InputError, match="configuration cannot be read"):
        load_heading(path)


def test_crops_are_centred_on_the_mask_and_keep_its_aspect() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    mask = np.zeros((100, 200), bool)
    mask[30:50, 120:160] = True  # 40 wide, 20 high, centre (140, 40)
    image[mask] = 255
    crops, covers = object_crops(image, [mask], 52)  # the window is 1.3 x 40 = 52: as it is
    assert np.array_equal(covers[0] == 255, mask[14:66, 114:166])
    assert np.array_equal(crops[0, :, :, 0], covers[0])
    rgb, cover = to_tensors(crops, covers)
    assert rgb.shape == (1, 3, 52, 52)
    assert float(cover.sum()) == 800


def test_the_shipped_network_tells_front_from_rear_on_a_street_of_its_own_kind() -> None:
    from diffrender.datasets.heading_crops import _visible
    from diffrender.datasets.synthetic import SyntheticStreets

    net, right = shipped_heading(), []
    for frame in SyntheticStreets(977, 3):
        shown = {i.name: i.mask for i in frame.instances()}
        cars = [c for c in frame.truth if c.name in shown and _visible(shown[c.name])]
        crops = object_crops(frame.image, [shown[c.name] for c in cars], net.config.side)
        alpha = torch.tensor(
            [c.pose.yaw - math.atan2(c.pose.location[0], c.pose.location[2]) for c in cars]
        )
        right += (net.odds(net.read(*to_tensors(*crops)), alpha) > 0.5).tolist()
    assert len(right) >= 8
    assert sum(right) >= 0.8 * len(right)
