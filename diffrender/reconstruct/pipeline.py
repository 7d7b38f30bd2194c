"""The main job: one image with masks and depth in, a scene of posed textured meshes out."""

from __future__ import annotations

import dataclasses
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from diffrender._devices import pick_device
from diffrender.cameras import Camera
from diffrender.depth import find_road
from diffrender.errors import InputError
from diffrender.instances import Instance, Rejected
from diffrender.native import small_tensors
from diffrender.reconstruct.classes import sizes_of
from diffrender.reconstruct.noise import depth_noise_of
from diffrender.reconstruct.observations import DepthNoise, Observation, observe
from diffrender.reconstruct.optimizer import Progress
from diffrender.reconstruct.scene import ReconstructedObject, Scene
from diffrender.reconstruct.settings import ReconstructSettings
from diffrender.reconstruct.solver import Solver
from diffrender.reconstruct.solver_choice import solver_name
from diffrender.reconstruct.starting import Starter, followed
from diffrender.reconstruct.usual import usual_camera, usual_prior, usual_torch
from diffrender.road import Road
from diffrender.shape_priors import ShapePrior

__all__ = ["Run", "reconstruct"]


@dataclass(frozen=True)
class Run:
    """What a run is called and where it computes.

    Attributes:
        name: of the frame; names the KITTI file.
        depth_source: "lidar", a network's or a file's name; decides what to believe of the depth.
        device: "cpu" or "cuda".
        seed: kept with the result. The optimizer itself draws nothing at random.
        rejected: instances that were refused while they were read.
        progress: called once per iteration with the iterations done and the mean loss terms.
        start: gives the first hypotheses, such as a `predict.PredictorStart`; None is the box fit,
            which also starts objects whose prior the start does not serve, where there is one prior
            by class or the start goes beside box fits. `scene.settings["start"]` says it by class,
            "start_stages" which stages followed which start.
    """

    name: str = "image"
    depth_source: str = "none"
    device: str = "cpu"
    seed: int = 0
    rejected: tuple[Rejected, ...] = field(default=())
    progress: Progress | None = None
    start: Starter | None = None


@usual_torch()
def reconstruct(
    image: np.ndarray,  # (H, W, 3)
    camera: Camera,
    instances: list[Instance],
    depth: np.ndarray | None,  # (H, W)
    prior: ShapePrior | Mapping[str, ShapePrior],
    settings: ReconstructSettings | None = None,
    run: Run | None = None,
) -> Scene:
    """Fit pose, size, shape and texture of every instance in one image.

    Args:
        image: uint8 RGB.
        camera: of that image, a single one; its world frame is the frame of the poses (KITTI's
            camera 0).
        instances: masks with classes, 2D boxes and scores.
        depth: metres, 0 = unknown, or None (then size and ground alone say how far things are).
        prior: one shape prior for all classes in `settings.class_sizes`, or one by class, such
            as `priors_by_class()`; objects that share a prior are fitted together. A class whose
            size the settings do not know then has KITTI's average.

    Returns:
        A Scene, without a gradient to anything. An instance that cannot be used is in
        `scene.rejected` with its reason and never stops the others.

    Raises:
        InputError: image, camera and depth do not fit together, or the device is not there.
    """
    settings, run = settings or ReconstructSettings(), run or Run()
    started = time.perf_counter()
    _check(image, camera, depth)
    pick_device(run.device)
    # torch warns of arrays that cannot be written to, such as those that Pillow hands out, and
    # takes none with a negative stride, such as a mirrored picture.
    image = np.require(image, requirements=["C", "W"])
    instances = [_writable(instance) for instance in instances]
    camera = usual_camera(camera)
    rejected = list(run.rejected)
    if isinstance(prior, Mapping):
        given = [i.category for i in instances if i.category in prior]
        settings = dataclasses.replace(settings, class_sizes=sizes_of(given, settings.class_sizes))
    known = prior if isinstance(prior, Mapping) else settings.class_sizes
    usable: list[Instance] = []
    for instance in instances:
        if instance.category in known:
            usable.append(instance)
        else:
            names = ", ".join(known)
            reason = f"the class {instance.category!r} has no shape prior here, only {names} have"
            rejected.append(Rejected(instance.name, instance.category, reason))
    observations, refused = observe(usable, instances, camera, depth)
    rejected += [Rejected(i.name, i.category, reason) for i, reason in refused]
    noise = settings.depth_noise or depth_noise_of(run.depth_source)
    road = _road(settings, noise, camera, instances, depth)
    fitting = tuple(one for one in instances if one.mask.shape == image.shape[:2])
    timings = {"observe": time.perf_counter() - started}

    found: dict[int, ReconstructedObject] = {}
    begun: dict[str, str] = {}
    stages: dict[str, list[dict[str, Any]]] = {}
    counter = None if run.progress is None else _Counter(run.progress)
    for given_prior, indices in _by_prior(observations, prior):
        own = usual_prior(given_prior)
        members = [observations[i] for i in indices]
        start = run.start if settings.method == "render" else None
        if start is not None and not start.serves(own):
            # One prior that the start cannot serve is its caller's mistake, which the start names.
            replaceable = start.beside_box_fits or isinstance(prior, Mapping)
            start = None if replaceable else start
        name = "box fits" if start is None else start.name
        begun.update((o.instance.category, name) for o in members)
        chosen = followed(settings, start)
        stages[name] = [dataclasses.asdict(stage) for stage in chosen.stages]
        solver = Solver(
            image, camera, depth, own, chosen, run.device, counter, noise, road, members,
            fitting, start,
        )  # fmt: skip
        spent: dict[str, float] = {}
        with small_tensors():
            found.update(zip(indices, solver.solve(spent), strict=True))
        for name, seconds in spent.items():
            timings[name] = timings.get(name, 0.0) + seconds
        if counter is not None:
            counter.close_group()
    objects = []
    for item in (found[i] for i in range(len(observations))):
        if _is_finite(item):
            objects.append(item)
        else:
            reason = f"its fit is not finite ({item.stop_reason})"
            rejected.append(Rejected(item.name, item.category, reason))
    timings["total"] = time.perf_counter() - started
    return Scene(
        name=run.name,
        image=image,
        camera=camera,
        objects=objects,
        rejected=rejected,
        depth=depth,
        depth_source=run.depth_source,
        settings=_resolved(settings, noise, camera.to(run.device))
        | {"start": begun, "start_stages": stages},
        timings=timings,
        versions=_versions(),
        seed=run.seed,
        road=road,
    )


def _resolved(settings: ReconstructSettings, noise: DepthNoise, camera: Camera) -> dict[str, Any]:
    """The settings as values, with what was chosen where they leave it open."""
    solver = solver_name(settings.solver, camera, settings.silhouette)
    return dataclasses.asdict(settings) | {
        "depth_noise": dataclasses.asdict(noise), "solver": solver
    }  # fmt: skip


def _road(
    settings: ReconstructSettings,
    noise: DepthNoise,
    camera: Camera,
    instances: list[Instance],
    depth: np.ndarray | None,
) -> Road | None:
    """What the objects stand on: for the baseline a flat road, which is not looked for."""
    if settings.ground is None:
        return None
    found = None
    if settings.ground == "found" and settings.method == "render" and depth is not None:
        fitting = [i for i in instances if i.mask.shape == depth.shape]
        found = find_road(
            depth, camera, fitting, camera_height=settings.camera_height,
            scale=noise.scale, correlation=noise.correlation,
        )  # fmt: skip
    return found or Road(settings.camera_height)


def _by_prior(
    observations: list[Observation], prior: ShapePrior | Mapping[str, ShapePrior]
) -> list[tuple[ShapePrior, list[int]]]:
    """Priors in the order of their first object, each with the numbers of its objects."""
    groups: dict[int, tuple[ShapePrior, list[int]]] = {}
    for index, observation in enumerate(observations):
        own = prior[observation.instance.category] if isinstance(prior, Mapping) else prior
        groups.setdefault(id(own), (own, []))[1].append(index)
    return list(groups.values())


class _Counter:
    """The same report with the iterations of earlier groups counted in."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._before, self._last = progress, 0, 0

    def __call__(self, step: int, terms: dict[str, float]) -> None:
        self._last = self._before + step
        self._progress(self._last, terms)

    def close_group(self) -> None:
        self._before = self._last


def _check(image: np.ndarray, camera: Camera, depth: np.ndarray | None) -> None:
    for name, array in (("image", image), ("depth", depth)):
        if array is not None and not isinstance(array, np.ndarray):
            raise InputError(
                f"{name} is a {type(array).__name__}, expected a numpy array: convert it"
            )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"image is {image.dtype} of shape {image.shape}, expected (H, W, 3) uint8 RGB"
        )
    if camera.batch_shape:
        raise InputError(
            f"camera is a batch of shape {tuple(camera.batch_shape)}, expected a single one: "
            "index it, such as camera[0]"
        )
    _check_pinhole(camera)
    if tuple(camera.size) != image.shape[:2]:
        raise InputError(
            f"camera.size is {tuple(camera.size)}, the image is {image.shape[:2]} (height, width): "
            "use the calibration of this image, or Camera.resize"
        )
    if depth is not None and depth.shape != image.shape[:2]:
        raise InputError(
            f"depth has shape {depth.shape}, the image is {image.shape[:2]}: resize the depth map"
        )
    if depth is not None and not (np.isfinite(depth).all() and (depth >= 0).all()):
        raise InputError(
            "depth holds negative, NaN or infinite values, expected metres with 0 = unknown"
        )


def _check_pinhole(camera: Camera) -> None:
    k, rotation = (value.detach().cpu().double() for value in (camera.intrinsics, camera.rotation))
    rows = k.tolist()
    form = rows[2] == [0, 0, 1] and rows[1][0] == 0 and rows[0][0] > 0 and rows[1][1] > 0
    if not (form and bool(torch.isfinite(k).all())):
        raise InputError(
            f"camera.intrinsics is {rows}, expected finite numbers: positive focal lengths, 0 "
            "below the diagonal, and 1 as the last"
        )
    turned = rotation @ rotation.mT - torch.eye(3, dtype=torch.float64)
    if not (bool((turned.abs() < 1e-3).all()) and bool(torch.linalg.det(rotation) > 0)):
        raise InputError(f"camera.rotation is {rotation.tolist()}, expected a rotation matrix")
    if not bool(torch.isfinite(camera.translation).all()):
        raise InputError(f"camera.translation is {camera.translation.tolist()}, expected metres")


def _is_finite(item: ReconstructedObject) -> bool:
    pose = item.pose
    numbers = [*pose.location, *pose.size, pose.yaw, pose.pitch, pose.roll, item.confidence]
    return all(map(math.isfinite, numbers)) and bool(torch.isfinite(item.mesh.vertices).all())


def _writable(instance: Instance) -> Instance:
    mask = np.require(instance.mask, requirements=["C", "W"])
    return instance if mask is instance.mask else dataclasses.replace(instance, mask=mask)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("diffrender", "torch", "numpy", "opencv-python", "kornia", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
