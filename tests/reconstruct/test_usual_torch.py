"""What a caller has set in torch, and how arrays and cameras were made, changes no result."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from drawn_cars import CAMERA
from test_reconstruct import box_of, drawn

from diffrender.errors import InputError
from diffrender.reconstruct import (
    DepthNoise,
    ReconstructSettings,
    Run,
    Scene,
    StageSettings,
    reconstruct,
)
from diffrender.reconstruct.classes import CLASS_SIZES
from diffrender.shape_priors import load_prior

STAGE = StageSettings(iterations=6, size=(24, 24), keep=2, parts=True)
SETTINGS = ReconstructSettings(
    stages=(STAGE,), hypotheses=2, depth_noise=DepthNoise(0.01, 0.01), texture_size=16
)


def solve(solver: Any = "adam", **changes: Any) -> Scene:
    image, depth, instance = drawn()
    given = {"image": image, "camera": CAMERA, "instances": [instance], "depth": depth}
    given |= {"prior": load_prior("car"), "run": Run("one")}
    settings = dataclasses.replace(SETTINGS, solver=solver)
    return reconstruct(**({"settings": settings} | given | changes))


@contextlib.contextmanager
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("solver", ["adam", "lm"])
@pytest.mark.parametrize(
    "around",
    [
        torch.no_grad,
        torch.inference_mode,
        double_by_default,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.device("meta"),
    ],
    ids=["no_grad", "inference_mode", "float64", "autocast", "device"],
)
def test_what_the_caller_has_set_changes_nothing(
    around: Callable[[], AbstractContextManager[Any]], solver: str
) -> None:
    prior = load_prior("car")
    expected = box_of(solve(solver))
    with around():
        before = torch.get_default_dtype(), torch.is_grad_enabled(), torch.empty(1).device
        scene = solve(solver, prior=prior)
        after = torch.get_default_dtype(), torch.is_grad_enabled(), torch.empty(1).device
    assert before == after
    assert np.array_equal(box_of(scene), expected)


def test_constants_made_in_inference_mode_or_with_a_gradient_serve() -> None:
    expected = box_of(solve())
    with torch.inference_mode():
        made = [load_prior("car"), load_prior("car-autoencoder")]
    assert np.array_equal(box_of(solve(prior=made[0])), expected)
    assert len(solve(prior=made[1]).objects) == 1
    leaf = CAMERA.intrinsics.clone().requires_grad_()
    scene = solve(camera=dataclasses.replace(CAMERA, intrinsics=leaf))
    assert np.array_equal(box_of(scene), expected)
    double = load_prior("car").to(torch.float64)
    assert np.allclose(box_of(solve(prior=double)), expected)


def test_arrays_that_cannot_be_written_to_give_no_warning() -> None:
    expected = box_of(solve())
    image, depth, instance = (drawn()[0].copy(), drawn()[1].copy(), drawn()[2])
    mask = instance.mask.copy()
    for array in (image, depth, mask):
        array.flags.writeable = False
    torch.set_warn_always(True)  # else torch says it once in a process
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            locked = dataclasses.replace(instance, mask=mask)
            scene = solve(image=image, depth=depth, instances=[locked])
    finally:
        torch.set_warn_always(False)
    assert np.array_equal(box_of(scene), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"camera": CAMERA.expand(1)}, r"camera is a batch of shape \(1,\), expected a single one"),
        ({"depth": torch.zeros(180, 400)}, "depth is a Tensor, expected a numpy array"),
        ({"image": torch.zeros(180, 400, 3)}, "image is a Tensor, expected a numpy array"),
        ({"run": Run("one", device="gpu0")}, "device is 'gpu0', expected 'cpu'"),
    ],
)
def test_what_is_no_single_image_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(**change)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("intrinsics", torch.diag(torch.tensor([420.0, 420.0, 2.0])), "camera.intrinsics is"),
        ("intrinsics", torch.diag(torch.tensor([-420.0, 420.0, 1.0])), "positive focal lengths"),
        ("rotation", torch.diag(torch.tensor([-1.0, 1.0, 1.0])), "expected a rotation matrix"),
        ("translation", torch.tensor([math.nan, 0.0, 0.0]), "camera.translation is"),
    ],
)
def test_a_camera_that_is_none_is_refused(name: str, value: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve(camera=dataclasses.replace(CAMERA, **{name: value}))


def test_sizes_may_be_any_mapping() -> None:
    sizes = MappingProxyType(dict(CLASS_SIZES))
    scene = solve(settings=dataclasses.replace(SETTINGS, class_sizes=sizes))
    assert scene.settings["class_sizes"]["Car"]["mean"] == CLASS_SIZES["Car"].mean


@pytest.mark.parametrize("solver", ["adam", "lm"])
def test_one_rigid_shape_without_texture_coordinates_is_a_prior(solver: str, tmp_path: Any) -> None:
    prior = load_prior("car")
    rigid = dataclasses.replace(prior, basis=prior.basis[:0], uv=None, face_uv=None)
    scene = solve(solver, prior=rigid)
    (item,) = scene.objects
    assert item.latent == ()
    assert item.mesh.texture is None
    written = {path.name for path in scene.save(tmp_path)}
    assert {"car_01.glb", "car_01.obj"} <= written
    assert "car_01.mtl" not in written


def test_a_mirrored_mask_serves() -> None:
    _, _, instance = drawn()
    mirrored = dataclasses.replace(instance, mask=instance.mask[::-1].copy()[::-1])
    assert mirrored.mask.strides[0] < 0
    plain, other = solve(), solve(instances=[mirrored])
    assert plain.objects[0].pose == other.objects[0].pose


def test_what_ran_is_what_is_kept() -> None:
    """Settings that leave the choice open are kept with what was chosen."""
    scene = solve("auto", settings=dataclasses.replace(SETTINGS, depth_noise=None))
    assert scene.settings["solver"] == "lm"
    assert scene.settings["depth_noise"]["scale"] > 0
    assert scene.settings["start"] == {"Car": "box fits"}
    assert scene.settings["start_stages"] == {"box fits": [dataclasses.asdict(STAGE)]}
