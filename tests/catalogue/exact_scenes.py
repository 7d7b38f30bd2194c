"""Toy scenes, and finite differences of finely sampled pictures, for the exact techniques."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import Light, Rendering, Scene, Triangles

# The square covers pixels 5.8 to 14.2 across and 3.8 to 12.2 down; a metre is 6 pixels there.
LEFT, TOP, SIDE, SCALE = 5.8, 3.8, 8.4, 6.0


def camera(dtype: torch.dtype = torch.float64) -> Camera:
    intrinsics = torch.tensor([[24.0, 0, 10], [0, 24, 8], [0, 0, 1]], dtype=dtype)
    return Camera(intrinsics, torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), (16, 20))


def scene_of(corners: list[list[float]], faces: list[list[int]], dtype: torch.dtype) -> Scene:
    """White under ambient light alone, before a black background."""
    vertices = torch.tensor(corners, dtype=dtype)
    mesh = Triangles(vertices, torch.tensor(faces), torch.ones_like(vertices))
    one, none = torch.ones(3, dtype=dtype), torch.zeros(3, dtype=dtype)
    return Scene(mesh, Light(torch.tensor([0.2, -0.5, -1.0], dtype=dtype), none, one), none)


def pixel(x: float, y: float) -> list[float]:
    """The point at depth 4 that is seen there."""
    return [(x - 10) / SCALE, (y - 8) / SCALE, 4.0]


def square(dtype: torch.dtype = torch.float64) -> Scene:
    right, bottom = LEFT + SIDE, TOP + SIDE
    corners = [(LEFT, TOP), (right, TOP), (right, bottom), (LEFT, bottom)]
    return scene_of([pixel(*c) for c in corners], [[0, 2, 1], [0, 3, 2]], dtype)


def triangle(dtype: torch.dtype = torch.float64) -> Scene:
    """The upper right half of the square: its right side is upright."""
    right, bottom = LEFT + SIDE, TOP + SIDE
    corners = [(LEFT, TOP), (right, TOP), (right, bottom)]
    return scene_of([pixel(*c) for c in corners], [[0, 2, 1]], dtype)


def overlapping(dtype: torch.dtype = torch.float64) -> Scene:
    """Two coloured triangles, one before the other, under a slanting light."""
    vertices = torch.tensor(
        [[-1.0, -0.7, 4], [0.9, -0.5, 4.2], [-0.2, 0.8, 3.9]]
        + [[-0.5, -0.9, 5.0], [1.1, 0.1, 5.1], [-0.8, 0.7, 5.2]],
        dtype=dtype,
    )
    colours = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    light = Light(*torch.tensor([[0.3, -0.5, -1], [0.6] * 3, [0.4] * 3], dtype=dtype))
    mesh = Triangles(vertices, torch.tensor([[0, 2, 1], [3, 5, 4]]), colours)
    return Scene(mesh, light, torch.tensor([0.1, 0.3, 0.2], dtype=dtype))


def shifted(scene: Scene, pixels: Tensor) -> Scene:  # ()
    """The square or triangle moved to the right by so many pixels."""
    along = pixels.new_tensor([1 / SCALE, 0, 0])
    return scene.replaced("vertices", scene.parameters()["vertices"] + pixels * along)


def slope(draw: Callable[[Tensor], Rendering]) -> Tensor:
    """(H, W, 4) derivative of image and silhouette to a scalar at 0, by backward's backward."""
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    picture = stacked(draw(t))
    u = torch.zeros_like(picture, requires_grad=True)
    (answer,) = torch.autograd.grad(picture, t, u, create_graph=True)
    return torch.autograd.grad(answer, u)[0]


@torch.no_grad()
def difference(draw: Callable[[Tensor], Rendering], step: float) -> Tensor:
    """The same by a central difference."""
    ends = [stacked(draw(torch.tensor(t, dtype=torch.float64))) for t in (-step, step)]
    return (ends[1] - ends[0]) / (2 * step)


def stacked(drawn: Rendering) -> Tensor:
    return torch.cat([drawn.image, drawn.silhouette[..., None]], dim=-1)


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()
