"""Guards of the public edge: half precision and autocast taken to float32, NaN named."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch

__all__ = ["outside_autocast", "require_finite", "widen_scene"]

_HALF = (torch.float16, torch.bfloat16)


def outside_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which matrix products on the tensor's device are not narrowed."""
    return torch.autocast(tensor.device.type, enabled=False)


def widen_scene(meshes: Mesh | MeshBatch, camera: Camera) -> tuple[Mesh | MeshBatch, Camera]:
    """Vertices and camera of half precision as float32, others as they are."""
    if isinstance(meshes, Mesh | MeshBatch) and meshes.vertices.dtype in _HALF:
        meshes = dataclasses.replace(meshes, vertices=meshes.vertices.float())
    if camera.intrinsics.dtype in _HALF:
        camera = camera.to(torch.float32)
    return meshes, camera


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise InputError naming the tensor if it holds NaN or infinite values."""
    with torch.no_grad():
        if bool(torch.isfinite(tensor.sum())):  # one pass; a sum may overflow, so look again
            return
        bad = ~torch.isfinite(tensor)
        if bool(bad.any()):
            where = tuple(int(i) for i in bad.nonzero()[0])
            raise InputError(
                f"{name} holds {int(bad.sum())} NaN or infinite values, the first at {where}; "
                f"check the step that made it"
            )
