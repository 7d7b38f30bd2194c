"""Small scenes that the raster tests share."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import backends

DOUBLE = torch.float64

_USABLE = [
    name for name, reason in backends().items() if reason is None and name != "pytorch3d"
]  # its edge rule is its own
# Where `triton` can run: on a CUDA device, or on the CPU in its interpreter.
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
TRITON_DEVICE = ("cpu" if _INTERPRETED else "cuda") if "triton" in _USABLE else None
GPU_MARKS = [pytest.mark.gpu] if TRITON_DEVICE == "cuda" else []
NEEDS_TRITON = "needs a CUDA device, or triton installed and TRITON_INTERPRET=1 in the environment"

# What tests run over. On a CUDA device those of `triton` have the marker `gpu`, and conftest.py
# brings what they pass to the device.
_GPU: Any = pytest.param("triton", marks=pytest.mark.gpu)
BACKENDS = [_GPU if name == "triton" and not _INTERPRETED else name for name in _USABLE]
EACH_BACKEND = pytest.mark.parametrize("backend", BACKENDS)
NEEDS_NATIVE = pytest.mark.skipif(
    "native" not in BACKENDS, reason="the native kernels are not built"
)

# Two triangles that share an edge, no two vertices at one depth.
VERTICES = torch.tensor(
    [[-0.6, -0.5, 1.8], [0.7, -0.4, 2.1], [-0.5, 0.6, 2.4], [0.6, 0.7, 1.9]], dtype=DOUBLE
)
FACES = torch.tensor([[0, 1, 2], [1, 3, 2]])


def pinhole(
    size: tuple[int, int],
    focal: float = 40.0,
    centre: tuple[float, float] | None = None,
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0),
    dtype: torch.dtype = DOUBLE,
) -> Camera:
    """A camera without rotation, its principal point in the middle unless told."""
    cx, cy = centre or (size[1] / 2, size[0] / 2)
    intrinsics = torch.tensor([[focal, 0, cx], [0, focal, cy], [0, 0, 1]], dtype=dtype)
    shift = torch.tensor(translation, dtype=dtype)
    return Camera.from_intrinsics(intrinsics, size, pixel_centres="half", translation=shift)


def flat_camera(size: tuple[int, int]) -> Camera:
    """A camera under which a vertex (x, y, 1) lies at pixel (x, y)."""
    return pinhole(size, focal=1.0, centre=(0.0, 0.0))


def flat_mesh(points: list[tuple[float, float]], faces: list[tuple[int, int, int]]) -> Mesh:
    """Triangles at depth 1, in pixels of `flat_camera`."""
    vertices = torch.tensor([(*p, 1.0) for p in points], dtype=DOUBLE)
    return Mesh(vertices, torch.tensor(faces, dtype=torch.int64).reshape(-1, 3))


def rectangle(left: float, top: float, right: float, bottom: float) -> Mesh:
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return flat_mesh(corners, [(0, 2, 1), (0, 3, 2)])


def from_trimesh(mesh: trimesh.Trimesh, dtype: torch.dtype = DOUBLE) -> Mesh:
    return Mesh(
        torch.tensor(np.asarray(mesh.vertices), dtype=dtype),
        torch.tensor(np.asarray(mesh.faces), dtype=torch.int64),
    )


def sphere(subdivisions: int = 2, dtype: torch.dtype = DOUBLE) -> Mesh:
    return from_trimesh(trimesh.creation.icosphere(subdivisions=subdivisions), dtype)


def torus(dtype: torch.dtype = DOUBLE) -> Mesh:
    ring = trimesh.creation.torus(0.7, 0.25, major_sections=24, minor_sections=12)
    ring.apply_transform(trimesh.transformations.rotation_matrix(0.9, (1.0, 0.4, 0.1)))
    return from_trimesh(ring, dtype)


def random_square(count: int, size: float, generator: np.random.Generator) -> Mesh:
    """A Delaunay triangulation of random points that fills [0, size]^2, at uneven depths."""
    from scipy.spatial import Delaunay

    inner = generator.uniform(0, size, (count, 2))
    corners = np.array([[-1, -1], [size + 1, -1], [-1, size + 1], [size + 1, size + 1]])
    points = np.concatenate([corners, inner])
    depth = generator.uniform(1.0, 3.0, (len(points), 1))
    vertices = np.concatenate([points * depth, depth], axis=1)
    faces = Delaunay(points).simplices
    return Mesh(torch.tensor(vertices), torch.tensor(faces, dtype=torch.int64))


def weights(shape: torch.Size, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    """Random weights that turn an image into a scalar."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=dtype)
