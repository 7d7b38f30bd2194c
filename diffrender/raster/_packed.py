"""Meshes and camera, brought to what back-ends take: packed homogeneous pixels and offsets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape
from diffrender.lens import bend
from diffrender.meshes import Mesh, MeshBatch
from diffrender.native.operators import plain
from diffrender.raster._precision import full_precision
from diffrender.raster._project import Lens, project

__all__ = [
    "Meshes",
    "Packed",
    "Posed",
    "check_finite",
    "homogeneous_of",
    "pack",
    "pose",
    "source_of",
]

Meshes: TypeAlias = Mesh | MeshBatch | tuple[Tensor, Tensor]


class Posed(NamedTuple):  # made faster than a dataclass, once for every picture
    """Meshes in the world, one for each image, and the cameras that see them."""

    batch: MeshBatch
    vertices: Tensor  # (sum V, 3) of the batch, float32 or float64
    lens: Lens
    leading: tuple[int, ...]
    dtype: torch.dtype  # of the vertices as they came


@dataclass(frozen=True, eq=False)
class Packed:
    """One mesh for each image, packed; `leading` are the dimensions before (H, W)."""

    homogeneous: Tensor  # (sum V, 3) z (x, y, 1) in pixels and metres, float32 or float64
    faces: Tensor  # (sum F, 3)
    vertex_offsets: Tensor  # (B + 1,) on the CPU
    face_offsets: Tensor  # (B + 1,) on the CPU
    leading: tuple[int, ...]
    size: tuple[int, int]
    source: tuple[Tensor, ...]
    dtype: torch.dtype  # of the vertices as they came

    @property
    def count(self) -> int:
        return self.face_offsets.shape[0] - 1


def _as_batch(meshes: Meshes, views: torch.Size) -> tuple[MeshBatch, tuple[int, ...]]:
    """The meshes with one entry for each image, and the leading dimensions of the result."""
    if isinstance(meshes, MeshBatch):
        return _repeated(meshes, views)
    if isinstance(meshes, Mesh):
        vertices, faces = meshes.vertices, meshes.faces
    elif isinstance(meshes, tuple) and len(meshes) == 2:
        vertices, faces = meshes
        check_shape("vertices", vertices, "...", None, 3)
        check_shape("faces", faces, None, 3)
    else:
        raise InputError(
            f"meshes is a {type(meshes).__name__}, expected Mesh, MeshBatch or (vertices, faces)"
        )
    if not views and vertices.ndim == 2:
        return MeshBatch.single(vertices, faces), ()
    try:
        leading = torch.broadcast_shapes(vertices.shape[:-2], views)
    except RuntimeError as error:
        raise InputError(
            f"camera has batch shape {tuple(views)} and vertices {tuple(vertices.shape[:-2])}: "
            f"they do not broadcast"
        ) from error
    whole = vertices.expand(*leading, *vertices.shape[-2:])
    return MeshBatch.shared(whole.reshape(-1, *vertices.shape[-2:]), faces), tuple(leading)


def _repeated(meshes: MeshBatch, views: torch.Size) -> tuple[MeshBatch, tuple[int, ...]]:
    check_shape("meshes.vertices", meshes.vertices, None, 3)
    check_shape("meshes.faces", meshes.faces, None, 3)
    count = len(meshes)
    if not views or tuple(views) == (count,):
        return meshes, (count,)
    if views[-1] not in (1, count):
        raise InputError(
            f"camera has batch shape {tuple(views)} but there are {count} meshes; give one camera "
            f"for all, one for each mesh, or (..., {count}) of them"
        )
    leading = (*views[:-1], count)
    return meshes.repeat(math.prod(leading[:-1])), leading


def source_of(meshes: Meshes, camera: Camera) -> tuple[Tensor, ...]:
    """The tensors that the projection depends on."""
    vertices = meshes[0] if isinstance(meshes, tuple) else meshes.vertices
    source = (vertices, camera.intrinsics, camera.rotation, camera.translation)
    return source if camera.distortion is None else (*source, camera.distortion)


def pose(meshes: Meshes, camera: Camera) -> Posed:
    """Meshes and cameras of one dtype, brought together image by image; nothing is projected yet.

    Half-precision inputs are taken to float32 first.

    Raises:
        InputError: shapes or dtypes do not fit together.
    """
    batch, leading = _as_batch(meshes, camera.batch_shape)
    dtype = batch.vertices.dtype
    vertices = full_precision(batch.vertices)
    if vertices.dtype not in (torch.float32, torch.float64):
        raise InputError(f"meshes.vertices has dtype {dtype}, expected a floating dtype")
    if batch.faces.dtype != torch.int64 or batch.faces.device != vertices.device:
        raise InputError(
            f"meshes.faces is {batch.faces.dtype} on {batch.faces.device}, expected torch.int64 on "
            f"{vertices.device} as the vertices"
        )
    k, r = full_precision(camera.intrinsics), full_precision(camera.rotation)
    t = full_precision(camera.translation)
    for m in (k, r, t):
        if m.dtype != vertices.dtype or m.device != vertices.device:
            raise InputError(
                f"camera is {m.dtype} on {m.device} but the vertices are {dtype} on "
                f"{vertices.device}; bring them together with camera.to(...)"
            )
    if k.ndim != 2 or r.ndim != 2 or t.ndim != 1:
        count = len(batch)
        k, r = (m.expand(*leading, 3, 3).reshape(count, 3, 3) for m in (k, r))
        t = t.expand(*leading, 3).reshape(count, 3)
    return Posed(batch, vertices, Lens(k, r, t), leading, dtype)


def homogeneous_of(posed: Posed, camera: Camera) -> Tensor:
    """The projected vertices, (sum V, 3) z (x, y, 1). Differentiable to vertices and camera."""
    batch, k = posed.batch, posed.lens.intrinsics
    homogeneous = project(posed.vertices, batch.vertex_offsets, posed.lens)
    if camera.distortion is None:
        return homogeneous
    curve = full_precision(camera.distortion)
    if curve.ndim != 1 or k.ndim != 2:  # one row for each vertex
        owner = batch.vertex_batch()
        curve = curve.expand(*posed.leading, curve.shape[-1]).reshape(len(batch), -1)[owner]
        k = k.expand(len(batch), 3, 3)[owner]
    return bend(homogeneous, k, curve)


def pack(meshes: Meshes, camera: Camera) -> Packed:
    """Project the vertices to homogeneous pixels. Differentiable to vertices and camera.

    Raises:
        InputError: as `pose`.
    """
    posed = pose(meshes, camera)
    batch = posed.batch
    return Packed(
        homogeneous_of(posed, camera),
        plain(batch.faces),
        batch.vertex_offsets,
        batch.face_offsets,
        posed.leading,
        camera.size,
        source_of(meshes, camera),
        posed.dtype,
    )


def check_finite(source: tuple[Tensor, ...]) -> None:
    """Raise InputError naming the tensor that holds NaN or infinite values."""
    camera = ("intrinsics", "rotation", "translation", "distortion")
    names = ("meshes.vertices", *(f"camera.{name}" for name in camera))
    for name, tensor in zip(names, source, strict=False):  # not every camera has a lens
        bad = ~torch.isfinite(tensor)
        if bool(bad.any()):
            where = tuple(int(i) for i in bad.nonzero()[0])
            raise InputError(
                f"{name} holds {int(bad.sum())} NaN or infinite values, the first at {where}; "
                f"check the step that made it"
            )
    raise InputError("the projected vertices overflow: coordinates are far too large")
