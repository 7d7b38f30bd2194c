"""Depth errors against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffrender.errors import InputError
from diffrender.evaluate.depth_metrics import depth_metrics

TRUTH = np.array([[10.0, 20.0], [40.0, 0.0]])
PRED = np.array([[12.0, 20.0], [20.0, 5.0]])


def test_values_by_hand() -> None:
    m = depth_metrics(PRED, TRUTH)
    assert m.count == 3
    assert m.abs_rel == pytest.approx((0.2 + 0 + 0.5) / 3)
    assert m.sq_rel == pytest.approx((4 / 10 + 0 + 400 / 40) / 3)
    assert m.rmse == pytest.approx(math.sqrt((4 + 400) / 3))
    assert m.rmse_log == pytest.approx(math.sqrt((math.log(1.2) ** 2 + math.log(2) ** 2) / 3))
    assert (m.delta1, m.delta2, m.delta3) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (m.crop, m.cap, m.median_scaling, m.factor) == (None, 80.0, False, 1.0)


def test_deltas_have_their_own_thresholds() -> None:
    truth = np.full((1, 4), 10.0)
    pred = np.array([[12.4, 15.5, 19.5, 19.6]])
    m = depth_metrics(pred, truth)
    assert (m.delta1, m.delta2, m.delta3) == (0.25, 0.5, 0.75)


def test_median_scaling_removes_a_factor() -> None:
    draw = np.random.default_rng(0)
    truth = draw.uniform(2, 60, (20, 30))
    m = depth_metrics(truth / 3, truth, median_scaling=True)
    assert m.abs_rel == pytest.approx(0, abs=1e-12)
    assert m.factor == pytest.approx(3)
    assert depth_metrics(truth / 3, truth).abs_rel == pytest.approx(2 / 3)


def test_cap_leaves_out_far_truth_and_clips_far_predictions() -> None:
    m = depth_metrics(np.array([[500.0, 10.0]]), np.array([[40.0, 90.0]]), cap=80)
    assert m.count == 1
    assert m.abs_rel == pytest.approx(1.0)


def test_convention_garg_crop_of_a_kitti_image() -> None:
    truth = np.zeros((375, 1242))
    truth[[152, 153, 370, 371], 600] = 10
    truth[200, [43, 44, 1196, 1197]] = 10
    m = depth_metrics(np.full(truth.shape, 10.0), truth, crop="garg")
    assert m.count == 4  # rows 153 to 370, columns 44 to 1196
    assert m.crop == "garg"


def test_unknown_predictions_are_counted_apart() -> None:
    m = depth_metrics(np.array([[0.0, 10.0]]), np.array([[10.0, 10.0]]))
    assert (m.count, m.missing, m.abs_rel) == (1, 1, 0.0)


@pytest.mark.parametrize(
    ("pred", "truth", "options", "message"),
    [
        (PRED, TRUTH[:1], {}, r"expected the same \(H, W\)"),
        (PRED, TRUTH * np.nan, {}, "NaN"),
        (PRED, TRUTH * 0, {}, "no pixel to compare: 0 have a truth"),
        (PRED * 0, TRUTH, {}, "no pixel to compare: 3 have a truth"),
        (PRED, TRUTH, {"crop": "middle"}, "crop is 'middle'"),
        (PRED, TRUTH, {"cap": 0.0}, "cap is 0.0"),
    ],
)
def test_unfit_maps(pred: np.ndarray, truth: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        depth_metrics(pred, truth, **options)
