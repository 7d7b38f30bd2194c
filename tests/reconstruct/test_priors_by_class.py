"""One image with a car, a pedestrian and a thing that nobody has named: each by its own prior."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_cars import seen_from

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct import (
    DepthNoise,
    ReconstructSettings,
    Run,
    Scene,
    StageSettings,
    iteration_limit,
    priors_by_class,
    reconstruct,
)
from diffrender.reconstruct.classes import (
    BY_CLASS,
    CLASS_SIZES,
    KITTI_SIZES,
    OTHER_SIZE,
    ClassPriors,
    depth_span,
    named_prior,
    sizes_of,
)
from diffrender.rotations import euler_to_matrix
from diffrender.shape_priors import load_prior

CAMERA = Camera.from_intrinsics(
    torch.tensor([[360.0, 0, 200], [0, 360, 80], [0, 0, 1]]), (180, 400), pixel_centres="half"
)
QUICK = ReconstructSettings(
    hypotheses=4,
    stages=(StageSettings(iterations=25, size=(40, 40), keep=4),),
    depth_noise=DepthNoise(relative=0.01, scale=0.01),
    texture_size=32,
)
# Class, prior, size, place of the bottom's centre, yaw.
THINGS = [
    ("Pedestrian", "pedestrian", (0.8, 0.55, 1.75), (-2.2, 1.65, 9.0), 0.0),
    ("Car", "car", (3.9, 1.65, 1.5), (1.5, 1.65, 12.0), -1.2),
    ("Hay_cart", "free", (2.6, 1.6, 1.8), (5.0, 1.65, 14.0), 0.4),
    ("Cyclist", "cyclist", (1.8, 0.6, 1.75), (-0.6, 1.65, 11.0), 1.0),
]


@cache
def drawn() -> tuple[np.ndarray, np.ndarray, list[Instance]]:
    meshes = []
    for _, name, size, place, yaw in THINGS:
        prior = load_prior(name)
        rotation = euler_to_matrix(*torch.tensor([yaw, 0.0, 0.0]))
        mesh = prior.mesh(torch.zeros(prior.latent_size), torch.tensor(size))
        meshes.append(mesh.transformed(rotation, torch.tensor(place)))
    depth, masks = seen_from(CAMERA, meshes)
    image = np.full((180, 400, 3), 120, np.uint8)
    instances = []
    for index, ((category, *_), mask) in enumerate(zip(THINGS, masks, strict=True)):
        image[mask] = (200 - 40 * index, 60 + 30 * index, 80)
        instances.append(Instance(mask, box_of_mask(mask), category, 0.9, f"{category}_{index}"))
    return image, depth, instances


@cache
def scene() -> tuple[Scene, list[int]]:
    image, depth, instances = drawn()
    steps: list[int] = []
    run = Run("mixed", progress=lambda done, terms: steps.append(done))
    return reconstruct(image, CAMERA, instances, depth, priors_by_class(), QUICK, run), steps


def test_every_class_comes_out_in_the_order_given() -> None:
    found, steps = scene()
    assert found.rejected == []
    assert [o.category for o in found.objects] == [category for category, *_ in THINGS]
    assert [len(o.latent) for o in found.objects] == [8, 8, 12, 8]
    parts = [len(load_prior(name).faces) for _, name, *_ in THINGS]
    assert [len(o.mesh.faces) for o in found.objects] == parts
    # Four groups, counted on.
    assert steps == list(range(1, 4 * iteration_limit(QUICK, CAMERA) + 1))
    assert {"box", "optimize", "texture", "total"} <= set(found.timings)


@pytest.mark.parametrize("index", range(4))
def test_each_stands_where_it_stands(index: int) -> None:
    found, truth = scene()[0].objects[index], THINGS[index]
    place, size = np.array(found.pose.location), np.array(found.size)
    assert np.abs(place - truth[3]).max() < 0.45
    assert np.abs(size - truth[2]).max() < 0.35 * max(truth[2])
    overlap = (found.silhouette & found.instance.mask).sum()
    assert overlap / (found.silhouette | found.instance.mask).sum() > 0.6


def test_one_prior_still_refuses_what_it_does_not_describe() -> None:
    image, depth, instances = drawn()
    settings = ReconstructSettings(method="box", texture_size=32)
    found = reconstruct(image, CAMERA, instances, depth, load_prior("car"), settings)
    assert [o.category for o in found.objects] == ["Car"]
    assert [r.category for r in found.rejected] == ["Pedestrian", "Hay_cart", "Cyclist"]
    assert "only Car, Van have" in found.rejected[0].reason
    own = {"Pedestrian": load_prior("pedestrian")}
    found = reconstruct(image, CAMERA, instances, depth, own, settings)
    assert [o.category for o in found.objects] == ["Pedestrian"]
    assert "only Pedestrian have" in found.rejected[0].reason


def test_classes_and_their_priors() -> None:
    priors = priors_by_class()
    names = {c: priors[c].name for c in ("Car", "Van", "Truck", "Pedestrian", "Cyclist", "Tram")}
    assert names == {
        "Car": "car", "Van": "car", "Truck": "car", "Pedestrian": "pedestrian",
        "Cyclist": "cyclist", "Tram": "free",
    }  # fmt: skip
    assert priors["Person_sitting"] is priors["Pedestrian"]
    assert "Bus" in priors and len(priors) == 6
    assert isinstance(named_prior(BY_CLASS), ClassPriors)
    with pytest.raises(InputError, match="no shape prior 'lorry'"):
        named_prior("lorry")
    neural = load_prior("car-autoencoder")
    assert priors_by_class(neural)["Van"] is neural


def test_sizes_of_classes() -> None:
    mine = {"Car": OTHER_SIZE}
    sizes = sizes_of(["Car", "Cyclist", "Bus"], mine)
    assert sizes == {"Car": OTHER_SIZE, "Cyclist": KITTI_SIZES["Cyclist"], "Bus": OTHER_SIZE}
    assert set(CLASS_SIZES) == {"Car", "Van"}
    assert depth_span("Car") == depth_span("Bus") == 5.0
    assert depth_span("Pedestrian") < 1.5
    assert depth_span("Tram") > 16


def test_a_truck_beside_the_camera_stops_no_frame(tmp_path: Path) -> None:
    mask = np.zeros(CAMERA.size, dtype=bool)
    mask[10:170, 150:400] = True
    truck = Instance(mask, box_of_mask(mask), "Truck", 1.0, "truck_01")
    image = np.full((*mask.shape, 3), 120, dtype=np.uint8)
    depth = np.where(mask, 1.0, 0.0).astype(np.float32)
    scene = reconstruct(image, CAMERA, [truck], depth, priors_by_class(), QUICK)
    (item,) = scene.objects
    assert item.pose.location[2] > 0
    scene.save(tmp_path)
