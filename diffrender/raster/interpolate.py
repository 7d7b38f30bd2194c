"""`interpolate`: attributes of vertices or corners, at pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.native.operators import plain
from diffrender.raster._attributes import attribute_rows
from diffrender.raster._precision import at_precision, full_precision, without_autocast
from diffrender.raster.backends import choose_backend
from diffrender.raster.fragments import Fragments, check_device

__all__ = ["interpolate"]


@without_autocast
def interpolate(
    attributes: Tensor,  # (sum V, C), (V, C) or (sum F, 3, C)
    fragments: Fragments,
    layer: int = 0,
    *,
    backend: str | None = None,
    deterministic: bool = False,
) -> Tensor:
    """Attributes at each pixel, perspective-correct; 0 where nothing was hit.

    Shapes: (sum V, C) for packed vertices, or (sum F, 3, C) for face corners (texture
    coordinates: `mesh.uv[mesh.face_uv]`) -> (..., H, W, C), contiguous. When all meshes of a batch
    have the same number of vertices (faces), (V, C) or (F, 3, C) serves all of them. Half-precision
    attributes are interpolated in the dtype of the geometry and returned as they came.

    Gradient card, the same on every back-end:

    | to | where | kind |
    |---|---|---|
    | attributes | inside faces | exact |
    | vertices, rotation, translation, intrinsics (through `fragments.bary`) | inside | exact |
    | the same | at silhouettes | none: see `antialias` |

    For fragments as `rasterize` returned them the native back-end takes the gradient straight to
    the vertices: to ask for the one with respect to `bary`, hook it, retain it, or replace it by a
    leaf, before this call.

    `backend` and `deterministic` as `rasterize`.

    Raises:
        InputError: the shape or device does not fit the packed meshes, or `layer` is out of range.
    """
    layers = fragments.face.shape[-1]
    if not 0 <= layer < layers:
        raise InputError(f"layer is {layer}, but the fragments have {layers} layers")
    check_device(fragments)
    dtype = attributes.dtype
    values, corners = attribute_rows(
        attributes,
        fragments.homogeneous.shape[0],
        fragments.faces.shape[0],
        fragments.vertex_offsets,
        fragments.face_offsets,
    )
    values = at_precision("attributes", values, fragments.homogeneous)
    bary = full_precision(fragments.bary)
    chosen = choose_backend(backend, values, deterministic=deterministic)
    faces = None if corners else fragments.faces
    if chosen == "native" and _as_rasterized(fragments):
        from diffrender.raster._through_ops import interpolate_through

        out = interpolate_through(
            plain(values.flatten(0, 1) if corners else values),
            fragments.homogeneous,
            bary.detach(),
            fragments.faces,
            fragments.face_offsets,
            fragments.face,
            layer,
            corners,
        )
    elif chosen == "native":
        from diffrender.raster._interpolate_ops import interpolate as run

        out = run(
            plain(values.flatten(0, 1) if corners else values),
            plain(bary),
            fragments.faces,
            fragments.face_offsets,
            plain(fragments.face),
            layer,
            corners,
        )
    elif chosen == "triton":
        from diffrender.raster import triton_interpolate

        size = fragments.face.shape[-3:]
        face, flat = fragments.face.reshape(-1, *size), bary.reshape(-1, *size, 3)
        out = triton_interpolate.interpolate(values, faces, face, flat, layer)
        out = out.view(*fragments.face.shape[:-1], values.shape[-1])
    else:
        from diffrender.raster import torch_raster

        out = torch_raster.interpolate(
            values, faces, fragments.face[..., layer], bary[..., layer, :]
        )
    return out if out.dtype == dtype else out.to(dtype)


def _as_rasterized(fragments: Fragments) -> bool:
    """Whether `bary` is what `rasterize` computed from `homogeneous` for these faces, unwatched.

    Then the gradient may pass by the barycentrics, straight to the vertices.
    """
    if torch.compiler.is_compiling():
        return False  # nodes of the graph cannot be looked at while it is traced
    bary, made_by, made = fragments.bary, fragments.bary.grad_fn, fragments.made
    return (
        made_by is not None
        and made is not None
        and made[0] is fragments.face
        and made[1] is fragments.faces
        and type(made_by).__name__ == "rasterizeBackward"
        and not bary.retains_grad
        and not bary._backward_hooks
        and made_by.next_functions[0][0] is fragments.homogeneous.grad_fn
    )
