"""What a fit agrees with, the chance that follows, and the factor that an image's objects share."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask
from diffrender.losses import Depth
from diffrender.reconstruct import DepthNoise
from diffrender.reconstruct.agreement import agree, depth_term
from diffrender.reconstruct.confidence import Agreement, Calibration, agreement, probability
from diffrender.reconstruct.windows import Drawn, Window

GOOD = Agreement(
    mask=0.95, depth=0.002, visible=1.0, height=80, margin=math.inf, size=0.3, latent=0.3,
    ground=0.2, photometric=1.0, belief=0.002,
)  # fmt: skip


def square(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((20, 30), dtype=bool)
    mask[rows, columns] = True
    return mask


def whole(depth: np.ndarray) -> Drawn:
    height, width = depth.shape
    return Drawn(Window(0, 0, width, height), torch.from_numpy(depth))


def test_agreement_looks_no_further_than_the_object() -> None:
    """The same of a drawing in its own window, which leaves a part of the mask out."""
    mask, silhouette = square(slice(5, 15), slice(5, 15)), square(slice(5, 15), slice(9, 17))
    depth = np.full(mask.shape, 10.0)
    instance = Instance(mask, box_of_mask(mask), "Car", 1.0, "one")
    drawn = Drawn(Window(8, 4, 18, 16), torch.from_numpy(silhouette[4:16, 8:18]) * 11.0)
    other = [square(slice(5, 12), slice(14, 20))]
    found = agreement(instance, other, drawn, depth, {}, margin=3.0, belief=0.05)
    everywhere = whole(silhouette * 11.0)
    assert found == agreement(instance, other, everywhere, depth, {}, margin=3.0, belief=0.05)
    assert found.mask == pytest.approx(60 / 106)  # 14 of the 120 are the neighbour's


def test_agreement_of_a_shifted_square() -> None:
    mask = square(slice(5, 15), slice(5, 15))
    drawn = np.where(square(slice(5, 15), slice(7, 17)), 11.0, 0.0)
    depth = np.full(mask.shape, 10.0)
    instance = Instance(mask, box_of_mask(mask), "Car", 1.0, "one")
    terms = {"size": 0.5, "latent": 0.1, "total": 9.0}
    found = agreement(instance, [], whole(drawn), depth, terms, margin=3.0, belief=0.05)
    assert found.mask == pytest.approx(80 / 120)
    assert found.visible == pytest.approx(0.8)
    assert found.depth == pytest.approx(0.1)
    assert (found.height, found.margin, found.size, found.ground) == (10, 3.0, 0.5, 0.0)
    # What another instance covers is not held against it.
    neighbour = square(slice(5, 15), slice(15, 20))
    beside = agreement(instance, [neighbour], whole(drawn), None, terms, margin=3.0, belief=0.2)
    assert beside.mask == pytest.approx(0.8)
    assert beside.depth == 0


def filling(rows: slice, columns: slice) -> Agreement:
    """Of a mask drawn exactly, over a depth map that agrees, with terms that are good."""
    mask = square(rows, columns)
    instance = Instance(mask, box_of_mask(mask), "Truck", 1.0, "one")
    depth = np.full(mask.shape, 4.0)
    drawn = np.where(mask, 4.01, 0.0)
    return agreement(instance, [], whole(drawn), depth, {"size": 0.3}, margin=3.0, belief=0.05)


def test_an_outline_that_the_image_cuts_everywhere_says_nothing() -> None:
    everywhere = filling(slice(0, 20), slice(1, 29))
    assert (everywhere.mask, everywhere.visible) == (0, 0)
    # Depth, height and the terms say what they said.
    assert everywhere.depth == pytest.approx(0.0025)
    assert (everywhere.height, everywhere.size) == (20, 0.3)
    for rows, columns in (
        (slice(3, 20), slice(0, 30)),
        (slice(0, 17), slice(0, 30)),
        (slice(0, 20), slice(3, 30)),
        (slice(0, 20), slice(0, 27)),
    ):
        one_side = filling(rows, columns)  # is the object's own
        assert (one_side.mask, one_side.visible) == (1, 1)
        assert probability(everywhere) < 0.1 * probability(one_side)


def test_the_chance_is_the_logistic_of_the_weighted_features() -> None:
    flat = Calibration(0.0, (0.0,) * 10, (0.0,) * 10, (1.0,) * 10)
    assert probability(GOOD, flat) == 0.5
    one = dataclasses.replace(flat, weights=(0.0,) * 8 + (2.0, 0.0))
    assert probability(GOOD, one) == pytest.approx(1 / (1 + math.exp(-2)))
    sure = dataclasses.replace(flat, bias=1e9)
    assert 0 < 1 - probability(GOOD, sure) < 1e-9


def test_a_bad_fit_is_trusted_less() -> None:
    bad = dataclasses.replace(
        GOOD, mask=0.5, depth=0.2, visible=0.3, height=20, margin=0.0, belief=0.1
    )
    assert probability(bad) < 0.3 < 0.6 < probability(GOOD)


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_features_are_finite_at_the_extremes(extreme: float) -> None:
    found = Agreement(
        mask=extreme, depth=-extreme, visible=extreme, height=extreme, margin=-1.0, size=0.0,
        latent=0.0, ground=0.0, photometric=0.0, belief=0.0,
    )  # fmt: skip
    assert np.isfinite(found.features()).all()


def test_objects_agree_on_a_shrunken_robust_mean() -> None:
    noise = DepthNoise(scale=0.10, shared=0.5)
    factors = torch.tensor([0.05, 0.06, 0.04, 0.05, float("nan")])
    # Four of variance s^2 under a prior of variance s^2: 4 / 5 of their mean.
    assert agree(factors, noise) == pytest.approx(0.05 * 4 / 5, rel=1e-6)
    # The fifth pulls like a factor two deviations away, however far it is.
    outlier = torch.tensor([0.05, 0.06, 0.04, 0.05, 5.0])
    assert agree(outlier, noise) < 0.08
    assert agree(torch.full((3,), float("nan")), noise) == 0
    assert agree(factors, DepthNoise(scale=0.10)) == 0


def test_after_agreeing_only_the_own_error_is_free() -> None:
    noise = DepthNoise(scale=0.10, shared=0.75)
    assert depth_term(noise, None) == Depth(0.10)
    after = depth_term(noise, 0.03)
    assert after == Depth(after.scale, common=0.03)
    assert after.scale == pytest.approx(0.05)
    assert depth_term(DepthNoise(scale=0.10), 0.03) == Depth(0.10)
    with pytest.raises(InputError, match="shared is 1.5, expected a share"):
        DepthNoise(shared=1.5)
