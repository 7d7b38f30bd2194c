"""Basins of attraction: from how far away a technique's gradient finds the pose of a car.

The basin is that of the technique's own picture: a blurred technique seeks its own blurred target.
How far its best pose lies from the truth where the target is a sharp picture is another question,
its bias, and one descent from the truth answers it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.evaluate.pictures import stacked
from diffrender.catalogue.evaluate.reference import supersampled
from diffrender.catalogue.registry import Technique
from diffrender.catalogue.scene import Scene, as_triangles
from diffrender.catalogue.standard import car_scene, look_at
from diffrender.errors import InputError

__all__ = [
    "BasinSettings",
    "Level",
    "Start",
    "Trial",
    "bias_of",
    "find_pose",
    "levels_of",
    "posed",
    "starts",
]


@dataclass(frozen=True)
class BasinSettings:
    """One schedule for all techniques: none is tuned.

    Attributes:
        size: (height, width) of the picture.
        steps: of Adam. Its step sizes fall along a half cosine.
        yaw_step: first step in radians; the steps add up to some 90 degrees.
        shift_step: first step as a share of the car's length; they add up to some 70 %.
        yaw_errors: degrees about the vertical.
        shift_errors: shares of the car's length.
        trials: starts a level: both signs of a turn, and random directions of a shift.
        within_degrees, within_shift: where a pose counts as recovered. Two degrees and two
            percent of the length move an outline by less than half a pixel at this size.
    """

    size: tuple[int, int] = (36, 48)
    steps: int = 60
    yaw_step: float = 0.05
    shift_step: float = 0.025
    yaw_errors: tuple[float, ...] = (5, 10, 20, 30, 45, 60)
    shift_errors: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5)
    trials: int = 4
    within_degrees: float = 2.0
    within_shift: float = 0.02


@dataclass(frozen=True)
class Start:
    """Where a descent starts.

    Attributes:
        kind: "yaw" or "shift" towards the technique's own picture, or "bias": from the truth
            towards the sharp one.
        error: degrees, or a share of the car's length.
        trial: number of the start at this level.
        yaw: radians about the vertical.
        shift: (3,) camera frame, shares of the car's length.
    """

    kind: str
    error: float
    trial: int
    yaw: float
    shift: tuple[float, float, float]


@dataclass(frozen=True)
class Trial:
    """How a descent ended.

    Attributes:
        kind, error, trial: of its start.
        degrees: left between the headings.
        shift: distance left, as a share of the car's length.
        recovered: both are small enough.
        seconds: of the whole descent, without preparing.
    """

    kind: str
    error: float
    trial: int
    degrees: float
    shift: float
    recovered: bool
    seconds: float


@dataclass(frozen=True)
class Level:
    """Trials from one distance: how many, and the share that was recovered."""

    kind: str
    error: float
    trials: int
    rate: float


def starts(settings: BasinSettings) -> Iterator[Start]:
    """All starts, every level once before any comes twice: a part of them is a fair part."""
    yield Start("bias", 0.0, 0, 0.0, (0.0, 0.0, 0.0))
    generator = torch.Generator().manual_seed(7)
    for trial in range(settings.trials):
        direction = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
        sign = 1 if trial % 2 == 0 else -1
        for error in settings.yaw_errors:
            # The second pair of turns starts a little lower and further, with its own noise.
            aside = 0.02 * (trial // 2) * direction
            yield Start("yaw", error, trial, sign * math.radians(error), _three(aside))
        for error in settings.shift_errors:
            yield Start("shift", error, trial, 0.0, _three(error * direction))


def find_pose(
    technique: Technique, start: Start, settings: BasinSettings, prepared: Scene | None = None
) -> Trial:
    """One descent on the mean squared difference of image and silhouette, by Adam.

    The target is the technique's own picture of the car at its true pose; for a start of kind
    "bias" it is the supersampled hard picture, the same for all. The car is prepared once; its
    pose is taken through the camera: yaw and three translations.

    Args:
        prepared: what `technique.prepare(car_scene())` returned, if that is at hand.
    """
    scene = car_scene()
    length, camera = _length(scene), _camera(settings.size)
    prepared = technique.prepare(scene) if prepared is None else prepared
    target = _target(technique, prepared, scene, camera, sharp=start.kind == "bias")
    yaw = torch.tensor(start.yaw, requires_grad=True)
    shift = torch.tensor(start.shift, requires_grad=True)
    adam = torch.optim.Adam([
        {"params": [yaw], "lr": settings.yaw_step}, {"params": [shift], "lr": settings.shift_step}
    ])  # fmt: skip
    # Down to a fiftieth of the first step: a tenth of a degree.
    decay = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: 0.02 + 0.49 * (1 + math.cos(math.pi * step / settings.steps))
    )
    began = time.perf_counter()
    for _ in range(settings.steps):
        drawn = technique.render(prepared, posed(camera, yaw, shift * length))
        loss = (drawn.image - target[..., :3]).square().mean()
        loss = loss + (drawn.silhouette - target[..., 3]).square().mean()
        if not loss.requires_grad:
            break  # nothing pulls: the start is where it ends
        adam.zero_grad()
        loss.backward()
        for value in (yaw, shift):
            if value.grad is not None:
                value.grad.nan_to_num_(0.0, 0.0, 0.0)
        adam.step()
        decay.step()
    seconds = time.perf_counter() - began
    turned = math.remainder(yaw.item(), 2 * math.pi)
    degrees, left = abs(math.degrees(turned)), shift.detach().norm().item()
    good = degrees <= settings.within_degrees and left <= settings.within_shift
    return Trial(start.kind, start.error, start.trial, degrees, left, good, seconds)


def levels_of(trials: list[Trial]) -> list[Level]:
    """Rates by kind and error, in the order of their first trial; the bias is none of them."""
    groups: dict[tuple[str, float], list[Trial]] = {}
    for trial in trials:
        if trial.kind == "bias":
            continue
        groups.setdefault((trial.kind, trial.error), []).append(trial)
    return [
        Level(kind, error, len(group), sum(t.recovered for t in group) / len(group))
        for (kind, error), group in groups.items()
    ]


def bias_of(trials: list[Trial]) -> Trial | None:
    """Where the descent from the truth on a sharp picture ended, if it was made."""
    return next((trial for trial in trials if trial.kind == "bias"), None)


def posed(camera: Camera, yaw: Tensor, shift: Tensor) -> Camera:  # (), (3,)
    """The camera that sees an object at the origin turned by `yaw` and shifted by `shift`.

    yaw: radians about the world's vertical. shift: metres in the camera frame. Differentiable to
    both.
    """
    one, none = torch.ones_like(yaw), torch.zeros_like(yaw)
    turn = torch.stack(
        [yaw.cos(), none, yaw.sin(), none, one, none, -yaw.sin(), none, yaw.cos()]
    ).view(3, 3)
    return Camera(
        camera.intrinsics, camera.rotation @ turn, camera.translation + shift, camera.size
    )


def _target(
    technique: Technique, prepared: Scene, scene: Scene, camera: Camera, *, sharp: bool
) -> Tensor:
    """(H, W, 4) image and silhouette that are sought."""
    if sharp:
        return supersampled(scene, camera)
    with torch.no_grad():
        return stacked(technique.render(prepared, camera))


def _camera(size: tuple[int, int]) -> Camera:
    return look_at(torch.tensor([0.6, -2.2, -7.2]), torch.zeros(3), size)


def _length(scene: Scene) -> float:
    """Of the car: the longest distance between its ends, seen from above, metres."""
    flat = as_triangles(scene).vertices[:, [0, 2]]
    if not len(flat):
        raise InputError("the scene is empty")
    return torch.cdist(flat, flat).max().item()


def _three(shift: Tensor) -> tuple[float, float, float]:
    x, y, z = shift.tolist()
    return x, y, z
