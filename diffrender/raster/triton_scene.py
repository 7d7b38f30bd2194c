"""What the Triton kernels know of a packed batch, on the device of its vertices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.raster.triton_bins import Boxes

__all__ = ["NotFiniteError", "Scene", "boxed", "owners", "scene"]


class NotFiniteError(InputError):
    """A projected vertex is NaN or infinite; the caller finds out which tensor brought it."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Ragged meshes, one an image."""

    h: Tensor  # (sum V, 3)
    faces: Tensor  # (sum F, 3)
    image: Tensor  # (sum F,) int32, the image that each face belongs to
    vertex_offsets: Tensor  # (B + 1,)
    count: int  # B
    height: int
    width: int


def owners(offsets: Tensor, device: torch.device) -> Tensor:
    """Which range of `offsets` (on the CPU) each element lies in. Shape (offsets[-1],) int32."""
    sizes = offsets.diff().to(device)
    numbers = torch.arange(len(sizes), device=device, dtype=torch.int32)
    return torch.repeat_interleave(numbers, sizes, output_size=int(offsets[-1]))


def scene(
    h: Tensor,
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    height: int,
    width: int,
) -> Scene:
    image = owners(face_offsets, h.device)
    starts = vertex_offsets.to(h.device)
    return Scene(h, faces, image, starts, len(face_offsets) - 1, height, width)


def boxed(scene: Scene, tiles: Tensor, counts: Tensor, bad: Tensor) -> Boxes:
    """The boxes of all faces, once the scene is known to be sound.

    Raises:
        NotFiniteError: a vertex is NaN or infinite.
        InputError: a face points outside its mesh.
    """
    ends = counts.cumsum(0)
    total = ends[-1] if len(ends) else ends.new_zeros(())
    broken = torch.stack([~torch.isfinite(scene.h).all(), bad.any()])
    # One transfer: the host waits here, and nowhere else before the image is drawn.
    infinite, outside, pairs = torch.cat([broken.long(), total.reshape(1)]).tolist()
    if infinite:
        raise NotFiniteError("a projected vertex is NaN or infinite")
    if outside:
        raise InputError(
            f"meshes.faces points outside its own mesh's vertices (packed face "
            f"{int(bad.nonzero()[0])}); check faces, vertex_offsets and face_offsets"
        )
    return Boxes(tiles, ends, scene.image, pairs)
