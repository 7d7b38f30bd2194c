"""A ball and a slab as exact signed distances, and a camera before them, for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import Light, Scene
from diffrender.catalogue.implicit._sdf import SdfGrid

RADIUS, DISTANCE = 0.6, 3.0


def camera(size: tuple[int, int] = (16, 20), dtype: torch.dtype = torch.float64) -> Camera:
    """At the origin, looking along z, 24 pixels of focal length."""
    height, width = size
    intrinsics = torch.tensor(
        [[24.0, 0.0, width / 2], [0.0, 24.0, height / 2], [0.0, 0.0, 1.0]], dtype=dtype
    )
    return Camera(intrinsics, torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), size)


def ball(spacing: float = 0.05, dtype: torch.dtype = torch.float64) -> Scene:
    """A grey ball of radius 0.6 m, 3 m ahead, its signed distance at the nodes of a grid."""
    count = round(2.0 / spacing) + 1
    low = torch.tensor([-1.0, -1.0, DISTANCE - 1.0], dtype=dtype)
    shape = (count, count, count)
    blank = SdfGrid(
        torch.zeros(shape, dtype=dtype), torch.zeros(*shape, 3, dtype=dtype), low, spacing
    )
    return around(blank, (blank.nodes() - centre(dtype)).norm(dim=-1) - RADIUS)


def around(blank: SdfGrid, values: Tensor) -> Scene:  # (D, H, W)
    """A grey scene of these values on a grid like the other."""
    one = torch.ones(3, dtype=values.dtype)
    colours = torch.full((*values.shape, 3), 0.5, dtype=values.dtype)
    light = Light(torch.tensor([0.3, -0.5, -1.0], dtype=values.dtype), 0.6 * one, 0.4 * one)
    return Scene(SdfGrid(values, colours, blank.low, blank.spacing), light, 0 * one)


def centre(dtype: torch.dtype = torch.float64) -> Tensor:
    """Of the ball."""
    return torch.tensor([0.0, 0.0, DISTANCE], dtype=dtype)


def ball_depth(seen_by: Camera) -> tuple[Tensor, Tensor]:
    """(H, W) depth z of the ball at each pixel, and whether its ray hits, in closed form."""
    height, width = seen_by.size
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([column, row], dim=-1).reshape(-1, 2).to(seen_by.intrinsics) + 0.5
    ray = seen_by.unproject(pixels, torch.ones_like(pixels[:, 0]))
    # |t w - c|² = r², for the camera at the origin.
    a, b = ray.square().sum(-1), ray @ centre(ray.dtype)
    root = b.square() - a * (DISTANCE**2 - RADIUS**2)
    depth = (b - root.clamp(min=0).sqrt()) / a
    return depth.reshape(seen_by.size), (root > 0).reshape(seen_by.size)
