"""Calibration files in their four spellings, and broken ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.datasets import parse_calibration
from diffrender.errors import InputError

P2 = "P2: 700 0 600 45 0 700 170 0.2 0 0 1 0.003"
R0 = "R0_rect: 1 0 0 0 1 0 0 0 1"
VELO = "Tr_velo_to_cam: 0 -1 0 0.1 0 0 -1 -0.2 1 0 0 -0.3"
IMU = "Tr_imu_to_velo: 1 0 0 -0.8 0 1 0 0.3 0 0 1 -0.8"
OBJECT = "\n".join([P2, R0, VELO, IMU])


def test_object_file() -> None:
    calibration = parse_calibration(OBJECT)
    assert calibration.P2.dtype == np.float64
    assert calibration.P2.tolist() == [[700, 0, 600, 45], [0, 700, 170, 0.2], [0, 0, 1, 0.003]]
    assert calibration.P0 is None
    assert calibration.imu_to_velodyne is not None
    # A point 10 m ahead, 2 m left, 1 m up of the velodyne: 2 m left, 1 m up, 10 m deep.
    point = calibration.velodyne_to_rectified @ [10, 2, 1, 1]
    assert point == pytest.approx([-1.9, -1.2, 9.7, 1])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("R0_rect:", "R_rect"),  # tracking: no colons
        ("Tr_velo_to_cam:", "Tr_velo_cam"),
        ("Tr_imu_to_velo:", "Tr_imu_velo"),
        ("P2:", "P_rect_02:"),  # raw
        ("R0_rect:", "R_rect_00:"),
        ("P2:", "calib_time: 09-Jan-2012 13:57:47\nS_02: 1 2\nR_02: 1 2 3\nP2 :"),
    ],
)
def test_other_spellings_mean_the_same(old: str, new: str) -> None:
    expected, found = parse_calibration(OBJECT), parse_calibration(OBJECT.replace(old, new))
    assert np.array_equal(expected.P2, found.P2)
    assert np.array_equal(expected.velodyne_to_rectified, found.velodyne_to_rectified)
    assert np.array_equal(expected.imu_to_velodyne, found.imu_to_velodyne)


def test_odometry_transform_ends_in_the_rectified_frame() -> None:
    text = f"{P2}\n{VELO.replace('Tr_velo_to_cam', 'Tr')}"
    assert np.array_equal(
        parse_calibration(text).velodyne_to_rectified,
        parse_calibration(OBJECT).velodyne_to_rectified,
    )


def test_convention_camera_has_the_fourth_column_and_half_a_pixel() -> None:
    camera = parse_calibration(OBJECT).camera((375, 1242))
    assert camera.size == (375, 1242)
    assert camera.intrinsics.dtype == torch.float32
    assert camera.intrinsics[0, 2] == 600.5
    assert camera.intrinsics[1, 2] == 170.5
    point = np.array([1.0, 2.0, 20.0, 1.0])
    u, v, w = parse_calibration(OBJECT).P2 @ point
    pixels, depth = camera.project(torch.tensor([[1.0, 2.0, 20.0]]))
    assert pixels[0].tolist() == pytest.approx([u / w + 0.5, v / w + 0.5], abs=1e-4)
    assert depth.item() == pytest.approx(20.003, abs=1e-5)


def test_lidar_without_its_transform_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="lacks R0_rect or Tr_velo_to_cam"):
        _ = parse_calibration(P2).velodyne_to_rectified


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.txt: no line 'P2:' (left colour camera); known keys found: none"),
        (R0, "c.txt: no line 'P2:' (left colour camera); known keys found: R0"),
        (f"{P2}\n\n{P2}", "c.txt line 3: P2 is given twice, first on line 1"),
        (P2 + "\nP_rect_02: 1", "c.txt line 2: P_rect_02 is given twice, first on line 1"),
        (P2 + " 5", "c.txt line 1: P2 has 13 values, expected 12 (3 x 4, row by row)"),
        (P2.replace("600", "six"), "c.txt line 1 column 3: 'six' is not a number; expected"),
        (P2.replace("600", "NaN"), "c.txt line 1 column 3: 'NaN' is not a number"),
        (P2.replace("700", "0"), "c.txt line 1: P2 is not a projection in pixels"),
        (P2.replace("0 0 1 0.003", "0 0 2 0.003"), "c.txt line 1: P2 is not a projection"),
        (f"{P2}\n{R0.replace('0 0 0 1', '0 0 0 3')}", "c.txt line 2: R0_rect holds no rotation"),
        (f"{P2}\n{VELO.replace('-1 0 0.1', '1 0 0.1')}", "c.txt line 2: Tr_velo_to_cam holds no"),
    ],
)
def test_broken_files_are_named_with_line_and_column(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_calibration(text, "c.txt")
    assert str(caught.value).startswith(message)


_keys = st.sampled_from(["P2", "P2:", "P_rect_02:", "R0_rect:", "Tr", "Tr_velo_to_cam:", "x", ":"])
_values = st.lists(st.sampled_from(["1", "0", "700", "-1.5e2", "nan", "P2:", "1e999"]), max_size=13)


@settings(deadline=None)
@given(st.lists(st.tuples(_keys, _values), max_size=5), st.text(max_size=30))
def test_any_text_gives_a_calibration_or_an_input_error(
    lines: list[tuple[str, list[str]]], rest: str
) -> None:
    text = "\n".join(" ".join([key, *values]) for key, values in lines) + rest
    try:
        calibration = parse_calibration(text, "c.txt")
    except InputError as error:
        message = str(error)
    else:
        message = "c.txt"
        assert np.isfinite(calibration.P2).all()
        assert calibration.P2[0, 0] > 0
    assert message.startswith("c.txt")


def test_what_is_rounding_in_a_projection_is_exact_in_the_camera() -> None:
    rounded = "P2: 700 0 600 45 1e-7 700 170 0.2 -1e-9 9e-7 0.9999995 0.003"
    calibration = parse_calibration(rounded)
    assert calibration.P2.tolist() == [[700, 0, 600, 45], [0, 700, 170, 0.2], [0, 0, 1, 0.003]]
    camera = calibration.camera((375, 1242))
    expected = torch.tensor([[700, 0, 600.5], [0, 700, 170.5], [0, 0, 1]])
    assert torch.equal(camera.intrinsics, expected)
    with pytest.raises(InputError, match="expected an upper triangle"):
        parse_calibration(rounded.replace("1e-7", "7.0")).camera((375, 1242))
