"""Pictures of synthetic streets: rasterize once, then shade only the visible pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.datasets.synthetic_geometry import Material, turned
from diffrender.datasets.synthetic_layout import Layout
from diffrender.datasets.synthetic_light import Light, contact_shade, shadow_map, sunlit
from diffrender.datasets.synthetic_surface import Points
from diffrender.datasets.synthetic_textures import shade_material
from diffrender.meshes import Mesh
from diffrender.raster import rasterize

__all__ = ["Rendering", "RoadToLabel", "develop", "render_layout"]

_GROUND = (Material.ROAD, Material.PAVEMENT, Material.GRASS)


@dataclass(frozen=True)
class RoadToLabel:
    """Rigid motion from the road frame to the frame of the labels (KITTI camera 0)."""

    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,)

    def __call__(self, points: np.ndarray) -> np.ndarray:  # (..., 3)
        return turned(points, self.rotation) + self.translation


@dataclass(frozen=True)
class Rendering:
    """What the camera sees.

    Attributes:
        radiance: (H, W, 3) float32 linear light.
        depth: (H, W) float32 z, metres, 0 = sky.
        owner: (H, W) int64 index of the car seen, -1 elsewhere.
    """

    radiance: np.ndarray  # (H, W, 3)
    depth: np.ndarray  # (H, W)
    owner: np.ndarray  # (H, W)


def render_layout(layout: Layout, light: Light, camera: Camera, to_label: RoadToLabel) -> Rendering:
    """Render a street without noise."""
    geometry = layout.geometry
    height, width = camera.size
    world = to_label(geometry.corners).astype(np.float32).reshape(-1, 3)
    mesh = Mesh(torch.from_numpy(world), torch.arange(len(world)).reshape(-1, 3))
    fragments = rasterize(mesh, camera)
    face = fragments.face[..., 0].numpy().ravel()
    bary = fragments.bary[..., 0, :].numpy().reshape(-1, 3)
    depth = fragments.depth[..., 0].numpy().ravel()

    rows, columns = np.meshgrid(
        np.arange(height, dtype=np.float32) + 0.5,
        np.arange(width, dtype=np.float32) + 0.5,
        indexing="ij",
    )
    k = camera.intrinsics.numpy()
    rays = np.stack(
        [(columns.ravel() - k[0, 2]) / k[0, 0], (rows.ravel() - k[1, 2]) / k[1, 1],
         np.ones(height * width, np.float32)], axis=1,
    )  # fmt: skip
    # camera and label frames differ by a shift only, so rays turn with the road's rotation
    ray_length = np.linalg.norm(rays, axis=1)
    view = turned(rays, to_label.rotation.T) / ray_length[:, None]
    eye = (camera.centre.double().numpy() - to_label.translation) @ to_label.rotation

    radiance = np.empty((height * width, 3), np.float32)
    sky = np.flatnonzero(face < 0)
    radiance[sky] = light.sky(view[sky])
    seen = shadow_map(geometry, light, 1024 if width > 800 else 640)
    hit = np.flatnonzero(face >= 0)
    kind_of = geometry.material.astype(np.uint8)  # small integers sort fast
    order = hit[np.argsort(kind_of[face[hit]], kind="stable")]
    kinds = kind_of[face[order]]
    bounds = np.searchsorted(kinds, np.arange(len(Material) + 1))
    focal = float(k[0, 0])
    for material in Material:
        pixels = order[bounds[material] : bounds[material + 1]]
        if not len(pixels):
            continue
        faces, weights = face[pixels], bary[pixels]
        points = (eye + view[pixels] * (depth[pixels] * ray_length[pixels])[:, None]).astype(
            np.float32
        )
        colour = _shade(
            layout, light, material, faces, weights, points, view[pixels],
            depth[pixels] / focal, seen,
        )  # fmt: skip
        veil = np.exp(-depth[pixels] / light.haze)[:, None]
        radiance[pixels] = colour * veil + light.horizon.astype(np.float32) * (1 - veil)
    car_of = np.full(len(geometry.material) + 1, -1)  # the last entry serves face -1
    for number, some in enumerate(layout.car_faces):
        car_of[some] = number
    owner = car_of[face]
    shape = (height, width)
    return Rendering(
        radiance.reshape(*shape, 3), depth.reshape(shape).astype(np.float32), owner.reshape(shape)
    )


def _interpolate(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (
        values[:, 0] * weights[:, :1]
        + values[:, 1] * weights[:, 1:2]
        + values[:, 2] * weights[:, 2:]
    )


def _shade(
    layout: Layout, light: Light, material: Material, faces: np.ndarray, weights: np.ndarray,
    points: np.ndarray, view: np.ndarray, pixel: np.ndarray,
    seen: tuple[Camera, np.ndarray] | None,
) -> np.ndarray:  # fmt: skip
    """Radiance of the pixels of one material, (N, 3)."""
    geometry = layout.geometry
    coords = _interpolate(geometry.coords[faces], weights)
    if material in (
        Material.PAINT,
        Material.GLASS,
        Material.FOLIAGE,
        Material.BARK,
        Material.PLAIN,
    ):
        normal = _interpolate(geometry.normals[faces], weights)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    else:
        normal = geometry.normals[faces, 0]
    facing = -(normal * view).sum(1)
    if material != Material.FOLIAGE:
        flip = facing < 0
        if material not in (Material.PAINT, Material.GLASS):
            normal = np.where(flip[:, None], -normal, normal)
        facing = np.abs(facing)
    slanted = pixel / np.clip(facing, 0.04, 1)
    level = material in _GROUND
    surface = shade_material(
        material,
        Points(
            coords, geometry.looks[geometry.owner[faces]],
            pixel if level else slanted if material != Material.FOLIAGE else pixel,
            slanted if level else pixel,
        ),
    )  # fmt: skip
    toward = normal @ light.to_sun.astype(np.float32)
    bias = np.full(len(points), 0.10, np.float32)
    if material == Material.FOLIAGE:
        toward = 0.65 * toward + 0.35
        bias += 0.35
    open_sun = sunlit(seen, points + 0.06 * normal, bias)
    direct = np.clip(toward, 0, 1) * open_sun
    up = (0.5 - 0.5 * normal[:, 1])[:, None]
    indirect = light.ambient * up + light.bounce * (1 - up)
    if level:
        indirect = indirect * contact_shade(points, layout.cars)[:, None]
    elif material in (Material.TYRE, Material.TRIM):
        indirect = indirect * 0.6
    irradiance = direct[:, None] * light.sun + indirect
    colour = surface.colour * (irradiance + np.reshape(surface.glow, (-1, 1)))
    if np.ndim(surface.gloss) or surface.gloss > 0:
        gloss = np.broadcast_to(surface.gloss, facing.shape)
        strength = gloss + (1 - gloss) * 0.9 * (1 - np.clip(facing, 0, 1)) ** 5 * (gloss > 0.03)
        shiny = np.flatnonzero(strength > 0.03)
        mirror = view[shiny] + 2 * facing[shiny, None] * normal[shiny]
        glint = np.clip(mirror @ light.to_sun, 0, 1) ** 220 * open_sun[shiny] * 9
        reflected = (
            light.environment(mirror, 0.35 if material == Material.PAINT else 0.08)
            + glint[:, None] * light.sun
        )
        share = strength[shiny, None]
        colour[shiny] = colour[shiny] * (1 - share) + reflected * share
    return colour.astype(np.float32)


def develop(
    radiance: np.ndarray,  # (H, W, 3)
    ground: np.ndarray,  # (H, W) bool
    draw: np.random.Generator,
    photometry: bool,
) -> np.ndarray:
    """Expose a picture as a camera would; returns (H, W, 3) uint8 sRGB-like values.

    `ground` marks the pixels that are not sky: exposure follows them, so the sky may burn out.
    """
    bright = radiance.mean(axis=2)
    lit = bright[ground] if ground.any() else bright.ravel()
    middle = float(np.median(lit[:: max(len(lit) // 20000, 1)]))
    exposure = 0.06 / max(middle, 1e-4)
    if not photometry:
        return _quantize(np.clip(radiance * exposure, 0, 1) ** (1 / 2.2))
    import cv2

    height, width = bright.shape
    scale = width / 1242
    picture = radiance * np.float32(exposure * np.exp(draw.normal(0, 0.32)))
    balance = np.exp(draw.normal(0, 0.05, 3) * [1, 0.4, 1]).astype(np.float32)
    picture = picture * balance
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture *= (1 - draw.uniform(0, 0.25) * (x * x * 0.8 + y * y * 0.2)).astype(np.float32)[
        ..., None
    ]
    glare = draw.uniform(0, 0.05)
    if glare > 0.01:
        small = cv2.resize(
            np.minimum(picture, 2.0), (width // 8, height // 8), interpolation=cv2.INTER_AREA
        )
        soft = cv2.GaussianBlur(small, (0, 0), 9 * scale + 1)
        picture += np.float32(glare) * cv2.resize(soft, (width, height))
    sigma = draw.uniform(0.2, 0.6) * max(scale, 0.7)
    picture = cv2.GaussianBlur(np.minimum(picture, 4.0), (0, 0), sigma)
    shot, read = draw.uniform(0.002, 0.012), draw.uniform(0.0005, 0.003)
    grain = draw.standard_normal(picture.shape, dtype=np.float32)
    picture += grain * np.sqrt(read**2 + shot**2 * np.clip(picture, 0, 1))
    gamma = draw.uniform(1.9, 2.4)
    out = np.clip(picture, 0, 1) ** np.float32(1 / gamma)
    contrast = draw.uniform(0.0, 0.9)
    out = out + contrast * (out * out * (3 - 2 * out) - out)
    grey = out.mean(axis=2, keepdims=True)
    out = grey + (out - grey) * np.float32(draw.uniform(0.9, 1.7))
    eight = _quantize(np.clip(out + draw.uniform(-0.03, 0.015), 0, 1))
    if draw.random() < 0.6:
        quality = int(draw.integers(70, 98))
        coded = cv2.imencode(".jpg", eight[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        eight = np.ascontiguousarray(np.asarray(cv2.imdecode(coded, 1))[..., ::-1])
    return eight


def _quantize(picture: np.ndarray) -> np.ndarray:
    return (picture * 255 + 0.5).astype(np.uint8)
