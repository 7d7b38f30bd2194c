"""What is gathered about one instance before any fitting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrender.cameras import Camera
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct.box_fit import BoxFitSettings, fit_boxes
from diffrender.reconstruct.crops import crop_evidence
from diffrender.reconstruct.noise import depth_noise_of
from diffrender.reconstruct.observations import DepthNoise, observe

SIZE = (120, 200)
CAMERA = Camera.from_intrinsics(
    torch.tensor([[200.0, 0, 100], [0, 200, 60], [0, 0, 1]]), SIZE, pixel_centres="half"
)


def instance(rows: slice, columns: slice, name: str = "car_01") -> Instance:
    mask = np.zeros(SIZE, dtype=bool)
    mask[rows, columns] = True
    return Instance(mask, box_of_mask(mask), "Car", 1.0, name)


def flat(depth: float) -> np.ndarray:
    return np.full(SIZE, depth, dtype=np.float32)


def test_a_free_standing_box_has_four_open_sides() -> None:
    one = instance(slice(40, 80), slice(50, 110))
    (seen,), refused = observe([one], [one], CAMERA, flat(15.0))
    assert refused == []
    assert seen.open_sides.tolist() == [True, True, True, True]
    assert seen.mask_box.tolist() == [50, 40, 110, 80]
    assert seen.depth == pytest.approx(15.0)


def test_the_border_and_a_neighbour_close_a_side() -> None:
    cut = instance(slice(60, 120), slice(0, 60))
    beside = instance(slice(70, 110), slice(60, 120), "car_02")
    (first, second), _ = observe([cut, beside], [cut, beside], CAMERA, flat(15.0))
    assert first.open_sides.tolist() == [False, True, False, False]
    assert second.open_sides.tolist() == [False, True, True, True]


def test_only_what_may_stand_in_front_hides_an_object() -> None:
    near = instance(slice(60, 100), slice(40, 80))
    far = instance(slice(60, 90), slice(80, 120), "car_02")
    depth = flat(20.0)
    depth[:, 80:] = 30.0
    (first, second), _ = observe([near, far], [near, far], CAMERA, depth)
    assert first.open_sides.tolist() == [True, True, True, True]  # its own edge, seen before far
    assert not first.hiding.any()
    assert second.open_sides.tolist() == [False, True, True, True]
    assert (second.hiding == near.mask).all()
    noise = DepthNoise()
    classes = (torch.ones(2, 3), torch.ones(2, 3))
    image = np.zeros((*SIZE, 3), np.uint8)
    crops = crop_evidence([first, second], image, depth, CAMERA, noise, (40, 40), classes)
    assert float(crops.evidence.care[0].min()) == 1.0  # it must not grow over the far one
    assert float(crops.evidence.care[1].min()) == 0.0


def test_without_depth_every_neighbour_may_hide_an_object() -> None:
    one, two = instance(slice(60, 100), slice(40, 80)), instance(slice(60, 90), slice(80, 120))
    (first, second), _ = observe([one, two], [one, two], CAMERA, None)
    assert (first.hiding == two.mask).all()
    assert (second.hiding == one.mask).all()


def test_points_are_on_the_object_and_not_on_the_background_behind_it() -> None:
    one = instance(slice(40, 80), slice(50, 110))
    depth = flat(15.0)
    depth[40:80, 100:110] = 60.0  # the mask leaks onto what lies behind
    (seen,), _ = observe([one], [one], CAMERA, depth)
    assert len(seen.points) > 50
    assert seen.points[:, 2].max() < 16.0
    pixels, _ = CAMERA.to(torch.float64).project(torch.from_numpy(seen.points))
    assert pixels[:, 0].min() > 50
    assert pixels[:, 0].max() < 110


def test_noise_of_a_dense_map_is_averaged_without_bias() -> None:
    one = instance(slice(40, 80), slice(50, 110))
    noisy = flat(15.0) * (1 + 0.1 * np.random.default_rng(0).standard_normal(SIZE))
    (seen,), _ = observe([one], [one], CAMERA, noisy.astype(np.float32))
    assert abs(seen.points[:, 2].mean() - 15.0) < 0.1


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (instance(slice(40, 43), slice(50, 55)), "its mask has 15 pixels, at least 40 are needed"),
        (
            Instance(np.ones((10, 10), dtype=bool), (0, 0, 10, 10), "Car", 1.0, "car_09"),
            "its mask is 10 x 10 pixels, the image is 120 x 200",
        ),
    ],
)
def test_an_unusable_instance_says_why_and_stops_nobody(broken: Instance, reason: str) -> None:
    good = instance(slice(40, 80), slice(50, 110))
    seen, refused = observe([broken, good], [broken, good], CAMERA, flat(15.0))
    assert [s.instance for s in seen] == [good]
    ((who, why),) = refused
    assert who is broken
    assert reason in why


def test_no_depth_inside_the_mask_is_a_reason() -> None:
    one = instance(slice(40, 80), slice(50, 110))
    seen, ((_, why),) = observe([one], [one], CAMERA, flat(0.0))
    assert seen == []
    assert why == "no depth is known inside its mask"


def test_crops_average_masks_and_lose_no_sparse_depth() -> None:
    one = instance(slice(40, 80), slice(50, 110))
    other = instance(slice(40, 80), slice(112, 150), "car_02")
    sparse = np.zeros(SIZE, dtype=np.float32)
    sparse[44:76:4, 54:106:4] = 12.0
    seen, _ = observe([one], [one, other], CAMERA, sparse)
    classes = (torch.tensor([[3.9, 1.6, 1.5]]), torch.tensor([[0.4, 0.1, 0.1]]))
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    crops = crop_evidence(seen, image, sparse, CAMERA, depth_noise_of("lidar"), (32, 32), classes)
    evidence = crops.evidence
    cell = (60 * 1.6 / 32) * (40 * 1.6 / 32)  # pixels per cell of the widened window
    assert float(evidence.mask.sum()) * cell == pytest.approx(60 * 40, rel=0.02)
    found = evidence.depth[evidence.depth > 0]
    assert len(found) > 60
    assert torch.allclose(found, torch.tensor(12.0))
    # The mask's box in the window, and a point that the window's camera sees where the image does.
    assert torch.allclose(evidence.box[0], torch.tensor([6.0, 6.0, 26.0, 26.0]))
    world = CAMERA.unproject(torch.tensor([[80.0, 60.0]]), torch.tensor([12.0]))
    pixel, _ = crops.camera[0].project(world)
    assert torch.allclose(pixel[0], torch.tensor([16.0, 16.0]), atol=1e-4)


def test_care_ends_at_other_instances_and_at_the_border() -> None:
    one = instance(slice(40, 80), slice(0, 60))
    other = instance(slice(40, 80), slice(60, 100), "car_02")
    seen, _ = observe([one, other], [one, other], CAMERA, flat(12.0))
    ones = torch.ones(2, 3)
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    evidence = crop_evidence(
        seen, image, flat(12.0), CAMERA, DepthNoise(), (32, 32), (ones, ones)
    ).evidence
    assert float(evidence.care[0, 16, 0]) == 0.0  # left of the image
    assert float(evidence.care[0, 16, 30]) == 0.0  # on the other car
    assert float(evidence.care[0, 1, 16]) == 1.0  # background above: must stay empty
    assert float(evidence.care[0, 16, 16]) == 1.0


def test_box_fit_finds_a_box_from_points_on_its_visible_faces() -> None:
    length, width, height = BoxFitSettings().size
    yaw, centre = -1.2, np.array([2.0, 1.65, 14.0])
    camera = Camera.from_intrinsics(
        torch.tensor([[700.0, 0, 600], [0, 700, 180], [0, 0, 1]]), (360, 1200), pixel_centres="half"
    )
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    eye = turn.T @ -centre
    a, b = np.meshgrid(np.linspace(-0.5, 0.5, 41), np.linspace(-1, 0, 21))
    near_end = np.stack([np.full(a.size, np.sign(eye[0]) * length / 2), b.ravel() * height,
                         a.ravel() * width], axis=-1)  # fmt: skip
    near_side = np.stack([a.ravel() * length, b.ravel() * height,
                          np.full(a.size, np.sign(eye[2]) * width / 2)], axis=-1)  # fmt: skip
    points = np.concatenate([near_end, near_side]) @ turn.T + centre
    pixels, z = camera.to(torch.float64).project(torch.from_numpy(points))
    depth = np.zeros((360, 1200), dtype=np.float32)
    columns, rows = np.floor(pixels.numpy()).astype(int).T
    depth[rows, columns] = z.numpy()
    corners, _ = camera.to(torch.float64).project(
        torch.from_numpy(
            np.array([[x, y, w] for x in (-0.5, 0.5) for y in (-1, 0) for w in (-0.5, 0.5)])
            * [length, height, width] @ turn.T + centre
        )
    )  # fmt: skip
    left, top = np.floor(corners.numpy().min(0)).astype(int)
    right, bottom = np.ceil(corners.numpy().max(0)).astype(int)
    mask = np.zeros((360, 1200), dtype=bool)
    mask[top:bottom, left:right] = True
    car = Instance(mask, box_of_mask(mask), "Car", 1.0, "car_01")
    (seen,), _ = observe([car], [car], camera, depth)
    fit = fit_boxes(seen, camera)
    turned = abs((fit.yaw[fit.best] - yaw + np.pi / 2) % np.pi - np.pi / 2)
    assert np.degrees(turned) <= 5.1  # the grid's own step
    assert np.linalg.norm(fit.location[fit.best] - centre) < 0.3


@pytest.mark.parametrize("depth", [0.3, 2.0])
def test_box_fits_of_a_long_vehicle_beside_the_camera_lie_ahead(depth: float) -> None:
    """For some yaws every place of the grid has a corner behind the camera."""
    one = instance(slice(10, 110), slice(80, 200), "truck_01")
    (seen,), _ = observe([one], [one], CAMERA, flat(depth))
    fit = fit_boxes(seen, CAMERA, BoxFitSettings((16.0, 2.5, 3.5)))
    assert np.isfinite(fit.location).all()
    assert (fit.location[:, 2] > 0).all()
