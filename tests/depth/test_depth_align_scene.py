"""Scale and shift from the road and from object heights, on streets whose truth is known."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch
from plain_street import HEIGHT, WIDTH, camera, street

from diffrender.cameras import Camera
from diffrender.depth import (
    Aligned,
    DepthPrediction,
    SizePrior,
    align_to_scene,
    align_to_sparse,
    find_road,
)
from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask


def spoil(depth: np.ndarray, share: float) -> np.ndarray:
    draw = np.random.default_rng(2)
    wrong = draw.random(depth.shape) < share
    return np.where(wrong, depth * draw.uniform(0.3, 3.0, depth.shape), depth)


def relative(depth: np.ndarray, scale: float) -> DepthPrediction:
    return DepthPrediction((depth / scale).astype(np.float32), "relative_depth")


def inverse(depth: np.ndarray, scale: float, shift: float) -> DepthPrediction:
    return DepthPrediction(((1 / depth - shift) / scale).astype(np.float32), "affine_inverse")


def anchor(aligned: Aligned, name: str) -> tuple[bool, str]:
    (found,) = [a for a in aligned.anchors if a.name == name]
    return found.used, found.reason


@pytest.mark.parametrize("outliers", [0.0, 0.3])
@pytest.mark.parametrize("pitch", [0.0, 0.01])
def test_relative_depth_on_road_and_cars(outliers: float, pitch: float) -> None:
    depth, cars = street(pitch=pitch)
    aligned = align_to_scene(relative(spoil(depth, outliers), 4.0), camera(), cars)
    assert aligned.scale == pytest.approx(4.0, rel=0.03)
    assert {a.name for a in aligned.anchors} == {"ground", "car 0", "car 1", "car 2"}
    assert all(a.used and abs(a.residual) < 0.08 for a in aligned.anchors)


@pytest.mark.parametrize("outliers", [0.0, 0.3])
@pytest.mark.parametrize("shift", [0.0, 0.01, -0.005])
def test_affine_inverse_on_road_and_cars(outliers: float, shift: float) -> None:
    depth, cars = street()
    aligned = align_to_scene(inverse(spoil(depth, outliers), 0.3, shift), camera(), cars)
    assert aligned.scale == pytest.approx(0.3, rel=0.04)
    assert aligned.shift == pytest.approx(shift, abs=1.5e-3)
    for instance in cars:
        truth = np.median(depth[instance.mask])
        assert np.median(aligned.depth[instance.mask]) == pytest.approx(truth, rel=0.05)


def test_objects_tell_the_slope_that_the_road_alone_cannot() -> None:
    depth, cars = street(pitch=0.015)
    prediction = inverse(depth, 0.3, 0.0)
    road_only = align_to_scene(prediction, camera(), [])
    both = align_to_scene(prediction, camera(), cars)
    far = cars[0].mask
    error = [abs(np.median(a.depth[far]) / 25.0 - 1) for a in (road_only, both)]
    assert error[0] > 0.15  # the road's slope is taken for a shift
    assert error[1] < 0.5 * error[0]


def test_road_alone_and_cars_alone() -> None:
    depth, cars = street()
    prediction = relative(depth, 4.0)
    road = align_to_scene(prediction, camera(), [])
    assert road.scale == pytest.approx(4.0, rel=1e-3)
    only_cars = align_to_scene(prediction, camera(), cars, camera_height=None)
    assert only_cars.scale == pytest.approx(4.0, rel=0.04)
    assert anchor(only_cars, "ground") == (False, "not asked for")
    affine = align_to_scene(inverse(depth, 0.3, 0.01), camera(), cars, camera_height=None)
    for instance in cars:
        truth = np.median(depth[instance.mask])
        assert np.median(affine.depth[instance.mask]) == pytest.approx(truth, rel=0.06)


@pytest.mark.parametrize("kind", ["relative_depth", "affine_inverse"])
@pytest.mark.parametrize(
    ("skew", "lens"),
    [(40.0, None), (0.0, (-0.3, 0.08, 0.0, 0.0)), (25.0, (-0.25, 0.05, 0.01, -0.01))],
)
def test_the_road_is_seen_through_skew_and_lens(
    kind: str, skew: float, lens: tuple[float, ...] | None
) -> None:
    plain = camera()
    intrinsics = plain.intrinsics.clone()
    intrinsics[0, 1] = skew
    seen = dataclasses.replace(
        plain,
        intrinsics=intrinsics,
        translation=torch.tensor([0.06, -0.2, 0.01], dtype=torch.float64),  # rays do not know it
        distortion=None if lens is None else torch.tensor(lens, dtype=torch.float64),
    )
    # Depth by the formula of a level road along the rays of every pixel.
    ends = np.stack(np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5), -1)
    flat = torch.from_numpy(ends.reshape(-1, 2))
    rays = seen.world_to_camera(seen.unproject(flat, torch.ones(len(flat)).double()))
    down = rays[:, 1].numpy().reshape(HEIGHT, WIDTH)
    depth = np.where(down > 1.65 / 40.0, 1.65 / np.maximum(down, 1e-6), 40.0)
    prediction = inverse(depth, 0.3, 0.01) if kind == "affine_inverse" else relative(depth, 4.0)
    aligned = align_to_scene(prediction, seen)
    assert aligned.scale == pytest.approx(0.3 if kind == "affine_inverse" else 4.0, rel=2e-3)
    assert aligned.inliers > 0.98


def test_heights_of_objects_are_seen_through_the_lens() -> None:
    """A car's height towards the rim of a strong lens, where it is drawn much smaller."""
    lens = torch.tensor([-0.3, 0.08, 0.0, 0.0], dtype=torch.float64)
    seen = dataclasses.replace(camera(), distortion=lens)
    z, height, prior = 6.0, 1.6, SizePrior(mean=(4.0, 1.7, 1.6), sigma=(0.1, 0.1, 0.01))
    ends = torch.tensor([[3.0, 1.65 - height, z], [3.0, 1.65, z]], dtype=torch.float64)
    (u, top), (_, bottom) = seen.project(ends)[0].tolist()
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[round(top) : round(bottom), round(u) - 8 : round(u) + 8] = True
    prediction = relative(np.full((HEIGHT, WIDTH), z), 4.0)
    found = align_to_scene(
        prediction, seen, [Instance(mask, box_of_mask(mask))], camera_height=None, size_prior=prior
    )
    assert found.scale == pytest.approx(4.0, rel=0.02)
    pinhole = align_to_scene(
        prediction, camera(), [Instance(mask, box_of_mask(mask))], camera_height=None,
        size_prior=prior,
    )  # fmt: skip
    assert pinhole.scale > 4.0 * 1.05


def test_convention_camera_height_sets_the_scale() -> None:
    depth, _ = street(camera_height=2.2)
    aligned = align_to_scene(relative(depth, 4.0), camera(), [], camera_height=2.2)
    assert aligned.scale == pytest.approx(4.0, rel=5e-3)
    lower = align_to_scene(relative(depth, 4.0), camera(), [], camera_height=1.1)
    assert lower.scale == pytest.approx(aligned.scale / 2, rel=1e-3)


def test_one_hidden_car_does_not_pull_the_scale() -> None:
    depth, cars = street()
    full = next(c for c in cars if c.name == "car 0").mask
    cars = [c for c in cars if c.name != "car 0"]
    hidden = full.copy()
    rows = np.flatnonzero(full.any(axis=1))
    hidden[rows[len(rows) // 2] :] = False  # only its upper half shows
    cars.append(Instance(hidden, box_of_mask(hidden), name="hidden"))
    aligned = align_to_scene(relative(depth, 4.0), camera(), cars)
    assert aligned.scale == pytest.approx(4.0, rel=0.08)
    (report,) = [a for a in aligned.anchors if a.name == "hidden"]
    assert report.residual < -0.4  # and the report shows how far off it was


def test_unusable_instances_are_listed_with_their_reason() -> None:
    depth, cars = street()
    cut, tiny = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    cut[90:, 10:60] = True
    tiny[60:68, 300:310] = True
    extra = [Instance(m, box_of_mask(m), name=n) for n, m in (("cut", cut), ("tiny", tiny))]
    empty = Instance(np.zeros((HEIGHT, WIDTH), bool), (0, 0, 5, 5), name="empty")
    aligned = align_to_scene(relative(depth, 4.0), camera(), [*cars, *extra, empty])
    assert anchor(aligned, "cut") == (False, "its mask is cut by the image's border")
    assert anchor(aligned, "tiny") == (False, "only 8 pixels high")
    assert anchor(aligned, "empty") == (False, "its mask is empty")


def test_wall_in_place_of_a_road_is_no_ground() -> None:
    flat = np.full((HEIGHT, WIDTH), 12.0)
    with pytest.raises(InputError, match="neither the road nor an object"):
        align_to_scene(relative(flat, 4.0), camera(), [])
    _, cars = street(cars=((0.0, 12.0),))
    aligned = align_to_scene(relative(flat, 4.0), camera(), cars)
    assert aligned.scale == pytest.approx(4.0, rel=0.03)
    assert anchor(aligned, "ground") == (False, "no level plane in the lower image")
    with pytest.raises(InputError, match="scale and shift need two objects"):
        align_to_scene(inverse(flat, 1.0, 0.0), camera(), cars, camera_height=None)


def test_metric_is_left_untouched_unless_asked() -> None:
    depth, cars = street()
    prediction = DepthPrediction((depth * 0.8).astype(np.float32), "metric")
    np.testing.assert_array_equal(
        align_to_scene(prediction, camera(), cars).depth, prediction.values
    )
    scaled = align_to_scene(prediction, camera(), cars, rescale_metric=True)
    assert scaled.scale == pytest.approx(1 / 0.8, rel=0.03)


def test_unfit_arguments_are_refused() -> None:
    depth, cars = street()
    prediction = relative(depth, 4.0)
    with pytest.raises(InputError, match="one camera of the same image"):
        align_to_scene(prediction, camera().resize((60, 200)), cars)
    with pytest.raises(InputError, match="camera_height is 0"):
        align_to_scene(prediction, camera(), cars, camera_height=0)
    small = Instance(cars[0].mask[:50], (0, 0, 5, 5), name="other")
    with pytest.raises(InputError, match="mask of 'other' has shape"):
        align_to_scene(prediction, camera(), [small])
    with pytest.raises(InputError, match="SizePrior"):
        SizePrior((4, 2, 0), (1, 1, 1))


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["relative_depth", "affine_inverse"])
def test_pixels_without_a_finite_prediction_are_left_out(kind: str, nothing: float) -> None:
    depth, cars = street()
    prediction = inverse(depth, 0.3, 0.0) if kind == "affine_inverse" else relative(depth, 4.0)
    prediction.values[110:, 150:250:2] = nothing  # of the road
    prediction.values[cars[0].mask] = nothing
    partly = np.argwhere(cars[1].mask)[::3]
    prediction.values[tuple(partly.T)] = nothing
    aligned = align_to_scene(prediction, camera(), cars)
    assert aligned.scale == pytest.approx(0.3 if kind == "affine_inverse" else 4.0, rel=0.04)
    assert anchor(aligned, cars[0].name) == (False, "the prediction is not finite in its mask")
    assert anchor(aligned, cars[1].name) == anchor(aligned, "ground") == (True, "")


@pytest.mark.parametrize(
    ("category", "height", "used"),
    [
        ("Truck", 3.6, False),
        ("Bus", 3.0, False),
        ("Pedestrian", 1.76, True),
        ("Cyclist", 1.74, True),
    ],
)
def test_an_object_is_as_high_as_its_class(category: str, height: float, used: bool) -> None:
    depth, boards = street(car_height=height)
    others = [dataclasses.replace(board, category=category) for board in boards]
    aligned = align_to_scene(relative(depth, 4.0), camera(), others)
    assert aligned.scale == pytest.approx(4.0, rel=0.02)
    assert {one.used for one in aligned.anchors if one.name != "ground"} == {used}
    if used:
        blind = align_to_scene(relative(depth, 4.0), camera(), others, camera_height=None)
        assert blind.scale == pytest.approx(4.0, rel=0.03)
    else:
        assert anchor(aligned, "car 0") == (False, f"heights of {category} differ too much")
    told = align_to_scene(
        relative(depth, 4.0), camera(), others, size_prior=SizePrior((4, 2, height)),
        camera_height=None,
    )  # fmt: skip
    assert told.scale == pytest.approx(4.0, rel=0.03)


@pytest.mark.parametrize("height", [0.05, 20.5, float("nan")])
def test_heights_of_the_camera_are_those_of_the_commands(height: float) -> None:
    depth, _ = street(cars=(), camera_height=15.0, wall=400.0)
    aligned = align_to_scene(relative(depth, 4.0), camera(), [], camera_height=15.0)
    assert aligned.scale == pytest.approx(4.0, rel=0.02)
    with pytest.raises(InputError, match="expected metres between 0.1 and 20"):
        align_to_scene(relative(depth, 4.0), camera(), [], camera_height=height)


def test_a_road_is_found_through_a_camera_that_is_optimized() -> None:
    depth, cars = street()
    seen = camera()
    asked = Camera(
        seen.intrinsics.clone().requires_grad_(), seen.rotation.clone().requires_grad_(),
        seen.translation.clone().requires_grad_(), seen.size,
    )  # fmt: skip
    expected, found = find_road(depth, seen, cars), find_road(depth, asked, cars)
    assert expected is not None and found is not None
    points = torch.tensor([[0.0, 0.0, 10.0]], dtype=torch.float64)
    assert torch.equal(found.y(points), expected.y(points))


def test_dense_measurements_take_no_longer_than_a_fit() -> None:
    truth = (1 + np.random.default_rng(0).random((700, 1000))).astype(np.float32)
    began = time.perf_counter()
    aligned = align_to_sparse(DepthPrediction(truth / 3, "relative_depth"), truth)
    assert aligned.scale == pytest.approx(3.0, rel=1e-3)
    assert time.perf_counter() - began < 8  # it was 13 s, most of it drawing lots
    for threshold in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="threshold is"):
            align_to_sparse(
                DepthPrediction(truth / 3, "relative_depth"), truth, threshold=threshold
            )
