"""Attributes of vertices or face corners, brought to one row for each packed vertex or corner."""

from __future__ import annotations

from torch import Tensor

from diffrender.errors import InputError

__all__ = ["attribute_rows"]


def attribute_rows(
    attributes: Tensor,  # (sum V, C), (V, C), (sum F, 3, C) or (F, 3, C)
    vertices: int,
    faces: int,
    count: int,
) -> tuple[Tensor, bool]:
    """Rows for all `vertices` or, with True, for the corners of all `faces` of `count` meshes.

    Raises:
        InputError: the shape fits neither.
    """
    corners = attributes.ndim == 3 and attributes.shape[1] == 3
    if not corners and attributes.ndim != 2:
        raise InputError(
            f"attributes has shape {tuple(attributes.shape)}, expected (sum V, C) for vertices or "
            f"(sum F, 3, C) for face corners"
        )
    rows = faces if corners else vertices
    if attributes.shape[0] != rows and attributes.shape[0] * count == rows:
        attributes = attributes.repeat(count, *([1] * (attributes.ndim - 1)))
    if attributes.shape[0] != rows:
        what = "faces" if corners else "vertices"
        raise InputError(
            f"attributes has {attributes.shape[0]} rows, expected {rows} (packed {what} of "
            f"{count} meshes)"
        )
    return attributes, corners
