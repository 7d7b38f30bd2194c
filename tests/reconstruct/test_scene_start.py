"""An earlier reconstruction as a start."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from diffrender.cameras import Camera
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct import (
    ReconstructSettings,
    Run,
    Scene,
    SceneStart,
    StageSettings,
    StartRequest,
    reconstruct,
)
from diffrender.reconstruct.observations import DepthNoise, observe
from diffrender.reconstruct.windows import Window, draw_alone
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import ShapePrior, load_prior

SIZE = (96, 256)
CAMERA = Camera.from_intrinsics(
    torch.tensor([[220.0, 0, 128], [0, 220, 40], [0, 0, 1]]), SIZE, pixel_centres="half"
)
WHOLE = Window(0, 0, SIZE[1], SIZE[0])
STAGE = StageSettings(iterations=24, size=(48, 48), keep=2, turns=(180,), jumps=(0.1,), swap=True)
SETTINGS = ReconstructSettings(hypotheses=4, stages=(STAGE, STAGE, STAGE), heading=False)


@pytest.fixture(scope="module")
def prior() -> ShapePrior:
    return load_prior("car")


@pytest.fixture(scope="module")
def street(prior: ShapePrior) -> tuple[np.ndarray, list[Instance], np.ndarray]:
    """Two cars on grey, their masks and depth."""
    depth = np.zeros(SIZE, np.float32)
    instances = []
    for name, place, yaw in (("a", (-3.0, 1.6, 13.0), 0.5), ("b", (3.5, 1.6, 15.0), -1.3)):
        mesh = prior.mesh(torch.zeros(prior.latent_size))
        posed = mesh.transformed(yaw_to_matrix(torch.tensor(yaw)), torch.tensor(place))
        z = draw_alone(posed.vertices, posed.faces, CAMERA).within(WHOLE)
        depth = np.where(z > 0, z, depth)
        instances.append(Instance(z > 0, box_of_mask(z > 0), "Car", 1.0, name))
    image = np.where((depth > 0)[..., None], np.uint8(200), np.uint8(90)).repeat(3, axis=-1)
    return image, instances, depth


@pytest.fixture(scope="module")
def scene(street: tuple[np.ndarray, list[Instance], np.ndarray], prior: ShapePrior) -> Scene:
    image, instances, depth = street
    return reconstruct(image, CAMERA, instances, depth, prior, SETTINGS, Run(depth_source="lidar"))


def request(
    street: tuple[np.ndarray, list[Instance], np.ndarray], camera: Camera, prior: ShapePrior
) -> StartRequest:
    image, instances, depth = street
    seen, _ = observe(instances, instances, camera, depth)
    sizes = torch.tensor([[3.9, 1.6, 1.5]]).expand(len(seen), 3)
    return StartRequest(seen, image, depth, camera, DepthNoise(), (sizes, sizes), 1.65, prior)


def test_it_begins_where_the_scene_ended(
    street: tuple[np.ndarray, list[Instance], np.ndarray], scene: Scene, prior: ShapePrior
) -> None:
    asked = request(street, CAMERA, prior)
    begun = SceneStart(scene, SETTINGS)(asked)
    boxes = torch.tensor(np.stack([o.mask_box for o in asked.observations])).float()
    rotation, location, size = begun.pose(CAMERA, boxes)
    for k, item in enumerate(scene.objects):
        np.testing.assert_allclose(location[k], item.pose.location, atol=1e-3)
        np.testing.assert_allclose(size[k], item.pose.size, rtol=1e-4)
        np.testing.assert_allclose(rotation[k], item.pose.object_to_world_rotation, atol=1e-4)
        np.testing.assert_allclose(begun.latent[k], item.latent, atol=1e-6)


def test_a_longer_lens_puts_it_farther_away(
    street: tuple[np.ndarray, list[Instance], np.ndarray], scene: Scene, prior: ShapePrior
) -> None:
    longer = dataclasses.replace(
        CAMERA, intrinsics=CAMERA.intrinsics * torch.tensor([[1.1], [1.1], [1.0]])
    )
    asked = request(street, longer, prior)
    begun = SceneStart(scene, SETTINGS)(asked)
    before = SceneStart(scene, SETTINGS)(request(street, CAMERA, prior))
    torch.testing.assert_close(begun.log_depth - before.log_depth, torch.full((2,), math.log(1.1)))
    torch.testing.assert_close(begun.offset, before.offset)
    torch.testing.assert_close(
        begun.log_apparent + begun.log_depth[:, None],
        before.log_apparent + before.log_depth[:, None],
    )


def test_what_the_scene_does_not_have_begins_with_the_mean_size(
    street: tuple[np.ndarray, list[Instance], np.ndarray], scene: Scene, prior: ShapePrior
) -> None:
    one = dataclasses.replace(scene, objects=scene.objects[1:])
    begun = SceneStart(one, SETTINGS)(request(street, CAMERA, prior))
    assert begun.owner.tolist() == [0, 1]
    size = (begun.log_apparent + begun.log_depth[:, None]).exp()
    np.testing.assert_allclose(size[0], [3.9, 1.6, 1.5], rtol=1e-5)
    assert float(begun.log_depth[0].exp()) == pytest.approx(13.0, abs=2.0)


def test_two_descents_without_moves_end_where_it_began(
    street: tuple[np.ndarray, list[Instance], np.ndarray], scene: Scene, prior: ShapePrior
) -> None:
    start = SceneStart(scene, SETTINGS)
    assert [(s.keep, s.turns, s.jumps, s.swap) for s in start.stages] == [(1, (), (), False)] * 2
    image, instances, depth = street
    run = Run(depth_source="lidar", start=start)
    again = reconstruct(image, CAMERA, instances, depth, prior, SETTINGS, run)
    assert again.settings["start"] == {"Car": "an earlier reconstruction"}
    for first, second in zip(scene.objects, again.objects, strict=True):
        np.testing.assert_allclose(second.pose.location, first.pose.location, atol=0.05)
        assert second.losses["total"] <= first.losses["total"] + 1e-3
        assert len(second.history) < len(first.history)
