"""Light of a synthetic street: sun, sky, cast shadows and contact shadows, in the road frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.datasets.synthetic_cars import PlacedCar
from diffrender.datasets.synthetic_geometry import Geometry, Material
from diffrender.datasets.synthetic_noise import noise_map, sample_noise
from diffrender.meshes import Mesh
from diffrender.raster import rasterize

__all__ = ["Light", "contact_shade", "draw_light", "shadow_map", "sunlit"]

_SPAN, _FAR, _CENTRE = 96.0, 500.0, np.array([0.0, -2.0, 34.0])


@dataclass(frozen=True)
class Light:
    """Sun and sky.

    Attributes:
        to_sun: (3,) unit vector, road frame (y down).
        sun: (3,) irradiance of a surface that faces the sun; 0 under clouds.
        ambient: (3,) irradiance from the sky on a surface that faces up.
        bounce: (3,) irradiance from the ground on a surface that faces down.
        horizon, zenith: (3,) radiance of the sky.
        cloud: amount of cloud, 0 to 1.
        haze: distance over which the air takes over, metres.
        offset: (2,) shifts the clouds.
    """

    to_sun: np.ndarray  # (3,)
    sun: np.ndarray  # (3,)
    ambient: np.ndarray  # (3,)
    bounce: np.ndarray  # (3,)
    horizon: np.ndarray  # (3,)
    zenith: np.ndarray  # (3,)
    cloud: float
    haze: float
    offset: np.ndarray  # (2,)

    def sky(self, direction: np.ndarray) -> np.ndarray:  # (N, 3)
        """Radiance of the sky in unit directions (road frame), (N, 3)."""
        up = np.clip(-direction[:, 1], 0, 1)
        share = (1 - (1 - up) ** 3)[:, None].astype(np.float32)
        colour = self.horizon + (self.zenith - self.horizon) * share
        reach = 1 / (up + 0.12)
        u, v = direction[:, 0] * reach * 40, direction[:, 2] * reach * 40
        flat = np.full(len(up), 0.1, np.float32)
        puff = sample_noise(noise_map(1.6, 21), u + self.offset[0], v + self.offset[1], 190.0, flat)
        cover = np.clip(0.5 * puff + 2.2 * self.cloud - 0.9, 0, 1)[:, None]
        bright = 1.05 + 0.22 * puff[:, None]
        white = (self.horizon * 0.45 + 0.55 * self.horizon.mean()) * bright
        colour = colour + (white - colour) * cover
        glow = np.clip(direction @ self.to_sun, 0, 1) ** 24
        return (colour + glow[:, None] * self.sun * 0.8).astype(np.float32)

    def environment(self, direction: np.ndarray, blur: float) -> np.ndarray:  # (N, 3)
        """What a mirror sees: the sky above a dark skyline above the road, (N, 3).

        `blur` softens the skyline, in units of the sine of its height.
        """
        sky = np.minimum(self.sky(direction), 1.6)
        turn = np.arctan2(direction[:, 0], direction[:, 2]) * 30
        flat = np.full(len(turn), 0.1, np.float32)
        ragged = sample_noise(noise_map(1.2, 13), turn, 0 * turn + self.offset[0], 190.0, flat)
        above = np.clip((-direction[:, 1] - 0.2 - 0.08 * ragged) / blur + 0.5, 0, 1)[:, None]
        below = np.clip(direction[:, 1] / 0.06 + 0.5, 0, 1)[:, None]
        dark = (0.25 * (self.ambient + 0.35 * self.sun) + 0.01) * (1 + 0.3 * ragged[:, None])
        road = 0.18 * (self.ambient + self.sun * max(-self.to_sun[1], 0))
        return above * sky + (1 - above) * (dark + (road - dark) * below)


def draw_light(draw: np.random.Generator, sunny: float, hard: float = 0.0) -> Light:
    """Draw the weather; `hard` is the probability of deep shade wherever the sun does not reach."""
    clear = draw.random() < sunny
    height = np.deg2rad(draw.uniform(18, 62))
    turn = draw.uniform(0, 2 * np.pi)
    to_sun = np.array(
        [np.cos(height) * np.sin(turn), -np.sin(height), np.cos(height) * np.cos(turn)]
    )
    warm = np.array([1.0, 0.93 - 0.1 * (height < 0.5), 0.82 - 0.2 * (height < 0.5)])
    blue = np.array([0.62, 0.8, 1.0])
    if clear:
        sun = warm * draw.uniform(0.9, 1.3)
        ambient = blue * draw.uniform(0.08, 0.24)
        horizon = np.array([0.85, 0.93, 1.0]) * draw.uniform(0.8, 2.6)
        zenith = np.array([0.22, 0.42, 0.8]) * draw.uniform(0.6, 1.7)
        cloud = draw.uniform(0.0, 0.6)
    else:
        sun = warm * draw.uniform(0.0, 0.12)
        ambient = np.array([0.93, 0.97, 1.0]) * draw.uniform(0.6, 0.9)
        horizon = np.array([0.95, 0.97, 1.0]) * draw.uniform(1.2, 3.5)
        zenith = horizon * draw.uniform(0.6, 0.95)
        cloud = draw.uniform(0.4, 1.0)
    bounce = 0.2 * (ambient + sun * np.sin(height)) * np.array([1.0, 0.97, 0.9])
    light = Light(
        to_sun, sun, ambient, bounce, horizon, zenith, cloud,
        10 ** draw.uniform(3.3, 4.3), draw.uniform(0, 190, 2),
    )  # fmt: skip
    if not (hard > 0 and clear and draw.random() < hard):
        return light
    fill = draw.uniform(0.35, 0.8)
    return replace(
        light, sun=light.sun * draw.uniform(1.0, 1.6), ambient=light.ambient * fill,
        bounce=light.bounce * draw.uniform(0.5, 1.0),
    )  # fmt: skip


def _sun_camera(light: Light, side: int) -> Camera:
    """A far camera that looks down the sun's rays at the part of the street in view."""
    forward = -light.to_sun
    helper = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.9 else np.array([1.0, 0, 0])
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    eye = _CENTRE + light.to_sun * _FAR
    focal = side * _FAR / _SPAN
    intrinsics = torch.tensor([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]])
    return Camera(
        intrinsics.float(),
        torch.from_numpy(rotation).float(),
        torch.from_numpy(-rotation @ eye).float(),
        (side, side),
    )


def shadow_map(geometry: Geometry, light: Light, side: int) -> tuple[Camera, np.ndarray] | None:
    """Depth map seen from the sun without the ground, (side, side); None under clouds."""
    if light.sun.max() < 0.2:
        return None
    ground = np.isin(geometry.material, (Material.ROAD, Material.PAVEMENT, Material.GRASS))
    near = (np.abs(geometry.corners[:, 0] - _CENTRE) < 120).all(axis=1)
    corners = geometry.corners[~ground & near].reshape(-1, 3)
    camera = _sun_camera(light, side)
    mesh = Mesh(
        torch.from_numpy(corners.astype(np.float32)), torch.arange(len(corners)).reshape(-1, 3)
    )
    depth = rasterize(mesh, camera).depth[..., 0].numpy()
    return camera, np.where(depth > 0, depth, np.inf)


def sunlit(
    seen: tuple[Camera, np.ndarray] | None,
    points: np.ndarray,  # (N, 3)
    bias: np.ndarray,  # (N,)
) -> np.ndarray:
    """Share of the sun that reaches points in the road frame, (N,) in [0, 1]."""
    if seen is None:
        return np.ones(len(points), np.float32)
    camera, depth = seen
    rotation, move = camera.rotation.numpy(), camera.translation.numpy()
    local = points.astype(np.float32) @ rotation.T + move
    focal, middle = float(camera.intrinsics[0, 0]), float(camera.intrinsics[0, 2])
    side = len(depth)
    # What is beside or behind the sun's camera, it cannot see: far out of its picture.
    ahead = np.maximum(local[:, 2], 1e-3)
    x = local[:, 0] / ahead * focal + middle
    y = local[:, 1] / ahead * focal + middle
    reach = local[:, 2] - bias
    total = np.zeros(len(points), np.float32)
    taps = ((-0.6, -0.25), (0.25, -0.6), (0.6, 0.25), (-0.25, 0.6))
    for dx, dy in taps:
        column = np.clip(x + dx, 0, side - 1).astype(np.int32)
        row = np.clip(y + dy, 0, side - 1).astype(np.int32)
        total += depth[row, column] >= reach
    inside = (x > 1) & (x < side - 1) & (y > 1) & (y < side - 1)
    return np.where(inside, total / len(taps), 1).astype(np.float32)


def contact_shade(points: np.ndarray, cars: list[PlacedCar]) -> np.ndarray:  # (N, 3)
    """Share of the sky that ground points keep beside and under cars, (N,) in [0, 1]."""
    left = np.ones(len(points), np.float32)
    for car in cars:
        reach = 0.5 * np.hypot(car.size[0], car.size[1]) + 1.2
        near = np.flatnonzero(
            (np.abs(points[:, 0] - car.foot[0]) < reach)
            & (np.abs(points[:, 2] - car.foot[2]) < reach)
        )
        if not len(near):
            continue
        local = (points[near] - car.foot) @ car.rotation
        dx = np.abs(local[:, 0]) - car.size[0] / 2 + 0.15
        dz = np.abs(local[:, 2]) - car.size[1] / 2 + 0.1
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dz, 0))
        inside = np.minimum(np.maximum(dx, dz), 0)
        left[near] *= 1 - 0.82 * np.exp(-outside / 0.38) * (1 - 0.15 * np.exp(inside / 0.2))
    return left
