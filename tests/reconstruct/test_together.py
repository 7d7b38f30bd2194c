"""Two cars in one image: fitted together, refined, with what their confidence came from."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from drawn_cars import CAMERA, seen_from

from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct import (
    DepthNoise,
    ReconstructSettings,
    RefineSettings,
    Run,
    Scene,
    StageSettings,
    reconstruct,
    solver,
)
from diffrender.reconstruct.observations import Observation
from diffrender.reconstruct.union import reorder
from diffrender.reconstruct.windows import Drawn
from diffrender.road import Road
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import load_prior

CARS = ((-1.0, 11.0, 0.9), (1.6, 13.0, 0.7))  # x, z, yaw: the second stands partly behind the first
SETTINGS = ReconstructSettings(
    hypotheses=4,
    stages=(
        StageSettings(iterations=24, size=(32, 32), keep=4),
        StageSettings(iterations=16, size=(48, 48), keep=1, turns=(180,), parts=True),
    ),
    depth_noise=DepthNoise(relative=0.01, scale=0.06, shared=0.9),
    texture_size=16,
)


@cache
def seen(slope: float = 0.0) -> tuple[np.ndarray, tuple[Instance, ...]]:
    """Exact depth and visible masks of cars on a road of that slope, which has no depth."""
    prior = load_prior("car")
    mesh = prior.mesh(torch.zeros(8), torch.tensor([3.9, 1.65, 1.5]))
    posed = [
        mesh.transformed(yaw_to_matrix(torch.tensor(yaw)), torch.tensor([x, 1.65 + slope * z, z]))
        for x, z, yaw in CARS
    ]
    depth, masks = seen_from(CAMERA, posed)
    return depth, tuple(
        Instance(mask, box_of_mask(mask), "Car", 1.0, f"car_{k}") for k, mask in enumerate(masks)
    )


def fitted(settings: ReconstructSettings, factor: float = 1.0, slope: float = 0.0) -> Scene:
    depth, instances = seen(slope)
    image = np.full((180, 400, 3), 120, dtype=np.uint8)
    scaled = (factor * depth).astype(np.float32)
    return reconstruct(
        image, CAMERA, list(instances), scaled, load_prior("car"), settings, Run("two")
    )


def test_cars_that_share_a_wrong_scale_agree_on_it() -> None:
    together = fitted(SETTINGS, factor=1.08)
    alone = fitted(
        dataclasses.replace(SETTINGS, depth_noise=DepthNoise(relative=0.01, scale=0.002)), 1.08
    )
    truths = [z for _, z, _ in CARS]

    def off(scene: Scene) -> list[float]:
        pairs = zip(scene.objects, truths, strict=True)
        return [abs(o.pose.location[2] / z - 1) for o, z in pairs]

    assert max(off(together)) < min(off(alone))
    assert max(off(together)) < 0.05


def test_the_confidence_says_what_it_came_from() -> None:
    for item in fitted(SETTINGS).objects:
        assert item.agreement is not None
        assert 0 < item.confidence < 1
        assert item.agreement.mask > 0.6
        assert math.isfinite(item.agreement.margin)  # the half turn was tried
        assert item.agreement.belief == 0.06


def test_refining_moves_vertices_and_leaves_the_box() -> None:
    plain = fitted(SETTINGS)
    loose = RefineSettings(iterations=4)
    refined = fitted(dataclasses.replace(SETTINGS, refine=loose))
    assert refined.timings["refine"] > 0
    assert refined.settings["refine"]["iterations"] == 4
    for before, after in zip(plain.objects, refined.objects, strict=True):
        assert before.pose == after.pose
        moved = (after.mesh.vertices - before.mesh.vertices).norm(dim=1)
        assert 0 < float(moved.max()) < 0.3


def test_cars_agree_on_the_slope_of_their_road() -> None:
    slope, noise = 0.04, DepthNoise(relative=0.05, scale=0.05)
    found = fitted(dataclasses.replace(SETTINGS, depth_noise=noise), slope=slope)
    flat = fitted(dataclasses.replace(SETTINGS, depth_noise=noise, ground="flat"), slope=slope)

    def off(scene: Scene) -> float:
        feet = [item.pose.location for item in scene.objects]
        return sum(abs(y - 1.65 - slope * z) for _, y, z in feet)

    assert off(found) < 0.7 * off(flat)
    assert found.road == flat.road == Road()  # none was to be seen: what they began with


def test_a_mask_of_another_size_stops_neither_the_road_nor_the_others() -> None:
    depth, instances = seen()
    odd = Instance(np.ones((90, 200), dtype=bool), (0, 0, 200, 90), "Car", 1.0, "odd")
    image = np.full((180, 400, 3), 120, dtype=np.uint8)
    scene = reconstruct(
        image, CAMERA, [odd, *instances], depth.astype(np.float32), load_prior("car"),
        dataclasses.replace(SETTINGS, stages=SETTINGS.stages[:1]), Run("odd"),
    )  # fmt: skip
    assert [item.name for item in scene.objects] == ["car_0", "car_1"]
    assert [(r.name, "resize the mask" in r.reason) for r in scene.rejected] == [("odd", True)]


def test_whoever_hides_a_car_is_not_held_against_it() -> None:
    """Also what has no prior here, and so is not reconstructed itself."""
    depth, (_, car) = seen()
    left, right = np.flatnonzero(car.mask.any(axis=0))[[0, -1]]
    strip = np.zeros_like(car.mask)
    strip[:, (left + right) // 2 - 3 : (left + right) // 2 + 4] = True
    strip &= car.mask
    rest = dataclasses.replace(car, mask=car.mask & ~strip, box=box_of_mask(car.mask & ~strip))
    image = np.full((180, 400, 3), 120, dtype=np.uint8)
    agreed = []
    for category in ("Car", "Bus"):
        front = Instance(strip, box_of_mask(strip), category, 1.0, "front")
        scene = reconstruct(
            image, CAMERA, [rest, front], depth.astype(np.float32), load_prior("car"),
            dataclasses.replace(SETTINGS, union=False, heading=False),
        )  # fmt: skip
        (found,) = [one for one in scene.objects if one.name == rest.name]
        assert found.agreement is not None
        agreed.append(found.agreement.mask)
    assert agreed[1] == pytest.approx(agreed[0], abs=0.03)


def test_each_time_order_begins_with_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier stage's poses hid is hidden no more once they have moved."""
    begun: list[list[np.ndarray]] = []

    def spy(observations: list[Observation], drawn: list[Drawn], relative: float) -> Any:
        begun.append([o.hiding.copy() for o in observations])
        assert relative == SETTINGS.depth_noise.scale  # type: ignore[union-attr]
        return reorder(observations, drawn, relative)

    monkeypatch.setattr(solver, "reorder", spy)
    third = dataclasses.replace(SETTINGS.stages[1], turns=())
    fitted(dataclasses.replace(SETTINGS, stages=(*SETTINGS.stages, third)))
    assert len(begun) == 2
    assert all(np.array_equal(a, b) for a, b in zip(*begun, strict=True))


def test_a_single_stage_has_its_moves_too() -> None:
    stage = StageSettings(12, (32, 32), 1, parts=True)
    plain = dataclasses.replace(SETTINGS, stages=(stage,), hypotheses=1, heading=False)
    moved = dataclasses.replace(plain, stages=(dataclasses.replace(stage, turns=(180, 90, -90)),))
    alone, turned = fitted(plain), fitted(moved)
    assert all(o.agreement is not None and math.isinf(o.agreement.margin) for o in alone.objects)
    assert all(o.agreement is not None and o.agreement.margin < math.inf for o in turned.objects)
    for one, other in zip(alone.objects, turned.objects, strict=True):
        assert other.losses["total"] <= one.losses["total"] + 1e-4
