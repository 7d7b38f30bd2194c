"""The main job: one image with masks and depth in, a scene of posed textured meshes out."""

from __future__ import annotations

import dataclasses
import platform
import time
from dataclasses import dataclass, field

import numpy as np

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import Instance, Rejected
from diffrender.native import small_tensors
from diffrender.reconstruct.noise import depth_noise_of
from diffrender.reconstruct.observations import observe
from diffrender.reconstruct.optimizer import Progress
from diffrender.reconstruct.scene import ReconstructedObject, Scene
from diffrender.reconstruct.settings import ReconstructSettings
from diffrender.reconstruct.solver import Solver
from diffrender.reconstruct.starting import Starter
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
        start: gives the first hypotheses, such as a `predict.PredictorStart`; None is the box fit.
    """

    name: str = "image"
    depth_source: str = "none"
    device: str = "cpu"
    seed: int = 0
    rejected: tuple[Rejected, ...] = field(default=())
    progress: Progress | None = None
    start: Starter | None = None


def reconstruct(
    image: np.ndarray,  # (H, W, 3)
    camera: Camera,
    instances: list[Instance],
    depth: np.ndarray | None,  # (H, W)
    prior: ShapePrior,
    settings: ReconstructSettings | None = None,
    run: Run | None = None,
) -> Scene:
    """Fit pose, size, shape and texture of every instance in one image.

    Args:
        image: uint8 RGB.
        camera: of that image; its world frame is the frame of the poses (KITTI's camera 0).
        instances: masks with classes, 2D boxes and scores.
        depth: metres, 0 = unknown, or None (then size and ground alone say how far things are).
        prior: shape prior of the class.

    Returns:
        A Scene. An instance that cannot be used is in `scene.rejected` with its reason and never
        stops the others.

    Raises:
        InputError: image, camera and depth do not fit together.
    """
    settings, run = settings or ReconstructSettings(), run or Run()
    started = time.perf_counter()
    _check(image, camera, depth)
    rejected = list(run.rejected)
    usable: list[Instance] = []
    for instance in instances:
        if instance.category in settings.class_sizes:
            usable.append(instance)
        else:
            known = ", ".join(settings.class_sizes)
            reason = f"the class {instance.category!r} has no shape prior here, only {known} have"
            rejected.append(Rejected(instance.name, instance.category, reason))
    observations, refused = observe(usable, instances, camera, depth)
    rejected += [Rejected(i.name, i.category, reason) for i, reason in refused]
    timings = {"observe": time.perf_counter() - started}

    objects: list[ReconstructedObject] = []
    if observations:
        noise = settings.depth_noise or depth_noise_of(run.depth_source)
        solver = Solver(
            image, camera, depth, prior, settings, run.device, run.progress, noise, observations,
            run.start,
        )  # fmt: skip
        with small_tensors():
            objects = solver.solve(timings)
    timings["total"] = time.perf_counter() - started
    return Scene(
        name=run.name,
        image=image,
        camera=camera,
        objects=objects,
        rejected=rejected,
        depth=depth,
        depth_source=run.depth_source,
        settings=dataclasses.asdict(settings) | _start_name(run),
        timings=timings,
        versions=_versions(),
        seed=run.seed,
    )


def _check(image: np.ndarray, camera: Camera, depth: np.ndarray | None) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"image is {image.dtype} of shape {image.shape}, expected (H, W, 3) uint8 RGB"
        )
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


def _start_name(run: Run) -> dict[str, str]:
    return {} if run.start is None else {"start": run.start.name}


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("diffrender", "torch", "numpy", "opencv-python", "kornia", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
