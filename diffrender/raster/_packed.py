"""Meshes and camera, brought to what back-ends take: packed homogeneous pixels and offsets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape
from diffrender.lens import bend
from diffrender.meshes import Mesh, MeshBatch

__all__ = ["Packed", "check_finite", "pack"]


@dataclass(frozen=True, eq=False)
class Packed:
    """One mesh for each image, packed; `leading` is () or (B,)."""

    homogeneous: Tensor  # (sum V, 3) z (x, y, 1) in pixels and metres
    faces: Tensor  # (sum F, 3)
    vertex_offsets: Tensor  # (B + 1,) on the CPU
    face_offsets: Tensor  # (B + 1,) on the CPU
    leading: tuple[int, ...]
    size: tuple[int, int]
    source: tuple[Tensor, ...]

    @property
    def count(self) -> int:
        return len(self.face_offsets) - 1


def _as_batch(meshes: Mesh | MeshBatch, camera: Camera) -> tuple[MeshBatch, tuple[int, ...]]:
    """The meshes with one entry for each image, and the leading dimensions of the result."""
    views = camera.batch_shape
    if len(views) > 1:
        raise InputError(f"camera has batch shape {tuple(views)}, expected () or (B,)")
    if isinstance(meshes, MeshBatch):
        check_shape("meshes.vertices", meshes.vertices, None, 3)
        check_shape("meshes.faces", meshes.faces, None, 3)
        if len(views) == 1 and views[0] != len(meshes):
            raise InputError(
                f"camera has batch shape ({views[0]},) but there are {len(meshes)} meshes; give "
                f"one camera for all or one for each mesh"
            )
        return meshes, (len(meshes),)
    if not isinstance(meshes, Mesh):
        raise InputError(f"meshes is a {type(meshes).__name__}, expected Mesh or MeshBatch")
    if len(views) == 1:  # one mesh seen by many cameras
        vertices = meshes.vertices.expand(views[0], -1, -1)
        return MeshBatch.shared(vertices, meshes.faces), (views[0],)
    ends = torch.tensor([[0, len(meshes.vertices)], [0, len(meshes.faces)]])
    return MeshBatch(meshes.vertices, meshes.faces, ends[0], ends[1]), ()


def pack(meshes: Mesh | MeshBatch, camera: Camera) -> Packed:
    """Project the vertices to homogeneous pixels. Differentiable to vertices and camera.

    Raises:
        InputError: shapes or dtypes do not fit together.
    """
    batch, leading = _as_batch(meshes, camera)
    vertices = batch.vertices
    if not vertices.is_floating_point():
        raise InputError(f"meshes.vertices has dtype {vertices.dtype}, expected a floating dtype")
    if batch.faces.dtype != torch.int64:
        raise InputError(f"meshes.faces has dtype {batch.faces.dtype}, expected torch.int64")
    if camera.intrinsics.dtype != vertices.dtype or camera.intrinsics.device != vertices.device:
        raise InputError(
            f"camera is {camera.intrinsics.dtype} on {camera.intrinsics.device} but the vertices "
            f"are {vertices.dtype} on {vertices.device}; bring them together with camera.to(...)"
        )
    projection = camera.intrinsics @ camera.rotation  # (..., 3, 3)
    shift = (camera.intrinsics @ camera.translation.unsqueeze(-1)).squeeze(-1)
    if not camera.batch_shape:
        homogeneous = torch.addmm(shift.reshape(1, 3), vertices, projection.mT)
    else:
        count = len(batch)
        projection, shift = projection.expand(count, 3, 3), shift.expand(count, 3)
        sizes = batch.vertex_offsets.diff()
        if bool((sizes == sizes[0]).all()) and int(sizes[0]) * count == len(vertices):
            blocks = vertices.reshape(count, -1, 3)
            homogeneous = torch.baddbmm(shift.unsqueeze(1), blocks, projection.mT).reshape(-1, 3)
        else:
            owner = batch.vertex_batch()
            moved = (projection[owner] @ vertices.unsqueeze(-1)).squeeze(-1)
            homogeneous = moved + shift[owner]
    source: tuple[Tensor, ...] = (
        meshes.vertices,
        camera.intrinsics,
        camera.rotation,
        camera.translation,
    )
    if camera.distortion is not None:
        intrinsics, lens = camera.intrinsics, camera.distortion
        if camera.batch_shape:  # one row for each vertex
            owner = batch.vertex_batch()
            intrinsics = intrinsics.expand(len(batch), 3, 3)[owner]
            lens = lens.expand(len(batch), -1)[owner]
        homogeneous = bend(homogeneous, intrinsics, lens)
        source = (*source, camera.distortion)
    return Packed(
        homogeneous.contiguous(),
        batch.faces.contiguous(),
        batch.vertex_offsets,
        batch.face_offsets,
        leading,
        camera.size,
        source,
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
