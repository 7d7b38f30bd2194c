"""`estimate_memory`: what a call will take, before it takes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffrender.errors import InputError
from diffrender.native import kernel_threads

__all__ = ["MemoryEstimate", "estimate_memory"]

_BAND = 2 * 8192 * 16 + 65536 * 24  # bytes of depths, slots and lists that one thread works on
_FACE = 184  # bytes of a prepared face in the native kernels: edge functions, bounds, list entry
_VERTEX = 24  # bytes of a projected vertex there, beside the tensor
_TORCH_PAIRS = 4_000_000 * 8 * 12  # bytes of the plain-torch twin's face-pixel pairs at a time


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak of one operation.

    Attributes:
        outputs: the maps that are returned; they grow with pixels and layers and cannot be split.
        scratch: what the operation needs beside them and frees: it grows with the faces, and with
            the pixels only up to a band of rows for each thread, so an image of any size fits.
        backward: more of it in the backward pass, gradients of the maps included.
    """

    outputs: int
    scratch: int
    backward: int

    @property
    def total(self) -> int:
        """Forward and backward together."""
        return self.outputs + self.scratch + self.backward


def estimate_memory(
    faces: int,
    vertices: int,
    size: tuple[int, int],
    *,
    layers: int = 1,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    backend: str = "native",
) -> MemoryEstimate:
    """Upper bound of the memory of `rasterize` and its backward pass, in bytes.

    The native kernels draw an image in bands of rows and the plain-torch twin in chunks of
    face-pixel pairs, so neither a large image nor many faces makes them fail or drop a face; only
    the returned maps themselves grow with the image.

    Args:
        faces, vertices: of one mesh of the batch.
        size: (height, width) in pixels.

    Raises:
        InputError: a count is negative, or the back-end is not known here.
    """
    if min(faces, vertices, layers, batch, *size) < 0:
        raise InputError(
            f"faces {faces}, vertices {vertices}, size {size}, layers {layers}, batch {batch}: "
            f"expected no negative number"
        )
    if backend not in ("native", "torch"):
        raise InputError(f"backend is {backend!r}, expected 'native' or 'torch'")
    real = torch.finfo(dtype).bits // 8
    entries = batch * size[0] * size[1] * layers
    outputs = entries * (8 + 4 * real) + batch * vertices * 3 * real
    if backend == "native":
        side_by_side = min(batch, kernel_threads())
        scratch = kernel_threads() * _BAND + side_by_side * (faces * _FACE + vertices * _VERTEX)
        backward = entries * 4 * real + batch * (faces * 12 * 8 + vertices * 6 * real)
    else:
        scratch = _TORCH_PAIRS + faces * 3 * 3 * 8 * 4
        backward = entries * (4 * real + 3 * 3 * 8 * 4)
    return MemoryEstimate(outputs, scratch, backward)
