"""Closer views of a picture: where they lie, and how their depths are joined."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffrender.depth import DptConfig, DptSettings, create_depth, save_dpt
from diffrender.depth.dpt import DptNet
from diffrender.depth.dpt_timm import DptTimm, _close_views, _fading_to_the_rim, _far
from diffrender.errors import InputError

SMALL = DptConfig(backbone="test_convnext", channels=8, size=(64, 96))
IMAGE = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)


def model(tmp_path: Path, share: float | None, height: float | None = None) -> DptTimm:
    torch.manual_seed(0)
    net = DptNet(dataclasses.replace(SMALL, reference_height=height))
    path = save_dpt(net, tmp_path / "net.safetensors")
    loaded = create_depth("dpt-timm", path, settings=DptSettings(share))
    assert isinstance(loaded, DptTimm)
    return loaded


class Flat(torch.nn.Module):
    """Says the same depth wherever it looks, as a wall does to a camera of a focal length."""

    def __init__(self, config: DptConfig, metres: float) -> None:
        super().__init__()
        self.config, self.metres, self.seen = config, metres, []

    def forward(self, image: Tensor, height: Tensor | None = None) -> Tensor:
        self.seen.append(tuple(image.shape[-2:]))
        return torch.full((len(image), 1, 4, 6), self.metres)


def test_three_views_lie_beside_one_another_in_the_middle() -> None:
    views = _close_views((100, 300), 0.6)
    assert [(r.start, r.stop, c.start, c.stop) for r, c in views] == [
        (20, 80, 0, 180), (20, 80, 60, 240), (20, 80, 120, 300)
    ]  # fmt: skip


def test_a_view_fades_to_its_rim() -> None:
    trust = _fading_to_the_rim(torch.zeros(40, 90))
    assert trust.shape == (40, 90)
    assert trust[20, 45] == 1
    assert float(trust[0, 45]) == float(trust[20, -1]) == 0.25
    assert float(trust[0, 0]) == 0.0625
    torch.testing.assert_close(trust, trust.flip(0))
    torch.testing.assert_close(trust, trust.flip(1))


def test_closer_views_count_where_it_is_far() -> None:
    depth = torch.tensor([[2.0, 10.0, 15.0, 20.0, 90.0]])
    assert _far(depth).tolist() == [[0.0, 0.0, 0.5, 1.0, 1.0]]


@pytest.mark.parametrize(("metres", "gain"), [(8.0, 0.0), (15.0, 1 / 2), (40.0, 2 / 3)])
def test_convention_a_closer_view_has_the_longer_focal_length(
    metres: float, gain: float, tmp_path: Path
) -> None:
    """A network that says the same of every view says a greater depth of a closer one."""
    network = model(tmp_path, 0.5)
    network.net = Flat(network.net.config, metres)  # type: ignore[assignment]
    focal = SMALL.reference_focal * 120 / 96
    values = network.predict(IMAGE, focal).values
    np.testing.assert_allclose(values[0, 0], metres, rtol=1e-5)  # where only the whole looks
    # the whole, and two views of twice the focal length that do not fade here
    np.testing.assert_allclose(values[40, 45], metres * 2**gain, rtol=1e-5)
    assert network.net.seen == [(64, 96)] * 4


def test_views_are_joined_in_log_depth(tmp_path: Path) -> None:
    focal = SMALL.reference_focal * 120 / 96
    whole, with_views = model(tmp_path, None), model(tmp_path, 0.6)
    alone = whole.predict(IMAGE, focal).values
    total, weight = np.log(alone.astype(np.float64)), np.ones(alone.shape)
    for rows, columns in _close_views((80, 120), 0.6):
        part = np.log(whole.predict(np.ascontiguousarray(IMAGE[rows, columns]), focal).values)
        trust = _fading_to_the_rim(torch.zeros(part.shape)).numpy()
        trust = trust * _far(torch.from_numpy(alone[rows, columns])).numpy()
        total[rows, columns] += trust * part
        weight[rows, columns] += trust
    found = with_views.predict(IMAGE, focal).values
    np.testing.assert_allclose(found, np.exp(total / weight), rtol=1e-4)
    assert weight.max() > 1.1
    assert not np.allclose(found, alone, rtol=1e-3)


def test_focal_length_height_and_mirror_hold_with_closer_views(tmp_path: Path) -> None:
    network = model(tmp_path, 0.6, 1.65)
    near = network.predict(IMAGE, 100.0, 1.65).values
    np.testing.assert_allclose(network.predict(IMAGE, 200.0, 3.3).values, 4 * near, rtol=1e-5)
    free = network.predict(IMAGE)
    assert free.kind == "relative_depth"
    own = SMALL.reference_focal * 120 / 96
    np.testing.assert_allclose(network.predict(IMAGE, own).values, free.values, rtol=1e-5)
    mirrored = network.predict(np.ascontiguousarray(IMAGE[:, ::-1]), 100.0, 1.65).values
    np.testing.assert_allclose(mirrored[:, ::-1], near, rtol=1e-4)


@pytest.mark.parametrize("share", [0.05, 1.0, -1.0, math.nan])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"DptSettings\.close_views is"):
        DptSettings(close_views=share)


def test_views_of_depth_that_is_not_metric_are_refused(tmp_path: Path) -> None:
    net = DptNet(dataclasses.replace(SMALL, output="affine_inverse"))
    path = save_dpt(net, tmp_path / "inverse.safetensors")
    with pytest.raises(InputError, match="joins metric depths, .* affine_inverse"):
        create_depth("dpt-timm", path, settings=DptSettings(0.5))


def test_small_pictures_can_be_looked_at_closer(tmp_path: Path) -> None:
    values = model(tmp_path, 0.3).predict(IMAGE[:9, :40], 50.0).values
    assert values.shape == (9, 40)
    assert (values > 0).all()
