"""World points to homogeneous pixels h = K (R X + t) = z (x, y, 1), packed meshes at a time.

The plain-torch twin works anywhere; on the CPU one C++ kernel does it (native/src/project.cpp),
because a small image is drawn in less time than torch takes for five small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.native.operators import plain
from diffrender.raster.backends import native_ready

__all__ = ["Lens", "project"]


@dataclass(frozen=True, eq=False)
class Lens:
    """Cameras as packed meshes see them: one for all of them, or one for each."""

    intrinsics: Tensor  # (3, 3) or (B, 3, 3)
    rotation: Tensor  # likewise
    translation: Tensor  # (3,) or (B, 3)


def project(points: Tensor, offsets: Tensor, lens: Lens) -> Tensor:  # (sum V, 3), (B + 1,)
    """Homogeneous pixels (sum V, 3). Differentiable to points and lens."""
    if points.device.type == "cpu" and native_ready():
        from diffrender.raster._project_ops import project as run

        camera = (lens.intrinsics, lens.rotation, lens.translation)
        return run(plain(points), offsets, *(plain(c) for c in camera))
    return torch_project(points, offsets, lens)


def torch_project(points: Tensor, offsets: Tensor, lens: Lens) -> Tensor:
    """The readable twin of the kernel."""
    projection = lens.intrinsics @ lens.rotation
    shift = (lens.intrinsics @ lens.translation.unsqueeze(-1)).squeeze(-1)
    if projection.ndim == 2:
        return torch.addmm(shift, points, projection.mT)
    count, sizes = len(projection), offsets.diff()
    if bool((sizes == sizes[0]).all()) and int(sizes[0]) * count == len(points):
        blocks = points.reshape(count, -1, 3)
        return torch.baddbmm(shift.unsqueeze(1), blocks, projection.mT).reshape(-1, 3)
    owner = torch.repeat_interleave(torch.arange(count), sizes).to(points.device)
    return (projection[owner] @ points.unsqueeze(-1)).squeeze(-1) + shift[owner]
