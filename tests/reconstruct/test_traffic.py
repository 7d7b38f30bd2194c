"""The rule of the road: what it says of a heading, and that it settles only what is open."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from drawn_cars import CAMERA, seen_from

from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct import (
    LossWeights,
    ReconstructSettings,
    Run,
    Scene,
    StageSettings,
    reconstruct,
)
from diffrender.reconstruct.classes import CLASS_SIZES
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.traffic import against_traffic
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import load_prior

AWAY, TOWARD = -math.pi / 2, math.pi / 2  # KITTI's yaw: 0 heads to the right
DOUBLE = CAMERA.to(torch.float64)
BOXES = torch.tensor([[240.0, 80, 320, 130], [20.0, 80, 60, 130]], dtype=torch.float64)


def heading(*yaws: float) -> Hypotheses:
    """The first on the right of the camera's path, the others on the left."""
    count = len(yaws)
    angles = torch.zeros(count, 3, dtype=torch.float64)
    angles[:, 0] = torch.tensor(yaws)
    return Hypotheses(
        owner=torch.tensor([0] + [1] * (count - 1)),
        offset=torch.zeros(count, 2, dtype=torch.float64),
        log_depth=torch.full((count,), math.log(15.0), dtype=torch.float64),
        angles=angles,
        log_apparent=torch.full((count, 3), math.log(2 / 15.0), dtype=torch.float64),
        latent=torch.zeros(count, 8, dtype=torch.float64),
    )


def test_right_hand_traffic_drives_away_on_the_right_and_comes_on_the_left() -> None:
    lanes = heading(AWAY, TOWARD, AWAY)
    assert against_traffic(lanes, DOUBLE, BOXES, "right").tolist() == pytest.approx(
        [0, 0, 1], abs=0.01
    )


def test_left_hand_traffic_is_its_mirror_image() -> None:
    lanes = heading(TOWARD, AWAY, TOWARD)
    assert against_traffic(lanes, DOUBLE, BOXES, "left").tolist() == pytest.approx(
        [0, 0, 1], abs=0.1
    )


def test_a_car_across_the_road_is_neither() -> None:
    assert against_traffic(heading(0.0, math.pi), DOUBLE, BOXES, "right").tolist() == pytest.approx(
        [0.5, 0.5]
    )


def test_it_turns_around_with_the_car() -> None:
    some = heading(-1.1, 0.4, 2.0)
    turned = some.turned(torch.full((3,), math.pi))
    both = [against_traffic(h, DOUBLE, BOXES, "right") for h in (some, turned)]
    assert torch.allclose(both[0] + both[1], torch.ones(3, dtype=torch.float64))


def from_behind(side: str | None, category: str = "Car") -> Scene:
    """A car seen end on, 3 m to the left, by its outline alone: front and rear look alike."""
    prior = load_prior("car")
    mesh = prior.mesh(torch.zeros(8), torch.tensor([3.9, 1.65, 1.5]))
    placed = mesh.transformed(yaw_to_matrix(torch.tensor(AWAY)), torch.tensor([-3.0, 1.65, 16.0]))
    depth, (mask,) = seen_from(CAMERA, [placed])
    settings = ReconstructSettings(
        hypotheses=4,
        stages=(StageSettings(iterations=16, size=(32, 32), keep=4),),
        class_sizes={category: CLASS_SIZES["Car"]},
        weights=LossWeights(photometric=0.0, latent=5.0, traffic=20.0),
        texture_size=16,
        traffic=side,  # type: ignore[arg-type]
        heading=False,
    )
    image = np.full((180, 400, 3), 120, dtype=np.uint8)
    instance = Instance(mask, box_of_mask(mask), category, 1.0, "one")
    return reconstruct(image, CAMERA, [instance], depth, prior, settings, Run("one"))


def test_the_side_settles_front_and_rear() -> None:
    (coming,) = from_behind("right").objects
    (going,) = from_behind("left").objects
    assert math.sin(coming.yaw) > 0.9  # toward the camera
    assert math.sin(going.yaw) < -0.9
    assert coming.pose.location == pytest.approx(going.pose.location, abs=0.3)


def test_only_vehicles_follow_it() -> None:
    (vehicle,) = from_behind("right").objects
    (other,) = from_behind("right", "Pedestrian").objects
    assert 0 < vehicle.losses["traffic"] < 0.5
    assert other.losses["traffic"] == 0


def test_without_a_side_nothing_is_said() -> None:
    (item,) = from_behind(None).objects
    assert "traffic" not in item.losses


def test_another_word_is_refused() -> None:
    with pytest.raises(InputError, match="traffic is 'both', expected 'right', 'left' or None"):
        ReconstructSettings(traffic="both")  # type: ignore[arg-type]
