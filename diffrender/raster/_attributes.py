"""Attributes of vertices or face corners, brought to one row for each packed vertex or corner."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["attribute_rows"]


def attribute_rows(
    attributes: Tensor,  # (sum V, C), (V, C), (sum F, 3, C) or (F, 3, C)
    vertices: int,
    faces: int,
    vertex_offsets: Tensor,  # (B + 1,)
    face_offsets: Tensor,  # (B + 1,)
) -> tuple[Tensor, bool]:
    """Rows for all `vertices` or, with True, for the corners of all `faces` of B packed meshes.

    In a traced graph, whose offsets cannot be looked at, the caller answers for equal meshes.

    Raises:
        InputError: the shape fits neither.
    """
    corners = attributes.ndim == 3 and attributes.shape[1] == 3
    if not corners and attributes.ndim != 2:
        raise InputError(
            f"attributes has shape {tuple(attributes.shape)}, expected (sum V, C) for vertices or "
            f"(sum F, 3, C) for face corners"
        )
    own, rows, count = attributes.shape[0], faces if corners else vertices, len(face_offsets) - 1
    what = "faces" if corners else "vertices"
    if own != rows and own * count == rows:
        if not torch.compiler.is_compiling():
            sizes = (face_offsets if corners else vertex_offsets).diff()
            if bool((sizes != own).any()):
                raise InputError(
                    f"attributes has {own} rows for all {count} meshes, but these have "
                    f"{int(sizes.min())} to {int(sizes.max())} {what}; give one row for each of "
                    f"the {rows} packed {what}"
                )
        attributes = attributes.repeat(count, *([1] * (attributes.ndim - 1)))
    if attributes.shape[0] != rows:
        raise InputError(
            f"attributes has {attributes.shape[0]} rows, expected {rows} (packed {what} of "
            f"{count} meshes)"
        )
    return attributes, corners
