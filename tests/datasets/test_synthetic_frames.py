"""Synthetic streets: the same bits twice, and a truth that agrees with the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrender.datasets.synthetic import (
    DEVELOPMENT_SEED,
    HELD_OUT_SEED,
    TRAINING_SEED,
    StreetSettings,
    SyntheticFrame,
    SyntheticStreets,
)
from diffrender.errors import InputError
from diffrender.instances.record import box_of_mask
from diffrender.raster import rasterize

SIZE = (188, 621)


@pytest.fixture(scope="module")
def frames() -> list[SyntheticFrame]:
    return list(SyntheticStreets(DEVELOPMENT_SEED, 5, SIZE))


def test_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    first, second = (SyntheticStreets(3, 5, (96, 320))[4] for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.depth, second.depth)
    assert [car.pose for car in first.truth] == [car.pose for car in second.truth]
    assert not np.array_equal(first.image, SyntheticStreets(4, 5, (96, 320))[4].image)


def test_frame_does_not_depend_on_the_count_or_the_order() -> None:
    alone = SyntheticStreets(3, 3, (96, 320))[2]
    later = list(SyntheticStreets(3, 4, (96, 320)))[2]
    assert alone.name == later.name == "000002"
    assert np.array_equal(alone.image, later.image)


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    SyntheticStreets(3, 1, (96, 320))[0]
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002


def test_a_callers_torch_settings_change_no_bit() -> None:
    plain = SyntheticStreets(4, 1, SIZE)[0]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            other = SyntheticStreets(4, 1, SIZE)[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(plain.image, other.image)
    assert np.array_equal(plain.depth, other.depth)
    assert plain.truth[0].mesh.vertices.dtype == other.truth[0].mesh.vertices.dtype
    assert plain.labels == other.labels


def test_seeds_of_the_three_uses_differ() -> None:
    assert len({DEVELOPMENT_SEED, TRAINING_SEED, HELD_OUT_SEED}) == 3


def test_frame_reads_like_a_kitti_frame(frames: list[SyntheticFrame]) -> None:
    frame = frames[0]
    assert frame.image.shape == (*SIZE, 3)
    assert frame.image.dtype == np.uint8
    assert frame.depth.shape == SIZE
    assert frame.depth.dtype == np.float32
    assert frame.camera.size == SIZE
    offset = frame.camera.translation
    assert 0.05 < float(offset[0]) < 0.07  # like P2: the frame of the labels is 6 cm away
    assert [label.type for label in frame.labels] == [car.category for car in frame.truth]


def test_masks_are_disjoint_and_named_like_the_truth(frames: list[SyntheticFrame]) -> None:
    total = 0
    for frame in frames:
        instances = frame.instances()
        names = {car.name for car in frame.truth}
        assert len(names) == len(frame.truth)
        assert {one.name for one in instances} <= names
        layers = sum(one.mask.astype(int) for one in instances)
        assert np.max(layers) <= 1
        assert all(one.mask.sum() >= frame.minimum_pixels for one in instances)
        total += len(instances)
    assert total >= 2 * len(frames)


def test_depth_in_a_mask_is_that_of_the_car_at_its_true_pose(frames: list[SyntheticFrame]) -> None:
    checked = 0
    for frame in frames:
        for car in frame.truth:
            if car.mask.sum() < 30:
                continue
            rotation = car.pose.object_to_world_rotation.float()
            placed = car.mesh.transformed(rotation, torch.tensor(car.pose.location))
            alone = rasterize(placed, frame.camera).depth[..., 0].numpy()
            inside = car.mask & (alone > 0)
            assert inside.sum() >= 0.99 * car.mask.sum()  # rims may round to the neighbour
            relative = np.abs(frame.depth[inside] - alone[inside]) / alone[inside]
            assert np.quantile(relative, 0.95) < 1e-3
            checked += 1
    assert checked >= 10


def test_box_of_the_truth_agrees_with_the_mask(frames: list[SyntheticFrame]) -> None:
    """The eight corners projected bound the mask of a free car, loosely: bodies are rounded."""
    checked = 0
    for frame in frames:
        for car in frame.truth:
            if car.visible < 0.999 or car.truncated > 0 or car.mask.sum() < 150:
                continue
            corners = torch.from_numpy(car.pose.corners()).float()
            pixels, _ = frame.camera.project(corners)
            low, high = pixels.min(0).values.numpy(), pixels.max(0).values.numpy()
            left, top, right, bottom = box_of_mask(car.mask)
            slack = 1.0
            assert left >= low[0] - slack
            assert right <= high[0] + slack
            assert top >= low[1] - slack
            assert bottom <= high[1] + slack
            area = (right - left) * (bottom - top)
            assert area > 0.6 * np.prod(high - low)
            checked += 1
    assert checked >= 4


def test_label_rows_state_the_truth(frames: list[SyntheticFrame]) -> None:
    for frame in frames:
        for car, row in zip(frame.truth, frame.labels, strict=True):
            assert row.location == car.pose.location
            assert row.size_lwh == car.pose.size
            assert row.rotation_y == car.pose.yaw
            assert row.truncated == pytest.approx(car.truncated, abs=0.0051)
            edges = np.subtract(row.box_corner, box_of_mask(car.whole))
            assert np.abs(edges).max() <= (0.0 if car.truncated == 0 else 0.5)
            assert row.occluded == (
                0 if car.visible > 0.9 else 1 if car.visible > 0.5 else 2 if car.visible else 3
            )
            assert not (car.mask & ~car.whole).sum() > 0.02 * car.whole.sum() + 4


def test_cars_stand_on_the_ground_around_them(frames: list[SyntheticFrame]) -> None:
    """Ground pixels just outside a free car's lower rim lie in the plane of its bottom face."""
    checked = 0
    for frame in frames:
        height, _width = SIZE
        for car in frame.truth:
            if car.visible < 0.999 or car.truncated > 0 or car.pose.location[2] > 25:
                continue
            left, _, right, bottom = box_of_mask(car.mask)
            row = int(bottom) + 1
            columns = np.arange(int(left), int(right))
            if row >= height:
                continue
            z = frame.depth[row, columns]
            pixels = torch.from_numpy(
                np.stack([columns + 0.5, np.full(len(columns), row + 0.5)], 1)
            )
            points = frame.camera.unproject(pixels.float(), torch.from_numpy(z)).double()
            local = (points - torch.tensor(car.pose.location)) @ car.pose.object_to_world_rotation
            near = local[:, [0, 2]].norm(dim=1) < 3.5
            if near.sum() < 5:
                continue
            assert local[near, 1].abs().median() < 0.06
            checked += 1
    assert checked >= 3


def _rectangle(frame: SyntheticFrame, number: int) -> object:
    from shapely.geometry import Polygon

    return Polygon(frame.truth[number].pose.corners()[:4][:, [0, 2]])


def test_cars_never_overlap() -> None:
    settings = StreetSettings(cars=(12, 16))
    crowded = 0
    for frame in SyntheticStreets(2, 5, (64, 212), settings):
        boxes = [_rectangle(frame, number) for number in range(len(frame.truth))]
        crowded += len(boxes)
        for i, box in enumerate(boxes):
            for other in boxes[:i]:
                assert box.intersection(other).area == 0  # type: ignore[attr-defined]
    assert crowded > 30


def test_settings_bound_the_distance_and_the_count() -> None:
    settings = StreetSettings(cars=(2, 4), distance=(10, 30))
    for frame in SyntheticStreets(2, 4, (64, 212), settings):
        assert len(frame.truth) <= 4
        assert all(10 <= car.pose.location[2] <= 30 for car in frame.truth)


def test_flat_level_road_gives_upright_cars_at_the_camera_height() -> None:
    settings = StreetSettings(
        camera_height=(1.65, 1.65), pitch_degrees=0, roll_degrees=0, road_grade=0
    )
    found = 0
    for frame in SyntheticStreets(2, 4, (64, 212), settings):
        for car in frame.truth:
            if abs(car.pose.pitch) > 1e-6 or abs(car.pose.roll) > 1e-6:
                continue  # on a raised lot
            assert car.pose.location[1] == pytest.approx(1.65, abs=0.16)
            found += 1
    assert found >= 4


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="at least 4 m"):
        StreetSettings(distance=(1, 20))
    with pytest.raises(InputError, match=r"cars is \(5, 2\)"):
        StreetSettings(cars=(5, 2))
    with pytest.raises(InputError, match="sunny is 2"):
        StreetSettings(sunny=2)
    with pytest.raises(InputError, match="between 32 and 4096"):
        SyntheticStreets(1, 1, (10, 100))
    with pytest.raises(IndexError):
        SyntheticStreets(1, 2)[2]
    with pytest.raises(InputError, match="instance_2"):
        SyntheticStreets(1, 1, (64, 212))[0].instances("yolo")
