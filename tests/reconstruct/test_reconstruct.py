"""The whole path: poses of a rendered car and of the shipped sample, checked against truth."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_cars import CAMERA

import diffrender as dr
from diffrender.datasets import load_camera, load_labels, sample_folder
from diffrender.depth import read_depth
from diffrender.errors import InputError
from diffrender.evaluate import pose_error
from diffrender.instances import Instance, box_of_mask, load_instances
from diffrender.instances.reading import read_image
from diffrender.raster import rasterize
from diffrender.reconstruct import (
    DepthNoise,
    LossWeights,
    ReconstructSettings,
    Run,
    Scene,
    StageSettings,
    objective,
    reconstruct,
)
from diffrender.reconstruct.scene import ReconstructedObject
from diffrender.reconstruct.solver import Solver
from diffrender.road import Road
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import default_texture, load_prior

TRUTH = np.array([1.2, 1.65, 12.0, 4.1, 1.7, 1.5, 0.9])
QUICK = ReconstructSettings(
    stages=(
        StageSettings(iterations=25, size=(32, 32), keep=8),
        StageSettings(iterations=25, size=(48, 48), keep=2, turns=(180,), parts=True),
    ),
    depth_noise=DepthNoise(relative=0.01, scale=0.01),
    texture_size=64,
)


@cache
def drawn() -> tuple[np.ndarray, np.ndarray, Instance]:
    """Image, exact depth and instance of one car drawn from the prior itself."""
    prior = load_prior("car")
    x, y, z, *size, yaw = TRUTH
    mesh = prior.mesh(torch.zeros(8), torch.tensor(size).float())
    rotation = yaw_to_matrix(torch.tensor(yaw).float())
    fragments = rasterize(mesh.transformed(rotation, torch.tensor([x, y, z]).float()), CAMERA)
    face = fragments.face[..., 0]
    assert mesh.uv is not None
    assert mesh.face_uv is not None
    uv = (mesh.uv[mesh.face_uv[face.clamp(min=0)]] * fragments.bary[..., 0, :, None]).sum(-2)
    image = dr.sample_texture(default_texture(prior), uv)
    image[face < 0] = torch.tensor([0.45, 0.5, 0.45])
    mask = (face >= 0).numpy()
    picture = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    depth = fragments.depth[..., 0].numpy()
    return picture, depth, Instance(mask, box_of_mask(mask), "Car", 0.9, "car_01")


@cache
def quick_scene() -> Scene:
    image, depth, instance = drawn()
    return reconstruct(image, CAMERA, [instance], depth, load_prior("car"), QUICK, Run("one"))


def box_of(scene: Scene, index: int = 0) -> np.ndarray:
    found = scene.objects[index]
    return np.array([*found.pose.location, *found.size, found.yaw])


def test_a_drawn_car_is_found_from_no_pose_at_all_with_its_heading() -> None:
    error = pose_error(box_of(quick_scene()), TRUTH)
    assert error.iou > 0.8
    assert error.yaw < 6.0
    assert error.centre < 0.02


def test_the_outcome_says_how_it_went() -> None:
    scene = quick_scene()
    car = scene.objects[0]
    assert 0.5 < car.confidence <= 0.9  # never more than the 2D score
    assert car.stop_reason in ("iteration limit",) or car.stop_reason.startswith("converged")
    names = {"silhouette", "box", "depth", "photometric", "size", "latent", "ground", "total"}
    assert set(car.losses) == names | {"heading"}  # weighs the end of a descent, is no part of it
    assert 4 < len(car.history) <= 50  # what needs fewer steps than Adam takes fewer
    assert car.history[-1]["silhouette"] < 0.5 * car.history[0]["silhouette"]
    assert scene.settings["stages"][0]["iterations"] == 25
    assert scene.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    overlap = (car.silhouette & car.instance.mask).sum() / (
        car.silhouette | car.instance.mask
    ).sum()
    assert overlap > 0.85


def test_the_photograph_is_carried_onto_the_mesh() -> None:
    car = quick_scene().objects[0]
    texture, parts = car.mesh.texture, load_prior("car").part_names
    assert texture is not None
    assert car.mesh.uv is not None and car.mesh.face_uv is not None
    assert car.mesh.face_parts is not None
    faces = car.mesh.face_parts == parts.index("body")
    middle = car.mesh.uv[car.mesh.face_uv[faces]].mean(1)
    paint = dr.sample_texture(texture, middle).median(0).values
    assert float(paint[0]) > 2 * float(paint[1])  # the drawn car is red


def test_the_same_run_gives_the_same_bits() -> None:
    image, depth, instance = drawn()
    prior = load_prior("car")
    again = reconstruct(image, CAMERA, [instance], depth, prior, QUICK, Run("one"))
    assert np.array_equal(box_of(again), box_of(quick_scene()))
    assert again.objects[0].latent == quick_scene().objects[0].latent


def test_a_mask_cut_by_another_instance_does_not_shrink_the_car() -> None:
    image, depth, instance = drawn()
    left, top, right, bottom = (int(v) for v in instance.box)
    post = np.zeros_like(instance.mask)
    post[top - 10 : bottom + 10, (left + right) // 2 : (left + right) // 2 + 12] = True
    behind = instance.mask & ~post
    cut = dataclasses.replace(instance, mask=behind, box=box_of_mask(behind))
    other = Instance(post, box_of_mask(post), "Pedestrian", 1.0, "pedestrian_02")
    hidden = np.where(post, 5.0, depth).astype(np.float32)
    prior = load_prior("car")
    scene = reconstruct(image, CAMERA, [cut, other], hidden, prior, QUICK, Run("post"))
    assert [o.name for o in scene.objects] == ["car_01"]
    assert pose_error(box_of(scene), TRUTH).iou > 0.7
    ((name, category, reason),) = scene.rejected
    assert (name, category) == ("pedestrian_02", "Pedestrian")
    assert "'Pedestrian' has no shape prior" in reason


def test_without_depth_the_size_prior_and_the_ground_place_the_car() -> None:
    image, _, instance = drawn()
    scene = reconstruct(image, CAMERA, [instance], None, load_prior("car"), QUICK, Run("no_depth"))
    assert pose_error(box_of(scene), TRUTH).centre < 0.12


def test_the_box_method_renders_nothing_and_stays_near() -> None:
    image, depth, instance = drawn()
    settings = dataclasses.replace(QUICK, method="box")
    scene = reconstruct(image, CAMERA, [instance], depth, load_prior("car"), settings, Run("box"))
    error = pose_error(box_of(scene), TRUTH)
    assert error.axis < 12.0
    assert error.centre < 0.05
    assert scene.objects[0].size == pytest.approx((3.88, 1.63, 1.53), abs=1e-4)
    assert scene.objects[0].pose.location[1] == pytest.approx(1.65, abs=1e-3)


def test_tilt_is_freed_only_when_asked() -> None:
    image, depth, instance = drawn()
    assert quick_scene().objects[0].pose.pitch == 0.0
    settings = dataclasses.replace(QUICK, tilt=True)
    scene = reconstruct(image, CAMERA, [instance], depth, load_prior("car"), settings, Run("tilt"))
    assert 0.0 < abs(scene.objects[0].pose.pitch) < math.radians(10)


def test_no_usable_instance_gives_an_empty_scene() -> None:
    image, depth, _ = drawn()
    scene = reconstruct(image, CAMERA, [], depth, load_prior("car"), QUICK)
    assert scene.objects == []
    assert scene.rejected == []


def test_a_fit_that_is_not_finite_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    solve = Solver.solve

    def broken(self: Solver, timings: dict[str, float]) -> list[ReconstructedObject]:
        first, second = solve(self, timings)
        return [dataclasses.replace(first, confidence=math.nan), second]

    monkeypatch.setattr(Solver, "solve", broken)
    image, depth, one = drawn()
    two = dataclasses.replace(one, name="car_02")
    settings = dataclasses.replace(QUICK, method="box")
    scene = reconstruct(image, CAMERA, [one, two], depth, load_prior("car"), settings, Run("one"))
    assert [item.name for item in scene.objects] == ["car_02"]
    (refused,) = scene.rejected
    assert refused.name == "car_01"
    assert refused.reason == "its fit is not finite (grid search finished)"
    scene.save(tmp_path)


def test_progress_is_told_every_iteration() -> None:
    image, depth, instance = drawn()
    steps: list[int] = []
    short = dataclasses.replace(
        QUICK, stages=(StageSettings(3, (32, 32), keep=8),), hypotheses=2, solver="adam"
    )
    run = Run("progress", progress=lambda done, terms: steps.append(done) or None)
    reconstruct(image, CAMERA, [instance], depth, load_prior("car"), short, run)
    assert steps == [1, 2, 3]


def test_weights_follow_from_how_far_masks_miss() -> None:
    assert LossWeights.of_masks(0.025) == LossWeights()
    fine = LossWeights.of_masks(0.01)
    assert (fine.silhouette, fine.box, fine.depth) == (100.0, 50.0, 1.0)
    with pytest.raises(InputError, match="mismatch is 2, expected 1 - IoU"):
        LossWeights.of_masks(2)


def test_the_objective_prints_its_formula() -> None:
    formula = repr(objective(ReconstructSettings(), DepthNoise(), ("body",), Road())(False))
    assert formula.startswith("40 * Silhouette(levels=3) + 20 * Box(margin=0.02) + Depth(")
    assert formula.endswith(
        "GroundContact(road=Road(height=1.65, slope=0.0, bank=0.0, near=0.1, bend=0.004, "
        "doubt=0.0145))"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((180, 400), np.uint8)}, r"image is uint8 of shape \(180, 400\)"),
        ({"image": np.zeros((90, 400, 3), np.uint8)}, r"camera.size is \(180, 400\)"),
        ({"depth": np.zeros((90, 400), np.float32)}, r"depth has shape \(90, 400\)"),
        ({"depth": np.full((180, 400), -1, np.float32)}, "negative, NaN or infinite"),
    ],
)
def test_inputs_that_do_not_fit_together_are_refused(
    change: dict[str, np.ndarray], message: str
) -> None:
    image, depth, instance = drawn()
    given = {"image": image, "depth": depth, **change}
    with pytest.raises(InputError, match=message):
        reconstruct(given["image"], CAMERA, [instance], given["depth"], load_prior("car"))


def test_golden_the_shipped_sample_agrees_with_its_truth() -> None:
    folder = sample_folder()
    image = read_image(folder / "image.jpg")
    camera = load_camera(folder / "calib.txt", (image.shape[0], image.shape[1]))
    depth = read_depth(folder / "depth.png", units_per_metre=256)
    instances, refused = load_instances(folder / "masks.png", image, depth=depth)
    assert refused == []
    run = Run("sample", depth_source="file")
    scene = reconstruct(image, camera, instances, depth, load_prior("car"), run=run)
    labels = load_labels(folder / "label.txt")
    assert len(scene.objects) == len(labels) == 5
    for found, label in zip(scene.objects, labels, strict=True):
        truth = np.array([*label.location, *label.size_lwh, label.rotation_y])
        error = pose_error(np.array([*found.pose.location, *found.size, found.yaw]), truth)
        assert error.centre < 0.06, found.name
        if label.occluded == 0:
            assert error.yaw < 10.0, found.name
            assert error.iou > 0.4, found.name
