"""`interpolate_derivatives`: how attributes change from pixel to pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.raster._attributes import attribute_rows
from diffrender.raster._guards import outside_autocast
from diffrender.raster._precision import full_precision
from diffrender.raster.fragments import Fragments
from diffrender.raster.torch_raster import edge_functions

__all__ = ["interpolate_derivatives"]


def interpolate_derivatives(
    attributes: Tensor,  # (sum V, C), (V, C) or (sum F, 3, C)
    fragments: Fragments,
    layer: int = 0,
) -> Tensor:
    """d(interpolated attribute) / d(pixel x, y), perspective-correct; 0 where nothing was hit.

    With texture coordinates this is the footprint that `sample_texture` takes. In the face's
    plane b_i = n_i . p / S with p = (x, y, 1) and S = sum_j n_j . p, so that
    db_i / dx = (n_i,x - b_i sum_j n_j,x) / S, and likewise for y.

    Shapes: attributes as for `interpolate` -> (..., H, W, C, 2), the last dimension x, y in pixels.

    Gradients:

    | to                         | where        | exact or biased            |
    |----------------------------|--------------|----------------------------|
    | attributes                 | inside faces | exact                      |
    | vertices, pose, intrinsics | inside faces | exact                      |
    | the same                   | silhouettes  | none: visibility is fixed  |

    Memory: some 40 numbers for each pixel that was hit, whatever the number of faces.

    Raises:
        InputError: the shape does not fit the packed meshes, or `layer` is out of range.

    Source: Olano and Greer, Triangle scan conversion using 2D homogeneous coordinates, 1997.
    """
    layers = fragments.face.shape[-1]
    if not 0 <= layer < layers:
        raise InputError(f"layer is {layer}, but the fragments have {layers} layers")
    h, faces = fragments.homogeneous, fragments.faces
    offsets = (fragments.vertex_offsets, fragments.face_offsets)
    rows, at_corners = attribute_rows(attributes, len(h), len(faces), *offsets)
    face = fragments.face[..., layer]
    where = (face >= 0).nonzero(as_tuple=True)
    hit = face[where]
    with outside_autocast(h):
        pixel = torch.stack([where[-1] + 0.5, where[-2] + 0.5, torch.ones_like(hit)], -1)
        n = edge_functions(full_precision(h)[faces[hit]].double())  # (N, 3, 3)
        e = (n * pixel[:, None].to(n)).sum(-1)  # (N, 3)
        total = e.sum(-1, keepdim=True)  # (N, 1)
        share = (e / total).unsqueeze(-1)
        slope = (n[..., :2] - share * n[..., :2].sum(1, keepdim=True)) / total.unsqueeze(-1)
        corners = rows[hit] if at_corners else rows[faces[hit]]  # (N, 3, C)
        values = corners.double().mT @ slope  # (N, C, 2)
    out = attributes.new_zeros((*face.shape, attributes.shape[-1], 2))
    return out.index_put(where, values.to(attributes.dtype))
