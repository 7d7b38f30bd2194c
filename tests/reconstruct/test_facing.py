"""What the picture says of front and rear, and that it settles only that."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from drawn_cars import CAMERA, seen_from

from diffrender.heading import HeadingConfig, HeadingNet
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct import (
    LossWeights,
    ReconstructSettings,
    Run,
    Scene,
    StageSettings,
    facing,
    reconstruct,
)
from diffrender.reconstruct.facing import Facing, look
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.observations import observe
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import load_prior

AWAY, TOWARD = -math.pi / 2, math.pi / 2  # KITTI's yaw: 0 heads to the right
DOUBLE = CAMERA.to(torch.float64)
TINY = HeadingConfig("test_efficientnet", blocks=4, side=64, bins=16, channels=4, hidden=6)


def told(alpha: float) -> torch.Tensor:
    """A distribution about one direction, (1, 16) log probabilities."""
    centres = torch.arange(16) * math.pi / 8
    return (8 * torch.cos(alpha - centres))[None].log_softmax(dim=1)


def seen(alpha: float, asked: bool = True) -> Facing:
    return Facing(HeadingNet(TINY), told(alpha), torch.tensor([asked]))


def yaws(*angles: float, column: float) -> tuple[Hypotheses, torch.Tensor]:
    """Hypotheses at one place, whose box has its middle in `column`."""
    count = len(angles)
    turned = torch.zeros(count, 3, dtype=torch.float64)
    turned[:, 0] = torch.tensor(angles)
    some = Hypotheses(
        owner=torch.zeros(count, dtype=torch.int64),
        offset=torch.zeros(count, 2, dtype=torch.float64),
        log_depth=torch.full((count,), math.log(15.0), dtype=torch.float64),
        angles=turned,
        log_apparent=torch.full((count, 3), math.log(2 / 15.0), dtype=torch.float64),
        latent=torch.zeros(count, 8, dtype=torch.float64),
    )
    box = torch.tensor([[column - 20, 80, column + 20, 120]], dtype=torch.float64)
    return some, box


def test_convention_minus_half_pi_is_away_from_the_camera() -> None:
    some, boxes = yaws(AWAY, TOWARD, column=float(CAMERA.intrinsics[0, 2]))
    nats = seen(AWAY).against(some, DOUBLE, boxes)
    assert float(nats[0]) == pytest.approx(-math.log(1 - TINY.doubt / 2), abs=0.01)
    assert float(nats[1]) == pytest.approx(-math.log(TINY.doubt / 2), abs=0.1)


def test_convention_the_direction_is_relative_to_the_viewing_ray() -> None:
    """Across the ray, and not across the road, is where the picture says nothing."""
    column = 330.0
    focal, middle = float(CAMERA.intrinsics[0, 0]), float(CAMERA.intrinsics[0, 2])
    ray = math.atan2(column - middle, focal)
    some, boxes = yaws(ray, ray + math.pi, column=column)
    nats = seen(AWAY).against(some, DOUBLE, boxes)
    assert nats.tolist() == pytest.approx([math.log(2), math.log(2)], abs=0.02)
    straight, boxes = yaws(0.0, math.pi, column=column)
    assert abs(float(seen(AWAY).against(straight, DOUBLE, boxes).diff())) > 0.5


def test_a_half_turn_has_the_rest_of_the_probability() -> None:
    for yaw in (-1.0, 0.2, 2.0):
        some, boxes = yaws(yaw, yaw + math.pi, column=150.0)
        nats = seen(0.7).against(some, DOUBLE, boxes)
        assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_objects_that_were_not_asked_about_cost_nothing() -> None:
    some, boxes = yaws(AWAY, TOWARD, column=200.0)
    assert seen(AWAY, asked=False).against(some, DOUBLE, boxes).tolist() == [0, 0]


def end_on(category: str = "Car") -> tuple[np.ndarray, Instance, np.ndarray]:
    """A car seen end on, by its outline alone: front and rear look alike."""
    mesh = load_prior("car").mesh(torch.zeros(8), torch.tensor([3.9, 1.65, 1.5]))
    placed = mesh.transformed(yaw_to_matrix(torch.tensor(AWAY)), torch.tensor([0.5, 1.65, 16.0]))
    depth, (mask,) = seen_from(CAMERA, [placed])
    image = np.full((180, 400, 3), 120, dtype=np.uint8)
    return image, Instance(mask, box_of_mask(mask), category, 1.0, "one"), depth


def scene(weight: float, heading: bool = True) -> Scene:
    image, instance, depth = end_on()
    settings = ReconstructSettings(
        hypotheses=4,
        stages=(StageSettings(iterations=16, size=(32, 32), keep=4),),
        weights=LossWeights(photometric=0.0, latent=5.0, heading=weight),
        texture_size=16,
        heading=heading,
    )
    prior = load_prior("car")
    return reconstruct(image, CAMERA, [instance], depth, prior, settings, Run("one"))


@pytest.mark.parametrize("yaw", [AWAY, TOWARD])
def test_it_settles_front_and_rear(yaw: float, monkeypatch: pytest.MonkeyPatch) -> None:
    solver = importlib.import_module("diffrender.reconstruct.solver")
    monkeypatch.setattr(solver, "look", lambda image, some: seen(yaw))
    (item,) = scene(20.0).objects
    assert math.sin(item.yaw) == pytest.approx(math.sin(yaw), abs=0.1)
    assert 0 < item.losses["heading"] < 0.2


def test_it_can_be_left_out() -> None:
    (item,) = scene(1.0, heading=False).objects
    assert "heading" not in item.losses


def test_only_cars_are_looked_at() -> None:
    image, car, depth = end_on()
    _, walker, _ = end_on("Pedestrian")
    (seen_car,), _ = observe([car], [car], CAMERA, depth)
    (seen_walker,), _ = observe([walker], [walker], CAMERA, depth)
    assert "Pedestrian" not in facing.FACED
    assert look(image, [seen_walker]) is None
    both = look(image, [seen_walker, seen_car])
    assert both is not None
    assert both.asked.tolist() == [False, True]
    assert float(both.told[1].exp().sum()) == pytest.approx(1, abs=1e-4)
