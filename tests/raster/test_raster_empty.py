"""Batches of no mesh and attributes of no channel: pictures without an entry, and no error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from raster_scenes import FACES, NEEDS_NATIVE, pinhole
from torch import Tensor

from diffrender.meshes import MeshBatch
from diffrender.raster import (
    antialias,
    find_crossings,
    interpolate,
    rasterize,
    rasterize_points,
    render_attributes,
    render_silhouette_depth,
    sample_texture,
    soft_shade,
    soft_silhouette,
)

BOTH = pytest.mark.parametrize("backend", [pytest.param("native", marks=NEEDS_NATIVE), "torch"])
FLOAT = torch.float32
CAMERA = pinhole((6, 8), focal=8.0, dtype=FLOAT)
SIZE = (6, 8)


def nothing() -> tuple[Tensor, MeshBatch, Tensor]:
    """Vertices of no mesh, their batch, and attributes that each of its meshes would have."""
    vertices = torch.zeros(0, 4, 3, requires_grad=True)
    return vertices, MeshBatch.shared(vertices, FACES), torch.rand(4, 5, requires_grad=True)


@BOTH
def test_pictures_of_no_mesh(backend: str) -> None:
    vertices, meshes, values = nothing()
    pictures: dict[str, Callable[[], Tensor]] = {
        "attributes": lambda: render_attributes(values, meshes, CAMERA, backend=backend),
        "pair": lambda: render_attributes(values, (vertices, FACES), CAMERA, backend=backend),
        "shade": lambda: soft_shade(values, meshes, CAMERA, backend=backend),
        "lit": lambda: soft_shade(
            values, meshes, CAMERA, background=torch.ones(5), backend=backend
        ),
    }
    for name, draw in pictures.items():
        image = draw()
        assert image.shape == (0, *SIZE, 5), name
        (grad,) = torch.autograd.grad(image.sum(), values)
        assert bool((grad == 0).all()), name
    for part in render_silhouette_depth(meshes, CAMERA, backend=backend):
        assert part.shape == (0, *SIZE)
    alpha = soft_silhouette(meshes, CAMERA, backend=backend)
    assert alpha.shape == (0, *SIZE)
    (by_vertices,) = torch.autograd.grad(alpha.sum(), vertices)
    assert by_vertices.shape == vertices.shape
    points = rasterize_points(torch.zeros(0, 4, 3), CAMERA, radius=torch.ones(4), backend=backend)
    assert points.depth.shape == (0, *SIZE, 1)


@BOTH
def test_the_steps_of_a_picture_of_no_mesh(backend: str) -> None:
    _, meshes, values = nothing()
    found = rasterize(meshes, CAMERA, layers=2, backend=backend)
    assert found.depth.shape == (0, *SIZE, 2)
    image = interpolate(values, found, backend=backend)
    assert antialias(image, found, meshes, CAMERA, backend=backend).shape == (0, *SIZE, 5)
    one = rasterize(meshes, CAMERA, backend=backend)
    out, crossings = find_crossings(image.detach(), one, backend=backend)
    assert out.shape == image.shape and len(crossings.alpha) == 0


@BOTH
def test_no_texture_has_no_samples(backend: str) -> None:
    texture, uv = torch.zeros(0, 4, 4, 3, requires_grad=True), torch.zeros(0, 7, 2)
    assert sample_texture(texture, uv, backend=backend).shape == (0, 7, 3)
    footprint = torch.zeros(0, 7, 2, 2)
    sampled = sample_texture(texture, uv, footprint=footprint, backend=backend)
    assert sampled.shape == (0, 7, 3)


@BOTH
def test_attributes_of_no_channel(backend: str) -> None:
    mesh = (torch.rand(4, 3) + 1, FACES)
    found = rasterize(mesh, CAMERA, backend=backend)
    for values in (torch.zeros(4, 0), torch.zeros(2, 3, 0)):
        assert render_attributes(values, mesh, CAMERA, backend=backend).shape == (*SIZE, 0)
        assert interpolate(values, found, backend=backend).shape == (*SIZE, 0)
