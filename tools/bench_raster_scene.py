"""What the grid of `diffrender bench raster` draws, and our operations on it as timed calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster import (
    antialias,
    interpolate,
    rasterize,
    render_attributes,
    soft_silhouette,
)

__all__ = ["Cell", "Scene", "full_step", "operations", "scene_of", "soft_step"]

SIGMA, FACES_PER_PIXEL = 1e-4, 10  # of every soft silhouette here

Call = Callable[[], Any]


@dataclass(frozen=True)
class Cell:
    """One point of the grid: a sphere of `faces` triangles in `batch` images of `size`²."""

    faces: int  # 20 * 4^n
    size: int
    batch: int

    def __str__(self) -> str:
        return f"{self.faces} faces, {self.size} x {self.size}, batch {self.batch}"

    @property
    def pixels(self) -> int:
        """Pixels of all images together."""
        return self.batch * self.size**2


@dataclass(frozen=True)
class Scene:
    """A cell's tensors; float32, as both are asked for in practice.

    Attributes:
        vertices: (B, V, 3), in the camera's frame, no two of the batch alike.
        faces: (F, 3) of all of them.
        intrinsics: (3, 3).
        colours: (B, V, 3).
        upstream: (B, H, W, 3), the gradient that is brought back.
    """

    vertices: torch.Tensor  # (B, V, 3)
    faces: torch.Tensor  # (F, 3)
    intrinsics: torch.Tensor  # (3, 3)
    colours: torch.Tensor  # (B, V, 3)
    upstream: torch.Tensor  # (B, H, W, 3)

    @property
    def camera(self) -> Camera:
        """In front of the spheres, for all images."""
        height, width = self.upstream.shape[1:3]
        return Camera(self.intrinsics, torch.eye(3), torch.zeros(3), (height, width))


@lru_cache(maxsize=8)
def _sphere(subdivisions: int) -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.asarray(ball.vertices), np.asarray(ball.faces)


def scene_of(cell: Cell) -> Scene:
    """Spheres 3 m ahead that cover 47 % of their image, each shifted a little.

    Raises:
        InputError: no icosphere has that many faces.
    """
    subdivisions = next((n for n in range(8) if 20 * 4**n == cell.faces), None)
    if subdivisions is None:
        raise InputError(f"no icosphere has {cell.faces} faces, expected 20 * 4^n, n < 8")
    ball, faces = _sphere(subdivisions)
    draws = torch.Generator().manual_seed(0)
    shift = torch.tensor([0.05, 0.02, 3.0]) + 0.02 * torch.rand(cell.batch, 1, 3, generator=draws)
    focal, middle = 1.1 * cell.size, cell.size / 2
    return Scene(
        torch.tensor(ball, dtype=torch.float32) + shift,
        torch.tensor(faces, dtype=torch.int64),
        torch.tensor([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]]),
        torch.rand(cell.batch, len(ball), 3, generator=draws),
        torch.rand(cell.batch, cell.size, cell.size, 3, generator=draws),
    )


def _meshes(scene: Scene) -> tuple[Mesh | MeshBatch, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Meshes, the vertices and colours to bring gradients to, and the upstream gradient."""
    leaf = scene.vertices.clone().requires_grad_()
    colours = scene.colours.reshape(-1, 3).clone().requires_grad_()
    if len(leaf) > 1:
        return MeshBatch.shared(leaf, scene.faces), leaf, colours, scene.upstream
    leaf = leaf.detach()[0].requires_grad_()
    return Mesh(leaf, scene.faces), leaf, colours, scene.upstream[0]


def full_step(scene: Scene, *, apart: bool = False) -> tuple[Call, Call]:
    """rasterize + interpolate + antialias: forward alone, and forward + backward.

    By `render_attributes`, which is the three in one, or with `apart` by three calls.
    """
    meshes, leaf, colours, upstream = _meshes(scene)
    camera = scene.camera

    def one_call() -> torch.Tensor:
        return render_attributes(colours, meshes, camera, cull_backfaces=True)

    def three_calls() -> torch.Tensor:
        fragments = rasterize(meshes, camera, cull_backfaces=True)
        return antialias(interpolate(colours, fragments), fragments, meshes, camera)

    forward = three_calls if apart else one_call

    # A batch's reshape of the vertices is part of its graph, which is kept from step to step. The
    # upstream gradient is given, and left as it is.
    def both() -> object:
        keep = leaf.ndim == 3
        return torch.autograd.grad(forward(), (leaf, colours), upstream, retain_graph=keep)

    return forward, both


def soft_step(scene: Scene) -> Call:
    """Soft silhouette, forward + backward, with the peer's settings."""
    meshes, leaf, _, upstream = _meshes(scene)
    camera, weights = scene.camera, upstream[..., 0].contiguous()

    def both() -> object:
        alpha = soft_silhouette(meshes, camera, sigma=SIGMA, faces_per_pixel=FACES_PER_PIXEL)
        return torch.autograd.grad(alpha, leaf, weights, retain_graph=leaf.ndim == 3)

    return both


def operations(scene: Scene, *, soft: bool) -> dict[str, Call]:
    """Each operation's forward and backward apart, on graphs that are kept; soft ones if asked."""
    meshes, leaf, colours, upstream = _meshes(scene)
    camera = scene.camera

    def draw() -> object:
        return rasterize(meshes, camera, cull_backfaces=True)

    def blurred() -> torch.Tensor:
        return soft_silhouette(meshes, camera, sigma=SIGMA, faces_per_pixel=FACES_PER_PIXEL)

    drawn = rasterize(meshes, camera, cull_backfaces=True)
    # Cut between the operations, so that a backward pass ends where the operation began.
    cut = dataclasses.replace(drawn, bary=drawn.bary.detach().requires_grad_())
    image = interpolate(colours, cut)
    plain = image.detach().requires_grad_()
    blended = antialias(plain, drawn, meshes, camera)
    to_bary = torch.rand_like(drawn.bary)
    weights = upstream[..., 0].contiguous()

    def back(out: torch.Tensor, to: tuple[torch.Tensor, ...], by: torch.Tensor) -> Call:
        return lambda: torch.autograd.grad(out, to, by, retain_graph=True)

    calls: dict[str, Call] = {
        "rasterize forward": draw,
        "rasterize backward": back(drawn.bary, (leaf,), to_bary),
        "interpolate forward": lambda: interpolate(colours, cut),
        "interpolate backward": back(image, (colours, cut.bary), upstream),
        "antialias forward": lambda: antialias(plain, drawn, meshes, camera),
        "antialias backward": back(blended, (plain, leaf), upstream),
    }
    if soft:
        calls["soft silhouette forward"] = blurred
        calls["soft silhouette backward"] = back(blurred(), (leaf,), weights)
    return calls
