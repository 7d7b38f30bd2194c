"""The road in a depth map: its slope, its height, what is believed of both, and when it is none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from plain_street import FOCAL, HEIGHT, WIDTH, camera, street

from diffrender.depth import find_road
from diffrender.errors import InputError
from diffrender.instances import Instance
from diffrender.road import Road


def found(depth: np.ndarray, cars: list[Instance], scale: float, **more: float) -> Road:
    road = find_road(depth.astype(np.float32), camera(), cars, scale=scale, **more)
    assert road is not None
    return road


@pytest.mark.parametrize("pitch", [-0.02, 0.0, 0.015])
def test_the_slope_is_the_camera_s_pitch_the_other_way(pitch: float) -> None:
    depth, cars = street(pitch=pitch)
    road = found(depth, cars, 0.002)
    assert road.slope == pytest.approx(-np.tan(pitch), abs=3e-4)
    assert road.bank == pytest.approx(0.0, abs=3e-4)
    assert road.doubt < 1e-3


def test_what_is_measured_in_metres_says_the_height_and_what_may_be_scaled_does_not() -> None:
    depth, cars = street(camera_height=1.72, pitch=0.01)
    assert found(depth, cars, 0.002).height == pytest.approx(1.72, abs=0.005)
    scaled = found(1.15 * depth, cars, 0.15)
    assert scaled.height == pytest.approx(1.65, abs=0.04)
    assert scaled.slope == pytest.approx(-0.01, abs=1e-3)


def test_noise_of_every_pixel_does_not_pull_the_plane_to_the_camera() -> None:
    depth, cars = street(pitch=0.01)
    heights, slopes = [], []
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(0, 0.1, depth.shape)
        road = found(depth * np.exp(noise), cars, 0.003, correlation=1.0)
        heights.append(road.height)
        slopes.append(road.slope)
    assert np.mean(heights) == pytest.approx(1.65, abs=0.02)
    assert np.mean(slopes) == pytest.approx(-0.01, abs=3 * np.std(slopes) / np.sqrt(8))
    assert np.std(slopes) < 0.003


def test_a_map_whose_errors_are_alike_over_wide_areas_is_believed_less() -> None:
    depth, cars = street()
    noise = np.random.default_rng(0).normal(0, 0.06, depth.shape)
    alike = found(depth * np.exp(noise), cars, 0.05)
    single = found(depth * np.exp(noise), cars, 0.05, correlation=1.0)
    exact = found(depth, cars, 0.05)
    assert alike.doubt > 2 * single.doubt
    assert alike.doubt > 2 * exact.doubt
    assert alike.doubt < Road().doubt


def test_a_third_of_wrong_pixels_does_not_move_it() -> None:
    depth, cars = street(pitch=0.01)
    draw = np.random.default_rng(3)
    wrong = draw.random(depth.shape) < 0.33
    spoilt = np.where(wrong, depth * draw.uniform(0.3, 3.0, depth.shape), depth)
    assert found(spoilt, cars, 0.002).slope == pytest.approx(-0.01, abs=2e-3)


def test_the_plane_is_in_the_frame_of_the_labels() -> None:
    depth, cars = street()
    moved = dataclasses.replace(
        camera(), translation=torch.tensor([0.06, -0.20, 0.0], dtype=torch.float64)
    )
    road = find_road(depth.astype(np.float32), moved, cars, camera_height=1.85, scale=0.002)
    assert road is not None
    # The camera stands 20 cm below the origin of the labels, 1.65 m above the road.
    assert road.height == pytest.approx(1.85, abs=0.01)
    assert road.slope == pytest.approx(0.0, abs=1e-3)


def test_sparse_depth_will_do() -> None:
    depth, cars = street(pitch=-0.01)
    kept = np.random.default_rng(4).random(depth.shape) < 0.05
    assert found(np.where(kept, depth, 0), cars, 0.002).slope == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize(
    "depth",
    [
        np.zeros((HEIGHT, WIDTH), np.float32),
        np.full((HEIGHT, WIDTH), 12.0, np.float32),
        np.random.default_rng(5).uniform(2, 60, (HEIGHT, WIDTH)).astype(np.float32),
    ],
    ids=["nothing known", "a wall", "noise"],
)
def test_where_no_level_plane_is_there_is_no_road(depth: np.ndarray) -> None:
    assert find_road(depth, camera()) is None


def _plane(slope: float, bank: float) -> np.ndarray:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    down = (rows - 55) / FOCAL - slope - bank * (columns - 200) / FOCAL
    return np.where(down > 1e-3, 1.65 / np.maximum(down, 1e-3), 0).astype(np.float32)


@pytest.mark.parametrize(("slope", "bank"), [(-0.20, 0.0), (0.0, 0.22), (0.0, -0.22)])
def test_a_plane_that_the_map_contradicts_is_no_road(slope: float, bank: float) -> None:
    assert find_road(_plane(slope, bank), camera()) is None


@pytest.mark.parametrize(("slope", "bank"), [(0.05, 0.0), (-0.05, 0.0), (0.0, 0.05)])
def test_a_hill_is_still_a_road(slope: float, bank: float) -> None:
    assert find_road(_plane(slope, bank), camera()) is not None


@pytest.mark.parametrize("name", ["camera_height", "scale", "correlation"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_what_cannot_be_is_refused(name: str, value: float) -> None:
    more = {name: value}
    with pytest.raises(InputError, match=f"find_road: {name} is {value}, expected a positive"):
        find_road(_plane(0.0, 0.0), camera(), **more)


def test_parts_of_different_images_are_refused() -> None:
    depth, cars = street()
    with pytest.raises(InputError, match="the depth map of size \\(60, 400\\)"):
        find_road(depth[:60].astype(np.float32), camera(), cars)
    small = Instance(np.ones((4, 4), dtype=bool), (0, 0, 4, 4), name="car 7")
    with pytest.raises(InputError, match="the mask of 'car 7' has shape"):
        find_road(depth.astype(np.float32), camera(), [small])
