"""The render-free baseline: a mean-size box on a flat road, fitted to depth points and the mask.

Also the optimizer's first hypotheses. For every yaw of a grid the box slides over the road; its
cost is how far the object's depth points lie from the faces that the camera sees, plus how far
the projected box's sides lie from the mask's, both in metres at the object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.reconstruct.observations import Observation
from diffrender.road import CAMERA_HEIGHT

__all__ = ["BoxFit", "BoxFitSettings", "fit_boxes"]

_NEAREST = 0.5  # metres ahead of the camera, where a box may begin


@dataclass(frozen=True)
class BoxFitSettings:
    """Attributes:
    size: (length, width, height) metres, the class mean.
    camera_height: metres above a flat road.
    yaws: grid over half a turn (a box looks the same after half a turn).
    side_weight: of the projected sides against the depth points.
    point_scale: metres, where the robust distance of a point bends.
    """

    size: tuple[float, float, float] = (3.88, 1.63, 1.53)
    camera_height: float = CAMERA_HEIGHT
    yaws: int = 36
    side_weight: float = 0.5
    point_scale: float = 0.5


@dataclass(frozen=True)
class BoxFit:
    """Best box for every yaw of the grid, ordered by yaw.

    Attributes:
        yaw: (Y,) radians in [-pi/2, pi/2).
        location: (Y, 3) bottom-face centre, metres, frame of the labels.
        cost: (Y,) metres.
    """

    yaw: np.ndarray
    location: np.ndarray
    cost: np.ndarray

    @property
    def best(self) -> int:
        return int(self.cost.argmin())


def fit_boxes(
    observation: Observation, camera: Camera, settings: BoxFitSettings | None = None
) -> BoxFit:
    """Fit the box for every yaw by a shrinking grid search over its place on the road."""
    settings = settings or BoxFitSettings()
    points = torch.from_numpy(observation.points)[:, [0, 2]]
    if len(points) > 120:
        points = points[torch.linspace(0, len(points) - 1, 120).long()]
    camera = camera.to(torch.float64)
    yaw = torch.arange(settings.yaws, dtype=torch.float64) * (math.pi / settings.yaws) - math.pi / 2

    # Where the mask's centre column meets the depth: the box's centre is near, mostly behind.
    left, _, right, _ = observation.mask_box
    depth = observation.distance(camera, settings.size[2])
    middle = torch.tensor([[(left + right) / 2, float(camera.intrinsics[1, 2])]]).double()
    start = camera.unproject(middle, torch.tensor([depth]).double())[0, [0, 2]]
    along = start / start.norm()
    across = torch.stack([along[1], -along[0]])

    reach = 2.5 if len(points) else 0.25 * depth
    ray = torch.linspace(-reach, reach, 11).double() + (1.0 if len(points) else 0.0)
    lateral = torch.linspace(-1.5, 1.5, 7).double()
    best = start.expand(len(yaw), 2)
    cost = torch.full((len(yaw),), math.inf).double()
    for _ in range(5):
        offsets = (ray[:, None, None] * along + lateral[None, :, None] * across).reshape(-1, 2)
        centres = best[:, None] + offsets  # (Y, C, 2)
        costs = _cost(yaw, centres, points, observation, camera, settings)
        pick = costs.argmin(dim=1)
        better = centres[torch.arange(len(yaw)), pick]
        cost, best = costs.gather(1, pick[:, None])[:, 0], better
        ray = torch.linspace(-1, 1, 7).double() * (ray[1] - ray[0])
        lateral = torch.linspace(-1, 1, 7).double() * (lateral[1] - lateral[0])
    road = torch.full((len(yaw), 1), settings.camera_height).double()
    location = torch.cat([best[:, :1], road, best[:, 1:]], dim=1)
    return BoxFit(yaw.numpy(), location.numpy(), cost.numpy())


def _cost(
    yaw: torch.Tensor,  # (Y,)
    centres: torch.Tensor,  # (Y, C, 2)
    points: torch.Tensor,  # (N, 2)
    observation: Observation,
    camera: Camera,
    settings: BoxFitSettings,
) -> torch.Tensor:
    length, width, height = settings.size
    c, s = torch.cos(yaw), torch.sin(yaw)
    # Rows take (x, z) of the frame of the labels into (x, z) of the object.
    turn = torch.stack([c, -s, s, c], dim=-1).unflatten(-1, (2, 2))  # (Y, 2, 2)
    cost = torch.zeros(centres.shape[:2], dtype=centres.dtype)
    eye = torch.einsum("yij,ycj->yci", turn, camera.centre[[0, 2]] - centres)
    if len(points):
        local = torch.einsum("yij,ycnj->ycni", turn, points - centres[:, :, None])
        half = torch.tensor([length / 2, width / 2], dtype=centres.dtype)
        face = torch.sign(eye) * half  # the near faces
        seen = eye.abs() > half
        over = (local.abs() - half).clamp(min=0)
        to_x = _length(local[..., 0] - face[..., None, 0], over[..., 1])
        to_z = _length(local[..., 1] - face[..., None, 1], over[..., 0])
        far = torch.full_like(to_x, 10.0)
        to_x = torch.where(seen[..., None, 0], to_x, far)
        to_z = torch.where(seen[..., None, 1], to_z, far)
        away = torch.minimum(to_x, to_z)
        robust = settings.point_scale * (torch.sqrt(1 + (away / settings.point_scale) ** 2) - 1)
        cost = cost + robust.mean(dim=-1)

    corner = torch.tensor(
        [[x, y, z] for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)]
    ).to(centres)
    flat = corner[:, [0, 2]] * torch.tensor([length, width]).to(centres)
    ground = torch.einsum("yji,kj->yki", turn, flat)[:, None] + centres[:, :, None]  # (Y, C, 8, 2)
    level = (settings.camera_height - height * corner[:, 1]).expand(*ground.shape[:-1])
    world = torch.stack([ground[..., 0], level, ground[..., 1]], dim=-1)
    pixels, z = camera.project(world.flatten(0, 2))
    pixels, z = pixels.unflatten(0, world.shape[:3]), z.unflatten(0, world.shape[:3])
    low, high = pixels.amin(dim=2), pixels.amax(dim=2)
    sides = torch.cat([low, high], dim=-1)  # left, top, right, bottom
    target = torch.from_numpy(observation.mask_box).to(centres)
    miss = (sides - target).abs()
    # A closed side may only be passed, not missed: the object goes on behind what cuts it.
    outward = torch.tensor([-1.0, -1.0, 1.0, 1.0]).to(centres)
    inward = ((target - sides) * outward).clamp(min=0)
    miss = torch.where(torch.from_numpy(observation.open_sides), miss, inward)
    metres = z.mean(dim=-1, keepdim=True) / camera.intrinsics[0, 0]
    cost = cost + settings.side_weight * (miss * metres).mean(dim=-1)
    # A box that reaches behind the camera has no sides to compare: the farther the better then.
    nearest = z.amin(dim=-1)
    return torch.where(nearest > _NEAREST, cost, 1e3 + _NEAREST - nearest)


def _length(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(x * x + y * y)  # torch.hypot is many times slower on a CPU
