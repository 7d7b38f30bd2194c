"""Rays of a camera's pixels, and the place where a ray meets a level set, with derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.scene import Rendering

__all__ = [
    "Field",
    "Rays",
    "attach_root",
    "camera_rays",
    "first_crossing",
    "paint",
    "rays_from_outside",
]

_NEAREST = 0.01  # metres before the camera where rays start at the earliest

Field = Callable[[Tensor], Tensor]  # points (..., 3) -> values (...)


@dataclass(frozen=True)
class Rays:
    """Rays through the pixels that look at a box: origin + t direction.

    Directions have camera-frame z = 1, so that t is depth in metres.

    Attributes:
        origin: (3,) the optical centre, world. Differentiable to the pose.
        directions: (P, 3) world. Differentiable to pose and intrinsics.
        near, far: (P,) depths where a ray enters and leaves the box, without gradient.
        pixels: (P,) the pixel of each ray, row by row.
        size: (height, width) of the image.
    """

    origin: Tensor  # (3,)
    directions: Tensor  # (P, 3)
    near: Tensor  # (P,)
    far: Tensor  # (P,)
    pixels: Tensor  # (P,)
    size: tuple[int, int]

    def at(self, depth: Tensor) -> Tensor:  # (P,) or (P, S)
        """Points at depths along the rays. (P, ...) -> (P, ..., 3)."""
        shape = (-1,) + (1,) * (depth.ndim - 1) + (3,)
        return self.origin + depth[..., None] * self.directions.reshape(shape)

    def lengths(self) -> Tensor:
        """(P,) metres along each ray for one metre of depth, without gradient."""
        return self.directions.detach().norm(dim=-1)

    def still(self) -> Rays:
        """The same rays without gradient, for searching along them."""
        return Rays(
            self.origin.detach(),
            self.directions.detach(),
            self.near,
            self.far,
            self.pixels,
            self.size,
        )

    def pick(self, chosen: Tensor) -> Rays:  # (P,) bool
        """Those of the rays that are chosen."""
        return Rays(
            self.origin,
            self.directions[chosen],
            self.near[chosen],
            self.far[chosen],
            self.pixels[chosen],
            self.size,
        )


def camera_rays(camera: Camera, low: Tensor, high: Tensor) -> Rays:  # (3,), (3,)
    """Rays through the pixel centres that meet the box from `low` to `high`, world.

    Differentiable to pose, intrinsics and lens.
    """
    height, width = camera.size
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack([column, row], dim=-1).reshape(-1, 2).to(low) + 0.5
    origin = camera.centre
    directions = camera.unproject(centres, torch.ones_like(centres[:, 0])) - origin
    # Slabs; a direction along a face of the box divides by zero, which the comparisons bear.
    with torch.no_grad():
        first, second = (low - origin) / directions, (high - origin) / directions
        near = torch.minimum(first, second).amax(1).clamp(min=_NEAREST)
        far = torch.maximum(first, second).amin(1)
    meets = far > near
    pixels = meets.nonzero()[:, 0]
    return Rays(origin, directions[meets], near[meets], far[meets], pixels, camera.size)


def rays_from_outside(field: Field, rays: Rays) -> Rays:
    """The rays that begin where the field is not below zero.

    A surface is seen from outside only. From an eye inside it a search along the ray would end on
    the way out, or behind the eye; such rays see nothing, as in the authors' code of DVR.
    """
    with torch.no_grad():
        outside = field(rays.still().at(rays.near)) >= 0
    return rays.pick(outside)


def first_crossing(field: Field, rays: Rays, steps: int, secants: int) -> tuple[Tensor, Tensor]:
    """The first place where the field falls below zero along each ray, without gradient.

    An even march brackets the sign change; secant steps, each kept inside the bracket, close it.
    Things thinner than a step can be missed. A ray that begins below zero, which
    `rays_from_outside` leaves out, has a depth in the first step.

    Shapes: -> (depth (P,), hit (P,) bool); depth is meaningless where nothing is hit.
    """
    still = rays.still()
    with torch.no_grad():
        share = torch.linspace(0, 1, steps + 1).to(still.near)
        depth = still.near[:, None] + share * (still.far - still.near)[:, None]
        below = field(still.at(depth)) < 0
        hit = below.any(dim=1)
        index = below.int().argmax(dim=1).clamp(min=1)[:, None]
        low, high = depth.gather(1, index - 1)[:, 0], depth.gather(1, index)[:, 0]
        at_low, at_high = field(still.at(low)), field(still.at(high))
        guess = high
        for step in range(secants):
            share = (at_low / (at_low - at_high)).nan_to_num(0.5, 0.5, 0.5).clamp(0.02, 0.98)
            # Every third step halves the bracket: one bent end cannot hold a secant up.
            guess = torch.lerp(low, high, torch.full_like(share, 0.5) if step % 3 == 2 else share)
            value = field(still.at(guess))
            outside = value >= 0
            low, at_low = torch.where(outside, guess, low), torch.where(outside, value, at_low)
            high, at_high = torch.where(outside, high, guess), torch.where(outside, at_high, value)
        return guess, hit


def attach_root(depth: Tensor, field: Field, slope: Field, rays: Rays) -> Tensor:  # (P,)
    """Depth of a root of the field along each ray, with its derivative.

    From f(o + t w) = 0 follows dt = -(∇f · w)⁻¹ (∂f/∂θ dθ + ∇f · (do + t dw)): one Newton step
    whose denominator is held still has this value and this derivative. Rays that graze the surface
    have a denominator near zero; it is kept at 0.01 of a ray's length at least.

    Shapes: (P,) -> (P,). Differentiable to the field and to the rays, once.

    Args:
        slope: the field's gradient, (..., 3) -> (..., 3), without a graph.
    """
    with torch.no_grad():
        still = rays.still()
        along = (slope(still.at(depth)) * still.directions).sum(-1)
        along = torch.minimum(along, -0.01 * still.lengths())
    return depth - field(rays.at(depth)) / along


def paint(
    rays: Rays,
    radiance: Tensor,  # (P, 3)
    coverage: Tensor,  # (P,)
    depth: Tensor,  # (P,)
    background: Tensor,  # (3,)
) -> Rendering:
    """The picture of what the rays saw, over the background; `radiance` is not yet covered."""
    height, width = rays.size
    over = background + coverage[:, None] * (radiance - background)
    image = background.expand(height * width, 3).index_put((rays.pixels,), over)
    flat = torch.stack([coverage, depth], dim=1)
    maps = flat.new_zeros(height * width, 2).index_put((rays.pixels,), flat)
    return Rendering(
        image.reshape(height, width, 3),
        maps[:, 0].reshape(height, width),
        maps[:, 1].reshape(height, width),
    )
