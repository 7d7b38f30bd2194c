"""`interpolate`: attributes of vertices or corners, at pixels."""

from __future__ import annotations

from torch import Tensor

from diffrender.errors import InputError
from diffrender.raster.backends import choose_backend
from diffrender.raster.fragments import Fragments

__all__ = ["interpolate"]


def interpolate(
    attributes: Tensor,  # (sum V, C), (V, C) or (sum F, 3, C)
    fragments: Fragments,
    layer: int = 0,
    *,
    backend: str | None = None,
) -> Tensor:
    """Attributes at each pixel, perspective-correct; 0 where nothing was hit.

    Shapes: (sum V, C) for packed vertices, or (sum F, 3, C) for face corners (texture
    coordinates: `mesh.uv[mesh.face_uv]`) -> (..., H, W, C). When all meshes of a batch have the
    same number of vertices (faces), (V, C) or (F, 3, C) serves all of them.

    Gradients: attributes, and through `fragments.bary` vertices, pose and intrinsics.

    Raises:
        InputError: the shape does not fit the packed meshes, or `layer` is out of range.
    """
    layers = fragments.face.shape[-1]
    if not 0 <= layer < layers:
        raise InputError(f"layer is {layer}, but the fragments have {layers} layers")
    corners = attributes.ndim == 3 and attributes.shape[1] == 3
    if not corners and attributes.ndim != 2:
        raise InputError(
            f"attributes has shape {tuple(attributes.shape)}, expected (sum V, C) for vertices or "
            f"(sum F, 3, C) for face corners"
        )
    if attributes.dtype != fragments.bary.dtype:
        raise InputError(
            f"attributes is {attributes.dtype} but the fragments are {fragments.bary.dtype}; "
            f"convert one of them"
        )
    count = len(fragments.face_offsets) - 1
    rows = len(fragments.faces) if corners else len(fragments.homogeneous)
    if len(attributes) != rows and len(attributes) * count == rows:
        attributes = attributes.repeat(count, *([1] * (attributes.ndim - 1)))
    if len(attributes) != rows:
        what = "faces" if corners else "vertices"
        raise InputError(
            f"attributes has {len(attributes)} rows, expected {rows} (packed {what} of "
            f"{count} meshes)"
        )
    lead = fragments.face.shape[:-3]
    size = fragments.face.shape[-3:]
    face = fragments.face.reshape(-1, *size)
    bary = fragments.bary.reshape(-1, *size, 3)
    chosen = choose_backend(backend, attributes)
    if chosen == "native":
        from diffrender.raster._native_ops import ops

        out = ops.interpolate(
            attributes.reshape(-1, attributes.shape[-1]).contiguous(),
            None if corners else fragments.faces,
            fragments.face_offsets,
            face.contiguous(),
            bary.contiguous(),
            layer,
        )
    elif chosen == "triton":
        from diffrender.raster import triton_interpolate

        faces = None if corners else fragments.faces
        out = triton_interpolate.interpolate(attributes, faces, face, bary, layer)
    else:
        from diffrender.raster import torch_raster

        faces = None if corners else fragments.faces
        out = torch_raster.interpolate(attributes, faces, face[..., layer], bary[..., layer, :])
    return out.reshape(*lead, *size[:2], attributes.shape[-1])
