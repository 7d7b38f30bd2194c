"""Rotated box overlaps: known values, properties, and shapely as a second opinion."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.evaluate import box_overlap_3d, box_overlap_bev, rectangle_corners

BOX = np.array([3.0, 1.6, 20.0, 4.0, 1.6, 1.5, 0.3])

numbers = st.floats(-3.0, 3.0)
boxes = st.builds(
    lambda x, y, z, length, width, height, yaw: np.array([x, y, z, length, width, height, yaw]),
    numbers, numbers, numbers, st.floats(0.5, 5.0), st.floats(0.5, 5.0), st.floats(0.5, 3.0),
    st.floats(-math.pi, math.pi),
)  # fmt: skip


def test_identical_boxes_overlap_wholly() -> None:
    assert box_overlap_3d(BOX, BOX) == pytest.approx(1.0, abs=1e-12)


def test_half_turn_is_the_same_box() -> None:
    turned = BOX + np.array([0, 0, 0, 0, 0, 0, math.pi])
    assert box_overlap_3d(BOX, turned) == pytest.approx(1.0, abs=1e-12)


def test_shift_along_the_length_has_its_closed_form() -> None:
    shifted = BOX.copy()
    shifted[[0, 2]] += 1.0 * np.array([math.cos(0.3), -math.sin(0.3)])
    assert box_overlap_3d(BOX, shifted) == pytest.approx((4 - 1) / (4 + 1), abs=1e-12)


def test_quarter_turn_of_a_square_and_of_a_bar() -> None:
    square = np.array([0, 0, 0, 2.0, 2.0, 1.0, 0.0])
    turned = np.array([0, 0, 0, 2.0, 2.0, 1.0, math.pi / 4])
    octagon = 8 * (math.sqrt(2) - 1)  # area common to two squares of side 2
    assert box_overlap_bev(square, turned) == pytest.approx(octagon / (8 - octagon), abs=1e-12)
    bar, crossed = np.array([0, 0, 0, 4, 1, 1, 0.0]), np.array([0, 0, 0, 4, 1, 1, math.pi / 2])
    assert box_overlap_bev(bar, crossed) == pytest.approx(1 / 7, abs=1e-12)


def test_height_counts_from_the_bottom_face_upwards() -> None:
    raised = BOX.copy()
    raised[1] -= 0.75  # y points down: half the height up
    assert box_overlap_3d(BOX, raised) == pytest.approx(1 / 3, abs=1e-12)


def test_touching_and_distant_boxes_do_not_overlap() -> None:
    beside = np.array([4.0, 0, 0, 4.0, 2.0, 1.0, 0.0])
    assert box_overlap_3d(np.array([0, 0, 0, 4.0, 2.0, 1.0, 0.0]), beside) == 0.0
    assert box_overlap_3d(BOX, BOX + np.array([50.0, 0, 0, 0, 0, 0, 0])) == 0.0


def test_convention_length_points_along_rotation_y() -> None:
    corners = rectangle_corners(np.zeros(2), 4.0, 2.0, -math.pi / 2)  # heading away: +z
    assert corners[:, 1].max() == pytest.approx(2.0)
    assert corners[:, 0].max() == pytest.approx(1.0)


@settings(max_examples=200, deadline=None)
@given(boxes, boxes)
def test_overlap_agrees_with_shapely_and_is_symmetric(a: np.ndarray, b: np.ndarray) -> None:
    shapely = pytest.importorskip("shapely.geometry")
    p, q = (shapely.Polygon(rectangle_corners(r[[0, 2]], r[3], r[4], r[6])) for r in (a, b))
    common = p.intersection(q).area
    assert box_overlap_bev(a, b) == pytest.approx(common / (p.area + q.area - common), abs=1e-9)
    assert box_overlap_3d(a, b) == pytest.approx(box_overlap_3d(b, a), abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(boxes, st.floats(0.2, 0.9))
def test_a_contained_box_gives_the_ratio_of_volumes(a: np.ndarray, share: float) -> None:
    inner = a.copy()
    inner[3:5] *= share
    assert box_overlap_3d(a, inner) == pytest.approx(share**2, rel=1e-9)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"first has shape \(6,\), expected \(7\)"):
        box_overlap_3d(np.zeros(6), BOX)


def test_boxes_of_any_numbers_give_shares_and_others_are_refused() -> None:
    box = [0.0, 1.6, 10, 4, 1.6, 1.5, 0.1]
    for overlap in (box_overlap_3d, box_overlap_bev):
        for same in (box, np.array(box, np.float32), torch.tensor(box)):
            assert 1 - 1e-9 < overlap(same, same) <= 1  # type: ignore[arg-type]
        with pytest.raises(InputError, match="expected finite numbers"):
            overlap(np.array(box), np.full(7, np.nan))
