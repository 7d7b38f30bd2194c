"""Masks that are drawn anew with the picture."""

from __future__ import annotations

import numpy as np
import pytest

import diffrender.instances.street.sharpen as module
from diffrender.datasets.synthetic import DEVELOPMENT_SEED, SyntheticStreets
from diffrender.datasets.synthetic_masks import add_mask_noise
from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask
from diffrender.instances.street import (
    FoundVehicle,
    StreetConfig,
    StreetNet,
    StreetReading,
    sharpen_masks,
    shipped_street,
)
from diffrender.instances.street.check import mask_iou

SIZE = (60, 90)
IMAGE = np.zeros((*SIZE, 3), np.uint8)


def block(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def instance(mask: np.ndarray, category: str = "Car") -> Instance:
    return Instance(mask, box_of_mask(mask), category, 0.5, "one")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[StreetReading]:
    """What the network says: the last of these."""
    said: list[StreetReading] = []
    monkeypatch.setattr(module, "read_street", lambda net, image: said[-1])
    return said


@pytest.fixture(scope="module")
def net() -> StreetNet:
    return StreetNet(StreetConfig(backbone="test_efficientnet", channels=8, width=96))


def saying(*masks: np.ndarray, score: float = 0.9) -> StreetReading:
    vehicle = np.where(np.any(masks, axis=0), np.float32(0.98), np.float32(0.02))
    return StreetReading([FoundVehicle(mask, score, False) for mask in masks], vehicle)


def test_an_outline_comes_to_what_the_picture_shows(
    reads: list[StreetReading], net: StreetNet
) -> None:
    true, given = block(20, 40, 30, 60), instance(block(22, 39, 28, 57))
    reads.append(saying(true))
    (sharp,) = sharpen_masks(net, IMAGE, [given], 2.0)
    assert mask_iou(sharp.mask, true) > 0.99 > 0.85 > mask_iou(given.mask, true)
    assert sharp.box == (30.0, 20.0, 60.0, 40.0)
    assert (sharp.category, sharp.score, sharp.name) == ("Car", 0.5, "one")


def test_an_outline_that_is_sure_stays(reads: list[StreetReading], net: StreetNet) -> None:
    given = instance(block(22, 39, 28, 57))
    reads.append(saying(block(20, 40, 30, 60)))
    (sharp,) = sharpen_masks(net, IMAGE, [given], 0.1)
    assert np.array_equal(sharp.mask, given.mask)


def test_nothing_comes_to_a_mask_from_afar(reads: list[StreetReading], net: StreetNet) -> None:
    reads.append(saying(block(10, 50, 20, 70)))
    (sharp,) = sharpen_masks(net, IMAGE, [instance(block(25, 35, 40, 50))], 1.0)
    reach = np.pad(np.ones((10 + 6, 10 + 6), bool), ((22, 22), (37, 37)))
    assert sharp.mask.sum() > 100
    assert not (sharp.mask & ~reach).any()


def test_a_neighbours_rim_goes_back_to_it(reads: list[StreetReading], net: StreetNet) -> None:
    left, right = block(20, 40, 20, 40), block(20, 40, 40, 60)
    reads.append(saying(left, right))
    merged, rest = instance(block(20, 40, 20, 43)), instance(block(20, 40, 43, 60))
    first, second = sharpen_masks(net, IMAGE, [merged, rest], 2.0)
    assert not (first.mask & second.mask).any()
    assert mask_iou(first.mask, left) > 0.9 > mask_iou(merged.mask, left)
    assert mask_iou(second.mask, right) > 0.9 > mask_iou(rest.mask, right)
    assert np.array_equal(first.mask | second.mask, left | right)


def test_what_the_network_does_not_know_stays(reads: list[StreetReading], net: StreetNet) -> None:
    car, walker = block(20, 40, 20, 40), block(15, 42, 40, 48)
    reads.append(saying(block(20, 40, 20, 48)))  # it takes the person for a part of the car
    given = [instance(car), instance(walker, "Pedestrian")]
    sharp = sharpen_masks(net, IMAGE, given, 2.0)
    assert sharp[1] is given[1]
    assert not (sharp[0].mask & block(22, 38, 42, 48)).any()
    assert sharpen_masks(net, IMAGE, given[1:], 2.0) == given[1:]
    assert sharpen_masks(net, IMAGE, [], 2.0) == []


def test_a_mask_that_the_picture_denies_is_kept(reads: list[StreetReading], net: StreetNet) -> None:
    reads.append(StreetReading([], np.full(SIZE, 1e-6, np.float32)))
    small = instance(block(20, 23, 20, 23))
    large = instance(block(30, 50, 20, 60))
    sharp = sharpen_masks(net, IMAGE, [small, large], 2.0)
    assert sharp[0] is small
    assert 0 < sharp[1].mask.sum() < large.mask.sum()


def test_one_at_the_border_and_one_that_is_all(reads: list[StreetReading], net: StreetNet) -> None:
    whole = np.ones(SIZE, bool)
    reads.append(saying(whole))
    (sharp,) = sharpen_masks(net, IMAGE, [instance(whole)], 2.0)
    assert sharp.mask.all()
    corner = block(0, 20, 0, 30)
    reads.append(saying(corner))
    (sharp,) = sharpen_masks(net, IMAGE, [instance(block(0, 19, 0, 28))], 2.0)
    assert np.array_equal(sharp.mask, corner)


def test_what_is_refused(net: StreetNet) -> None:
    for outline in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="expected a standard deviation in pixels above 0"):
            sharpen_masks(net, IMAGE, [], outline)
    other = Instance(np.ones((3, 3), bool), (0, 0, 3, 3), name="car_01")
    with pytest.raises(InputError, match=r"car_01: the mask is \(3, 3\), expected the picture's"):
        sharpen_masks(net, IMAGE, [other])


def test_shipped_network_on_development_streets() -> None:
    """docs/segmenters.md has the figures of more of them."""
    before, after = [], []
    streets = SyntheticStreets(DEVELOPMENT_SEED, 2)
    for k in range(2):
        frame = streets[k]
        noisy = add_mask_noise(frame.instances(), 2.0, np.random.default_rng([5, k]))
        truth = {i.name: i.mask for i in frame.instances()}
        before += [mask_iou(i.mask, truth[i.name]) for i in noisy]
        sharp = sharpen_masks(shipped_street(), frame.image, noisy)
        after += [mask_iou(i.mask, truth[i.name]) for i in sharp]
    assert len(after) == len(before) > 5
    assert np.mean(after) > np.mean(before) + 0.02
