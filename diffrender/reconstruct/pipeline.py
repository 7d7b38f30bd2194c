"""The main job: one image with masks and depth in, a scene of posed textured meshes out."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import Instance
from diffrender.losses import (
    Box,
    Depth,
    GroundContact,
    LatentPrior,
    Loss,
    Photometric,
    Silhouette,
    SizePrior,
)
from diffrender.raster import rasterize
from diffrender.reconstruct.box_fit import BoxFit, BoxFitSettings, fit_boxes
from diffrender.reconstruct.crops import Crops, crop_evidence
from diffrender.reconstruct.hypotheses import Hypotheses, start_hypotheses
from diffrender.reconstruct.noise import depth_noise_of
from diffrender.reconstruct.observations import DepthNoise, Observation, observe
from diffrender.reconstruct.optimizer import Fit, Problem, explore
from diffrender.reconstruct.palette import part_colour
from diffrender.reconstruct.scene import Pose, ReconstructedObject, RejectedObject, Scene
from diffrender.reconstruct.settings import ReconstructSettings
from diffrender.reconstruct.texture import bake_texture
from diffrender.rotations import wrap_angle
from diffrender.shape_priors import ShapePrior, default_texture

__all__ = ["Run", "objective", "reconstruct"]

Progress = Callable[[int, dict[str, float]], None]


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
    """

    name: str = "image"
    depth_source: str = "none"
    device: str = "cpu"
    seed: int = 0
    rejected: tuple[RejectedObject, ...] = field(default=())
    progress: Progress | None = None


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
            rejected.append(RejectedObject(instance.name, instance.category, reason))
    observations, refused = observe(usable, instances, camera, depth)
    rejected += [RejectedObject(i.name, i.category, reason) for i, reason in refused]
    timings = {"observe": time.perf_counter() - started}

    objects: list[ReconstructedObject] = []
    if observations:
        noise = settings.depth_noise or depth_noise_of(run.depth_source)
        solver = _Solver(image, camera, depth, prior, settings, run, noise, observations)
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
        settings=dataclasses.asdict(settings),
        timings=timings,
        versions=_versions(),
        seed=run.seed,
    )


def objective(settings: ReconstructSettings, noise: DepthNoise, part_names: tuple[str, ...]) -> Callable[[bool], Loss]:
    """The loss of a stage, without or with the photometric term. `repr` prints its formula."""
    w = settings.weights
    loss = (
        w.silhouette * Silhouette()
        + w.box * Box()
        + w.depth * Depth(noise.scale)
        + w.size * SizePrior()
        + w.latent * LatentPrior()
    )
    if settings.ground:
        loss = loss + w.ground * GroundContact(settings.camera_height)
    colours = [part_colour(name) for name in part_names]
    photometric = Photometric(tuple(c.mean for c in colours), tuple(c.spread for c in colours))
    with_parts = loss + w.photometric * photometric
    return lambda parts: with_parts if parts else loss


@dataclass(frozen=True)
class _Solver:
    """One image's worth of state, so that the steps below read as sentences."""

    image: np.ndarray
    camera: Camera
    depth: np.ndarray | None
    prior: ShapePrior
    settings: ReconstructSettings
    run: Run
    noise: DepthNoise
    observations: list[Observation]

    def solve(self, timings: dict[str, float]) -> list[ReconstructedObject]:
        clock = time.perf_counter()
        fits = [self._box_fit(o) for o in self.observations]
        timings["box"] = time.perf_counter() - clock
        clock = time.perf_counter()
        if self.settings.method == "box":
            fit = self._box_only(fits)
        else:
            fit = self._optimize(fits)
        timings["optimize"] = time.perf_counter() - clock
        clock = time.perf_counter()
        seconds = (timings["box"] + timings["optimize"]) / len(self.observations)
        objects = [self._finish(i, fit, seconds) for i in range(len(self.observations))]
        timings["texture"] = time.perf_counter() - clock
        return objects

    def _box_fit(self, observation: Observation) -> BoxFit:
        size = self.settings.class_sizes[observation.instance.category].mean
        height = self.settings.camera_height
        return fit_boxes(observation, self.camera, BoxFitSettings(size, camera_height=height))

    def _class_sizes(self) -> tuple[Tensor, Tensor]:
        sizes = [self.settings.class_sizes[o.instance.category] for o in self.observations]
        return torch.tensor([s.mean for s in sizes]), torch.tensor([s.sigma for s in sizes])

    def _problem(self) -> Problem:
        device = self.run.device
        boxes = torch.tensor(np.stack([o.mask_box for o in self.observations])).float()
        cache: dict[tuple[int, int], Crops] = {}

        def crops(size: tuple[int, int]) -> Crops:
            if size not in cache:
                made = crop_evidence(
                    self.observations, self.image, self.depth, self.camera, self.noise, size,
                    self._class_sizes(),
                )  # fmt: skip
                cache[size] = made.to(device)
            return cache[size]

        return Problem(
            prior=self.prior.to(device),
            camera=self.camera.to(torch.float32).to(device),
            boxes=boxes.to(device),
            crops=crops,
            loss=objective(self.settings, self.noise, tuple(self.prior.part_names)),
            settings=self.settings,
        )

    def _start(self, fits: list[BoxFit], count: int) -> Hypotheses:
        return start_hypotheses(
            self.observations, fits, self.camera, count, self._class_sizes()[0], self.prior.latent_size
        )

    def _optimize(self, fits: list[BoxFit]) -> Fit:
        start = self._start(fits, self.settings.hypotheses).to(self.run.device)
        return explore(self._problem(), start, self.run.progress)

    def _box_only(self, fits: list[BoxFit]) -> Fit:
        """The baseline's boxes as they stand, dressed in the mean shape."""
        start = self._start(fits, 1)
        # The baseline's box stands on the flat road, wherever the mask's rows say it is.
        bottoms = torch.tensor(np.stack([f.location[f.best] for f in fits]))
        lift = self._class_sizes()[0][:, 2:].double() / 2
        centres = bottoms - torch.cat([torch.zeros_like(lift), lift, torch.zeros_like(lift)], dim=1)
        boxes = torch.tensor(np.stack([o.mask_box for o in self.observations]))
        pixel, z = self.camera.to(torch.float64).project(centres)
        offset = (pixel - (boxes[:, :2] + boxes[:, 2:]) / 2) / (boxes[:, 2:] - boxes[:, :2])
        start = dataclasses.replace(start, offset=offset.float(), log_depth=z.log().float())
        cost = torch.tensor([float(f.cost.min()) for f in fits])
        history = [[{"total": c}] for c in cost.tolist()]
        reason = ["grid search finished"] * len(fits)
        return Fit(start, {"total": cost}, history, reason)

    def _finish(self, index: int, fit: Fit, seconds: float) -> ReconstructedObject:
        observation = self.observations[index]
        hypothesis = fit.hypotheses[torch.tensor([index])].to("cpu")
        hypothesis = dataclasses.replace(hypothesis, owner=torch.zeros(1, dtype=torch.int64))
        box = torch.tensor(observation.mask_box).float()[None]
        camera = self.camera.to(torch.float32)
        rotation, location, size = (v[0] for v in hypothesis.pose(camera, box))
        yaw, pitch, roll = hypothesis.angles[0].tolist()
        pose = Pose(
            location=_triple(location),
            size=_triple(size),
            yaw=float(wrap_angle(torch.tensor(yaw))),
            pitch=pitch,
            roll=roll,
        )
        prior = self.prior.to("cpu")
        mesh = prior.mesh(hypothesis.latent[0], size)
        drawn = rasterize(mesh.transformed(rotation, location), camera)
        silhouette = (drawn.face[..., 0] >= 0).numpy()
        texture = bake_texture(
            mesh, (rotation, location), camera, self.image, observation.instance.mask,
            default_texture(prior, resolution=self.settings.texture_size),
        )  # fmt: skip
        confidence = self._confidence(observation, silhouette, drawn.depth[..., 0].numpy())
        return ReconstructedObject(
            instance=observation.instance,
            pose=pose,
            mesh=dataclasses.replace(mesh, texture=texture),
            latent=tuple(hypothesis.latent[0].tolist()),
            confidence=confidence,
            stop_reason=fit.stop_reason[index],
            losses={k: float(v[index]) for k, v in fit.terms.items()},
            history=fit.history[index],
            silhouette=silhouette,
            seconds=seconds,
        )

    def _confidence(
        self, observation: Observation, silhouette: np.ndarray, drawn_depth: np.ndarray
    ) -> float:
        """Mask IoU (outside other instances) x depth agreement x 2D score."""
        mask = observation.instance.mask
        hidden = np.zeros_like(mask)
        for other in self.observations:
            if other is not observation:
                hidden |= other.instance.mask
        care = ~hidden | mask
        either = int(((silhouette | mask) & care).sum())
        agreement = int((silhouette & mask).sum()) / max(either, 1)
        if self.depth is not None:
            both = silhouette & mask & (self.depth > 0)
            if both.any():
                gap = np.abs(drawn_depth[both] - self.depth[both])
                # A car's own length over its depth is what a wrong depth costs.
                agreement *= float(np.exp(-np.median(gap) / (0.05 * np.median(self.depth[both]) + 0.2)))
        return float(np.clip(agreement * observation.instance.score, 0.0, 1.0))


def _triple(value: Tensor) -> tuple[float, float, float]:
    x, y, z = value.tolist()
    return (x, y, z)


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
        raise InputError("depth holds negative, NaN or infinite values, expected metres, 0 = unknown")


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in ("diffrender", "torch", "numpy", "opencv-python", "kornia", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
