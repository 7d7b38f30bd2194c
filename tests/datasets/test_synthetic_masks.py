"""Masks that err: how far their outlines move, and that neighbours stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from diffrender.datasets.synthetic_masks import add_mask_noise, grow_masks
from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask


def rectangle(left: int, right: int, name: str) -> Instance:
    mask = np.zeros((60, 100), bool)
    mask[15:45, left:right] = True
    return Instance(mask, box_of_mask(mask), "Car", 1.0, name)


def test_growing_moves_every_side_by_that_much() -> None:
    one = rectangle(30, 60, "one")
    (wide,), (slim,) = grow_masks([one], 2), grow_masks([one], -2)
    assert wide.box == (28.0, 13.0, 62.0, 47.0)
    assert slim.box == (32.0, 17.0, 58.0, 43.0)
    assert (wide.mask & one.mask).sum() == one.mask.sum() and (slim.mask <= one.mask).all()
    assert wide.name == "one" and wide.category == "Car"


def test_a_grown_mask_takes_nothing_of_another() -> None:
    one, two = rectangle(20, 50, "one"), rectangle(51, 80, "two")
    grown = grow_masks([one, two], 4)
    assert not (grown[0].mask & two.mask).any() and not (grown[1].mask & one.mask).any()


def test_what_is_eroded_to_nothing_is_gone() -> None:
    assert [
        i.name for i in grow_masks([rectangle(10, 14, "thin"), rectangle(30, 60, "b")], -3)
    ] == ["b"]
    with pytest.raises(InputError, match="pixels is nan"):
        grow_masks([], float("nan"))


def test_outlines_wander_and_masks_stay_apart() -> None:
    both = [rectangle(20, 50, "one"), rectangle(50, 80, "two")]
    moved = add_mask_noise(both, 2.0, np.random.default_rng(0))
    assert not (moved[0].mask & moved[1].mask).any()
    for before, after in zip(both, moved, strict=True):
        changed = int((before.mask ^ after.mask).sum())
        around = 2 * (30 + 30)  # pixels of outline, each off by about 1.6 on average
        assert 0.4 * around < changed < 4 * around
        assert after.box == box_of_mask(after.mask)
    again = add_mask_noise(both, 2.0, np.random.default_rng(0))
    assert all((a.mask == b.mask).all() for a, b in zip(moved, again, strict=True))
    same = add_mask_noise(both[:1], 0.0, np.random.default_rng(0))
    assert (same[0].mask == both[0].mask).all()


@pytest.mark.parametrize("pixels", [float("nan"), -1.0, float("inf")])
def test_noise_that_is_no_number_takes_no_instance_away(pixels: float) -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:20] = True
    one = Instance(mask, box_of_mask(mask))
    with pytest.raises(InputError, match="pixels is .*, expected a finite number, at least 0"):
        add_mask_noise([one], pixels, np.random.default_rng(0))
