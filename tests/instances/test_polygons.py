"""Polygons by the pixel-centre rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.instances import mask_of_polygons
from diffrender.instances.polygons import fill_polygon

SIZE = (9, 11)


def test_convention_a_pixel_counts_if_its_centre_is_inside() -> None:
    # From 2.4 to 5.5 holds the centres 2.5, 3.5, 4.5; a centre on the right edge is outside.
    mask = mask_of_polygons([[2.4, 1, 5.5, 1, 5.5, 3, 2.4, 3]], SIZE)
    assert np.argwhere(mask).tolist() == [[r, c] for r in (1, 2) for c in (2, 3, 4)]


_coordinate = st.one_of(st.integers(-4, 15).map(float), st.floats(-4, 15))
_polygon = st.lists(st.tuples(_coordinate, _coordinate), min_size=3, max_size=8)


def _inside(x: float, y: float, polygon: np.ndarray) -> bool:
    """Even-odd rule by counting the crossings to the right, one point at a time."""
    odd = False
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x:
            odd = not odd
    return odd


@settings(deadline=None)
@given(_polygon)
def test_agrees_with_the_even_odd_rule_point_by_point(points: list[tuple[float, float]]) -> None:
    polygon = np.array(points)
    mask = fill_polygon(polygon, SIZE)
    for row, column in np.ndindex(SIZE):
        x, y = column + 0.5, row + 0.5
        # On the edge to within rounding either answer will do.
        if _inside(x - 1e-6, y, polygon) == _inside(x + 1e-6, y, polygon):
            assert mask[row, column] == _inside(x, y, polygon)


@settings(deadline=None)
@given(st.floats(0, 11), st.floats(0, 11))
def test_polygons_that_share_an_edge_tile_without_overlap(upper: float, lower: float) -> None:
    left = fill_polygon(np.array([[0, 0], [upper, 0], [lower, 9], [0, 9]]), SIZE)
    right = fill_polygon(np.array([[upper, 0], [11, 0], [11, 9], [lower, 9]]), SIZE)
    assert not (left & right).any()
    assert (left | right).all()


def test_parts_are_joined_and_what_is_outside_is_cut() -> None:
    mask = mask_of_polygons([[-5, -5, 2, -5, 2, 2, -5, 2], [10, 8, 90, 8, 90, 90, 10, 90]], SIZE)
    assert np.argwhere(mask).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [8, 10]]


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    shifts = [padded[r : r + height, c : c + width] for r in range(3) for c in range(3)]
    return np.logical_or.reduce(shifts)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_within_a_pixel_of_the_reference() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    polygon = [100.3, 50.2, 180.9, 40.7, 230.1, 99.4, 150.5, 160.8, 90.2, 110.6]
    ours = mask_of_polygons([polygon], (200, 300))
    theirs = reference.decode(reference.frPyObjects([polygon], 200, 300))[..., 0] > 0
    assert not (ours & ~_grown(theirs)).any()
    assert not (theirs & ~_grown(ours)).any()
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.02)


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([], "the segmentation is empty"),
        ("m 0 0", "the segmentation is empty, expected a list of polygons or an RLE"),
        ([[1, 2, 3, 4]], "polygon 1 is not a list of at least three x, y pairs"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon 1 is not a list of at least three"),
        ([1, 2, 3, 4, 5, 6], "polygon 1 is not a list"),
        ([[1, 2, 3, 4, 5, float("nan")]], "something that is not a number of pixels"),
        ([[1, 2, 3, 4, 5, 1e300]], "something that is not a number of pixels"),
        ([[1, 2, 3, 4, 5, "6"]], "something that is not a number of pixels"),
        ([[0.0] * 200_002], "over 100000 vertices"),
    ],
)
def test_broken_polygons_are_explained(polygons: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mask_of_polygons(polygons, SIZE)


def test_a_polygon_with_very_many_edges() -> None:
    angles = np.linspace(0, 2 * np.pi, 50_000, endpoint=False)
    circle = np.stack([150 + 80 * np.cos(angles), 100 + 80 * np.sin(angles)], axis=-1)
    area = fill_polygon(circle, (200, 300)).sum()
    assert area == pytest.approx(np.pi * 80**2, rel=0.01)


def test_a_small_polygon_does_not_cost_a_whole_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(values: np.ndarray, axis: int) -> np.ndarray:
        sizes.append(values.size)
        total: np.ndarray = values.cumsum(axis=axis)
        return total

    monkeypatch.setattr(np, "cumsum", lambda v, axis=None: counted(v, axis) if axis else v.cumsum())
    square = [10.0, 20.0, 14.0, 20.0, 14.0, 24.0, 10.0, 24.0]
    outside = [-9.0, 2000.0, -4.0, 2000.0, -4.0, 2004.0]
    mask = mask_of_polygons([square, outside], (375, 1242))
    assert np.argwhere(mask).tolist() == [[r, c] for r in range(20, 24) for c in range(10, 14)]
    assert max(sizes) < 100
