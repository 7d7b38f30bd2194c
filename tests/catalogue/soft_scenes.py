"""Toy scenes and derivative checks that the tests of soft rasterizers share."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import (
    Light,
    Rendering,
    Scene,
    Technique,
    Triangles,
    as_triangles,
    standard_scene,
)
from diffrender.raster import interpolate, rasterize


def toy_scene(dtype: torch.dtype = torch.float64) -> Scene:
    """Two triangles that overlap, one before the other, with a colour at each corner."""
    vertices = torch.tensor(
        [[-1.0, -0.7, 4], [0.9, -0.5, 4.2], [-0.2, 0.8, 3.9]]
        + [[-0.5, -0.9, 5.0], [1.1, 0.1, 5.1], [-0.8, 0.7, 5.2]],
        dtype=dtype,
    )
    colours = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    faces = torch.tensor([[0, 2, 1], [3, 5, 4]])
    return lit(Triangles(vertices, faces, colours))


def square_scene(dtype: torch.dtype = torch.float64) -> Scene:
    """A square of one colour, 8.4 pixels wide for the toy camera, from x = 5.8 and y = 3.8."""
    side = 8.4 / 24 * 4  # metres at depth 4
    left, top = (5.8 - 10) / 24 * 4, (3.8 - 8) / 24 * 4
    corners = [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]
    vertices = torch.tensor([[*corner, 4.0] for corner in corners], dtype=dtype)
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    return lit(Triangles(vertices, faces, torch.full((4, 3), 0.8, dtype=dtype)))


def lit(mesh: Triangles) -> Scene:
    def tensor(*numbers: float) -> Tensor:
        return torch.tensor(numbers, dtype=mesh.vertices.dtype)

    light = Light(tensor(0.2, -0.5, -1.0), tensor(0.6, 0.6, 0.6), tensor(0.4, 0.4, 0.4))
    return Scene(mesh, light, tensor(0.1, 0.3, 0.2))


def toy_camera(dtype: torch.dtype = torch.float64) -> Camera:
    intrinsics = torch.tensor([[24.0, 0, 10], [0, 24, 8], [0, 0, 1]], dtype=dtype)
    return Camera(intrinsics, torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), (16, 20))


def hard(camera: Camera) -> tuple[Tensor, Tensor]:
    """Mask and depth of the standard scene by the library's rasterizer."""
    mesh = as_triangles(standard_scene())
    fragments = rasterize((mesh.vertices, mesh.faces), camera)
    return fragments.mask(), fragments.depth[..., 0]


def weighed(rendering: Rendering) -> Tensor:
    """A number from all maps, with weights that are the same at every call."""
    made = torch.Generator().manual_seed(5)
    maps = torch.cat([rendering.image, rendering.silhouette[..., None]], dim=-1)
    weights = torch.rand(maps.shape, generator=made, dtype=maps.dtype)
    return (maps * weights).sum() + 0.1 * (rendering.depth * weights[..., 0]).sum()


def moved(scene: Scene, camera: Camera, name: str, amount: Tensor) -> tuple[Scene, Camera]:
    """The scene and camera with one parameter moved by an amount times a fixed direction."""
    made = torch.Generator().manual_seed(9)
    if name == "pose":
        step = torch.randn(3, generator=made, dtype=amount.dtype)
        translation = camera.translation + 0.3 * amount * step
        return scene, dataclasses.replace(camera, translation=translation)
    if name == "intrinsics":
        step = torch.tensor([[5.0, 0, 2], [0, 4, -1], [0, 0, 0]], dtype=amount.dtype)
        return scene, dataclasses.replace(camera, intrinsics=camera.intrinsics + amount * step)
    value = scene.parameters()[name]
    step = torch.randn(value.shape, generator=made, dtype=amount.dtype)
    return scene.replaced(name, value + amount * step), camera


def slopes(
    technique: Technique, scene: Scene, name: str, step: float = 1e-6
) -> tuple[float, float]:
    """The derivative of `weighed` by backpropagation and by a central difference."""

    def value(amount: Tensor) -> Tensor:
        return weighed(technique.render(*moved(scene, toy_camera(), name, amount)))

    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(amount), amount)
    with torch.no_grad():
        ahead, behind = value(amount + step), value(amount - step)
    return float(slope), float((ahead - behind) / (2 * step))


def gradient_picture(technique: Technique, scene: Scene, name: str) -> Tensor:
    """The derivative of every pixel of image and silhouette along the fixed direction. (H, W, 4).

    A backward pass is linear in what comes in, and the derivative of that is the forward one.
    """
    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    drawn = technique.render(*moved(scene, toy_camera(), name, amount))
    maps = torch.cat([drawn.image, drawn.silhouette[..., None]], dim=-1)
    probe = torch.zeros_like(maps, requires_grad=True)
    (pulled,) = torch.autograd.grad(maps, amount, probe, create_graph=True)
    (pushed,) = torch.autograd.grad(pulled, probe)
    return pushed


def reference_picture(scene: Scene, name: str, step: float = 0.02, fine: int = 24) -> Tensor:
    """The same by a central difference of a hard picture with `fine`² samples a pixel."""

    def area_sampled(amount: float) -> Tensor:
        there, camera = moved(scene, toy_camera(), name, torch.tensor(amount).double())
        mesh, (height, width) = as_triangles(there), camera.size
        fragments = rasterize(
            (mesh.vertices, mesh.faces), camera.resize((height * fine, width * fine))
        )
        ones = torch.ones_like(mesh.vertices[:, :1])
        maps = interpolate(torch.cat([there.radiance(), ones], dim=1), fragments)
        colour = maps[..., :3] + (1 - maps[..., 3:]) * there.background
        maps = torch.cat([colour, maps[..., 3:]], dim=-1)
        return maps.view(height, fine, width, fine, 4).mean((1, 3))

    return (area_sampled(step) - area_sampled(-step)) / (2 * step)


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))
