"""Errors of poses against truth, and their summary."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffrender.errors import InputError
from diffrender.evaluate import pose_error, summarise

TRUTH = np.array([1.0, 1.6, 20.0, 4.0, 1.6, 1.5, 0.2])


def test_a_half_turn_costs_the_exact_yaw_only() -> None:
    turned = TRUTH + np.array([0, 0, 0, 0, 0, 0, math.pi])
    error = pose_error(turned, TRUTH)
    assert error.yaw == pytest.approx(180.0)
    assert error.axis == pytest.approx(0.0, abs=1e-9)
    assert error.iou == pytest.approx(1.0)


def test_yaw_wraps_and_centre_is_a_share_of_depth() -> None:
    near_pi, beyond = TRUTH.copy(), TRUTH.copy()
    near_pi[6], beyond[6] = math.pi - 0.05, -math.pi + 0.05
    beyond[2] += 1.0
    error = pose_error(beyond, near_pi)
    assert error.yaw == pytest.approx(math.degrees(0.1))
    assert error.centre == pytest.approx(0.05)


def test_a_taller_box_on_the_same_ground_moves_the_centre() -> None:
    taller = TRUTH.copy()
    taller[5] += 0.4
    assert pose_error(taller, TRUTH).centre == pytest.approx(0.2 / 20)


def test_what_was_not_found_counts_against_every_share() -> None:
    summary = summarise([pose_error(TRUTH, TRUTH), None])
    assert (summary.count, summary.found) == (2, 1)
    assert summary.iou_50 == summary.iou_70 == summary.yaw_10 == 0.5
    assert summary.median_iou == pytest.approx(0.5)
    assert summary.heading == 0.5
    assert math.isnan(summarise([]).iou_50)


def test_a_quarter_turn_short_of_90_degrees_is_no_flip() -> None:
    turns = [math.radians(angle) for angle in (0, 89, 91, 180)]
    errors = [pose_error(TRUTH + np.array([0, 0, 0, 0, 0, 0, turn]), TRUTH) for turn in turns]
    summary = summarise(list(errors))
    assert (summary.yaw_10, summary.heading) == (0.25, 0.5)


def test_a_true_box_at_the_cameras_plane_is_refused() -> None:
    box = np.array([0.0, 1.6, 0.0, 4.0, 1.6, 1.5, 0.0])
    with pytest.raises(InputError, match="at z = 0"):
        pose_error(box + 1, box)
