"""A floor, and a ball above it, under a lamp and a sky, for the path tracer."""

from __future__ import annotations

import torch

from diffrender.cameras import Camera
from diffrender.catalogue import Light, Scene, Triangles
from diffrender.shape_priors.free_form import icosphere


def camera_above(size: tuple[int, int] = (6, 8)) -> Camera:
    """One metre above a floor's middle, looking down at it; y is down."""
    height, width = size
    intrinsics = torch.tensor(
        [[2.0 * width, 0, width / 2], [0, 2.0 * width, height / 2], [0, 0, 1]]
    )
    down = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return Camera(intrinsics, down, -down @ torch.tensor([0.0, -1, 0]), size)


def grey_floor(colour: float = 0.5) -> Triangles:
    corners = torch.tensor([[-3.0, 0, -3], [3, 0, -3], [3, 0, 3], [-3, 0, 3]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Triangles(corners, faces, torch.full((4, 3), colour))


def lit_scene(mesh: Triangles, colour: float = 0.6, ambient: float = 0.3) -> Scene:
    light = Light(torch.tensor([0.0, -1, 0.5]), torch.full((3,), colour), torch.full((3,), ambient))
    return Scene(mesh, light, torch.zeros(3))


def floor_and_ball() -> Triangles:
    """A ball of 0.3 m above the floor, off the middle, so that light goes to and fro."""
    directions, faces = icosphere(2)
    floor = grey_floor()
    ball = directions.float() * 0.3 + torch.tensor([0.2, -0.35, 0.0])
    colours = torch.tensor([0.8, 0.3, 0.1]).expand(len(ball), 3)
    return Triangles(
        torch.cat([floor.vertices, ball]),
        torch.cat([floor.faces, faces + 4]),
        torch.cat([floor.colours, colours]),
    )
