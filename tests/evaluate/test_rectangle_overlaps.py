"""Rotated rectangles, many pairs at once: known areas, properties, shapely, and the twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kitti_scene import BACKENDS

from diffrender.evaluate import box_overlap_bev, rectangle_corners
from diffrender.evaluate.rectangles import common_areas

both = pytest.mark.parametrize("backend", BACKENDS)

PLACE = st.floats(-3.0, 3.0)
SIDE = st.floats(0.05, 6.0)
YAW = st.floats(-7.0, 7.0)
RECTANGLE = st.tuples(PLACE, PLACE, SIDE, SIDE, YAW).map(np.array)
PAIRS = st.lists(st.tuples(RECTANGLE, RECTANGLE), min_size=1, max_size=12)


def _area(a: object, b: object, backend: str) -> float:
    return float(common_areas(np.array([a], float), np.array([b], float), backend)[0])


def _split(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])


@both
@pytest.mark.parametrize(
    ("a", "b", "area"),
    [
        ((0, 0, 4, 2, 0), (0, 0, 4, 2, 0), 8.0),  # the same
        ((0, 0, 4, 2, 0.3), (0, 0, 4, 2, 0.3 + math.pi), 8.0),  # half a turn
        ((0, 0, 4, 2, 0), (4, 0, 4, 2, 0), 0.0),  # a shared side
        ((0, 0, 4, 2, 0), (4, 2, 4, 2, 0), 0.0),  # a shared corner
        ((0, 0, 4, 2, 0), (3, 0, 4, 2, 0), 2.0),
        ((0, 0, 4, 1, 0), (0, 0, 4, 1, math.pi / 2), 1.0),  # a cross
        ((0, 0, 2, 2, 0), (0, 0, 2, 2, math.pi / 4), 8 * (math.sqrt(2) - 1)),  # an octagon
        ((0, 0, 9, 9, 0.7), (1, 1, 1, 1, 0.2), 1.0),  # contained
        ((0, 0, 0, 2, 0), (0, 0, 4, 4, 0), 0.0),  # no width
        ((-1000, -1000, -1, -1, -10), (-1000, -1000, -1, -1, -10), 1.0),  # both unknown
        ((0, 0, 4, 2, 0), (1e6, 0, 4, 2, 0), 0.0),
    ],
)
def test_known_areas(a: object, b: object, area: float, backend: str) -> None:
    assert _area(a, b, backend) == pytest.approx(area, abs=1e-12)
    assert _area(b, a, backend) == pytest.approx(area, abs=1e-12)


@both
@settings(max_examples=150, deadline=None)
@given(pairs=PAIRS)
def test_areas_agree_with_shapely(backend: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    shapely = pytest.importorskip("shapely.geometry")
    first, second = _split(pairs)
    found = common_areas(first, second, backend)
    for a, b, area in zip(first, second, found, strict=True):
        p, q = (shapely.Polygon(rectangle_corners(r[:2], r[2], r[3], r[4])) for r in (a, b))
        assert area == pytest.approx(p.intersection(q).area, abs=1e-9)


@both
@settings(max_examples=150, deadline=None)
@given(pairs=PAIRS)
def test_areas_are_symmetric_and_bounded(
    backend: str, pairs: list[tuple[np.ndarray, np.ndarray]]
) -> None:
    first, second = _split(pairs)
    there, back = common_areas(first, second, backend), common_areas(second, first, backend)
    assert there == pytest.approx(back, abs=1e-9)
    smaller = np.minimum(first[:, 2] * first[:, 3], second[:, 2] * second[:, 3])
    assert (there >= 0).all()
    assert (there <= smaller + 1e-9).all()


@both
@settings(max_examples=100, deadline=None)
@given(
    pair=st.tuples(RECTANGLE, RECTANGLE),
    turn=YAW,
    shift=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
)
def test_moving_both_changes_nothing(
    backend: str,
    pair: tuple[np.ndarray, np.ndarray],
    turn: float,
    shift: tuple[float, float],
) -> None:
    moved = []
    for r in pair:
        x, z = r[0], r[1]
        c, s = math.cos(turn), math.sin(turn)
        # rotation_y turns x towards -z.
        moved.append([c * x + s * z + shift[0], c * z - s * x + shift[1], r[2], r[3], r[4] + turn])
    assert _area(*moved, backend) == pytest.approx(_area(*pair, backend), abs=1e-8)


@both
@settings(max_examples=100, deadline=None)
@given(outer=RECTANGLE, share=st.floats(0.01, 0.99))
def test_a_contained_rectangle_is_common_whole(
    backend: str, outer: np.ndarray, share: float
) -> None:
    inner = outer * [1, 1, share, share, 1]
    assert _area(outer, inner, backend) == pytest.approx(inner[2] * inner[3], rel=1e-9)
    assert _area(outer, outer, backend) == pytest.approx(outer[2] * outer[3], rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(pair=st.tuples(RECTANGLE, RECTANGLE))
def test_the_overlap_of_single_boxes_says_the_same(pair: tuple[np.ndarray, np.ndarray]) -> None:
    area = _area(*pair, "python")
    union = pair[0][2] * pair[0][3] + pair[1][2] * pair[1][3] - area
    first, second = (np.array([r[0], 0.0, r[1], r[2], r[3], 1.0, r[4]]) for r in pair)
    assert box_overlap_bev(first, second) == pytest.approx(area / union, abs=1e-9)


@pytest.mark.skipif("native" not in BACKENDS, reason="no native kernels here")
def test_the_twins_agree_on_many_random_pairs() -> None:
    draw = np.random.default_rng(3)
    first, second = (
        np.column_stack(
            [draw.normal(0, 3, (20_000, 2)), draw.uniform(0, 6, (20_000, 2)),
             draw.uniform(-4, 4, 20_000)]
        )
        for _ in range(2)
    )  # fmt: skip
    second[:5000] = first[:5000] + draw.normal(0, 1e-9, (5000, 5))  # nearly the same
    native, python = (common_areas(first, second, backend) for backend in ("native", "python"))
    assert native == pytest.approx(python, abs=1e-9)
    assert (native > 0).sum() > 9000


@both
def test_no_pairs_give_no_areas(backend: str) -> None:
    assert common_areas(np.zeros((0, 5)), np.zeros((0, 5)), backend).shape == (0,)
