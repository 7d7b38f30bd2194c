"""Depth errors over frames, and bringing a map to another size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.evaluate import depth_metrics, summarise_depth
from diffrender.evaluate.depth_set import ERRORS, resize_inverse


def test_frames_count_the_same_however_many_pixels_they_have() -> None:
    one = depth_metrics(np.full((4, 4), 11.0), np.full((4, 4), 10.0))
    few = np.zeros((4, 4))
    few[0, 0] = 10.0
    other = depth_metrics(np.full((4, 4), 13.0), few)
    summary = summarise_depth([one, other])
    assert summary.mean["abs_rel"] == pytest.approx(0.2)  # not 1.9 / 17
    assert summary.mean["rmse"] == pytest.approx(2.0)
    assert (summary.frames, summary.pixels, summary.missing) == (2, 17, 0)
    assert (summary.factor_median, summary.factor_spread) == (1.0, 0.0)
    assert tuple(summary.mean) == ERRORS


def test_factors_of_median_scaling_are_summarised() -> None:
    truth = np.full((4, 4), 10.0)
    frames = [depth_metrics(truth / f, truth, median_scaling=True) for f in (1.0, 2.0, 3.0)]
    summary = summarise_depth(frames)
    assert summary.factor_median == pytest.approx(2.0)
    assert summary.factor_spread == pytest.approx(np.std([0.5, 1.0, 1.5]))
    assert summary.mean["abs_rel"] == pytest.approx(0.0, abs=1e-12)


def test_what_cannot_be_summarised() -> None:
    with pytest.raises(InputError, match="no frame to summarise"):
        summarise_depth([])
    one = depth_metrics(np.full((4, 4), 11.0), np.full((4, 4), 10.0))
    with pytest.raises(InputError, match="different settings"):
        summarise_depth([one, dataclasses.replace(one, cap=50.0)])


def test_convention_the_crops_keep_their_rows() -> None:
    """Garg et al. and Eigen et al. as shares of 375 x 1242: rows and columns by hand."""
    truth = np.full((375, 1242), 10.0)
    sizes = {
        crop: depth_metrics(truth, truth, crop).count  # type: ignore[arg-type]
        for crop in ("garg", "eigen", None)
    }
    columns = 1197 - 44  # 0.96405229 and 0.03594771 of 1242
    assert sizes == {
        "garg": (371 - 153) * columns,
        "eigen": (342 - 124) * columns,
        None: 375 * 1242,
    }
    with pytest.raises(InputError, match="expected 'garg', 'eigen' or None"):
        depth_metrics(truth, truth, "middle")  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(2, 6))
def test_a_plane_stays_a_plane_in_inverse_depth(scale: int, height: int, width: int) -> None:
    # Inverse depth of a plane is linear in the pixel, so bilinear resizing keeps it inside.
    rows, columns = np.mgrid[:height, :width] + 0.5
    plane = 1 / (0.05 + 0.01 * rows / height + 0.02 * columns / width)
    large = resize_inverse(plane, (scale * height, scale * width))
    rows, columns = np.mgrid[: scale * height, : scale * width] + 0.5
    expected = 1 / (0.05 + 0.01 * rows / height / scale + 0.02 * columns / width / scale)
    inner = np.s_[scale // 2 : -(scale // 2) or None, scale // 2 : -(scale // 2) or None]
    assert large[inner] == pytest.approx(expected[inner], rel=1e-9)


def test_unknown_depth_does_not_leak_into_its_neighbours() -> None:
    depth = np.full((4, 4), 5.0)
    depth[1, 1] = 0.0
    large = resize_inverse(depth, (8, 8))
    assert set(np.unique(large)) == {0.0, 5.0}
    assert (large[2:4, 2:4] == 0).all()
