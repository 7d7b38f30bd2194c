"""The scene that every technique is shown with: a car and a sphere on a plane, and its camera."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.scene import Light, Scene, Triangles
from diffrender.errors import InputError
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import load_prior, part_colours
from diffrender.shape_priors.free_form import icosphere

__all__ = ["car_scene", "look_at", "standard_camera", "standard_scene"]

_Part = tuple[Tensor, Tensor, Tensor]  # vertices, faces, colours
_CAR_YAW = math.radians(215)  # front and side are seen
_BALL = (torch.tensor([1.75, -0.75, -1.75]), 0.75)  # centre and radius, metres
_FLOOR, _TILES = 3.6, 12  # half the plane's width in metres, and its tiles


def standard_scene(*, textured: bool = False) -> Scene:
    """A car and a sphere on a square of tiles. World: OpenCV axes, y down, the floor at y = 0.

    Args:
        textured: the tiles are a texture instead of colours at vertices.
    """
    parts = [_car(), _ball(), _floor(plain=textured)]
    scene = _scene(parts)
    if not textured:
        return scene
    mesh = scene.content
    assert isinstance(mesh, Triangles)
    above = len(mesh.vertices) - len(parts[2][0])
    uv = mesh.vertices[:, [0, 2]] / (2 * _FLOOR) + 0.5
    uv[:, 0] *= 0.5  # the left half of the texture is the floor's, the right half is white
    uv[:above] = uv.new_tensor([0.75, 0.5])
    return Scene(
        Triangles(mesh.vertices, mesh.faces, mesh.colours, uv, _tiles()),
        scene.light,
        scene.background,
    )


def car_scene() -> Scene:
    """The car of the standard scene alone, its centre at the origin: for finding poses."""
    vertices, faces, colours = _car()
    middle = (vertices.amin(0) + vertices.amax(0)) / 2
    return _scene([(vertices - middle, faces, colours)])


def standard_camera(size: tuple[int, int] = (96, 128)) -> Camera:
    """The camera of the standard scene, 2.7 m above the floor; size is (height, width)."""
    return look_at(torch.tensor([0.6, -2.7, -7.4]), torch.tensor([0.25, -0.55, -0.3]), size)


def look_at(eye: Tensor, target: Tensor, size: tuple[int, int]) -> Camera:  # (3,), (3,)
    """A camera at `eye` that looks at `target`, world coordinates, y down; 40 degrees high.

    Raises:
        InputError: target and eye are the same, or one is straight above the other.
    """
    forward = torch.nn.functional.normalize(target - eye, dim=0)
    if not forward[[0, 2]].norm() > 1e-6:
        raise InputError(
            f"eye is {eye.tolist()} and target {target.tolist()}, expected another place that is "
            "not straight above or below: which way is up could not be told"
        )
    right = torch.nn.functional.normalize(
        torch.linalg.cross(eye.new_tensor([0.0, 1.0, 0.0]), forward), dim=0
    )
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    height, width = size
    focal = height / (2 * math.tan(math.radians(20)))
    intrinsics = eye.new_tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(intrinsics, rotation, -rotation @ eye, size)


def _scene(parts: list[_Part]) -> Scene:
    offset, faces = 0, []
    for vertices, corners, _ in parts:
        faces.append(corners + offset)
        offset += len(vertices)
    mesh = Triangles(
        torch.cat([part[0] for part in parts]), torch.cat(faces), torch.cat([p[2] for p in parts])
    )
    light = Light(
        torch.tensor([-0.5, -1.0, -0.7]), torch.full((3,), 0.75), torch.tensor([0.35, 0.35, 0.38])
    )
    return Scene(mesh, light, torch.tensor([0.55, 0.68, 0.82]))


def _car() -> _Part:
    prior = load_prior("car")
    turn = yaw_to_matrix(torch.tensor(_CAR_YAW))
    length, width, height = prior.size_mean.tolist()
    vertices = prior.mean * torch.tensor([length, height, width]) @ turn.T
    painted = part_colours(prior)[prior.face_parts] ** 2.2  # sRGB to linear
    total, count = torch.zeros_like(vertices), torch.zeros(len(vertices), 1)
    for corner in prior.faces.T:
        total.index_add_(0, corner, painted)
        count.index_add_(0, corner, torch.ones(len(corner), 1))
    return vertices, prior.faces, total / count


def _ball() -> _Part:
    directions, faces = icosphere(3)
    directions = directions.float()
    centre, radius = _BALL
    colours = torch.tensor([0.85, 0.45, 0.1]).expand(len(directions), 3)
    return centre + radius * directions, faces, colours


def _floor(*, plain: bool) -> _Part:
    """Tiles that do not share vertices, so that their colours do not run into each other."""
    steps = torch.linspace(-_FLOOR, _FLOOR, _TILES + 1)
    vertices, faces, colours = [], [], []
    for row in range(_TILES):
        for column in range(_TILES):
            z, x = steps[row : row + 2], steps[column : column + 2]
            first = 4 * (row * _TILES + column)
            corners = [(0, 0), (0, 1), (1, 1), (1, 0)]
            vertices += [torch.stack([x[j], x.new_zeros(()), z[i]]) for i, j in corners]
            faces += [[first, first + 1, first + 2], [first, first + 2, first + 3]]
            shade = 1.0 if plain else (0.75 if (row + column) % 2 else 0.4)
            colours += [torch.full((3,), shade)] * 4
    return torch.stack(vertices), torch.tensor(faces), torch.stack(colours)


def _tiles() -> Tensor:
    """(96, 192, 3): tiles on the left half, white on the right."""
    row, column = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    tile = 96 // _TILES
    odd = ((row // tile + column // tile) % 2).float()
    floor = (0.4 + 0.35 * odd)[..., None].expand(96, 96, 3)
    return torch.cat([floor, torch.ones(96, 96, 3)], dim=1)
