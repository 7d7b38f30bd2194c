"""Whole pictures in one call: attributes drawn and antialiased, and the maps that fitting needs."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.raster._attributes import attribute_rows
from diffrender.raster._packed import Meshes, Posed, check_finite, homogeneous_of, pose, source_of
from diffrender.raster._precision import at_precision, without_autocast
from diffrender.raster._topology import topology
from diffrender.raster.antialias import antialias
from diffrender.raster.backends import choose_backend
from diffrender.raster.interpolate import interpolate
from diffrender.raster.rasterize import rasterize

__all__ = ["render_attributes", "render_silhouette_depth"]


@without_autocast
def render_attributes(
    attributes: Tensor,  # (sum V, C), (V, C), (sum F, 3, C) or (F, 3, C)
    meshes: Meshes,
    camera: Camera,
    *,
    cull_backfaces: bool = False,
    backend: str | None = None,
) -> Tensor:
    """Attributes of the nearest faces at each pixel, antialiased: three operations in one.

    The same as `rasterize`, `interpolate` and `antialias` after each other, up to rounding. On the
    native back-end one kernel does it all, and writes nothing but the picture and the number of the
    face at each pixel. Other back-ends call the three.

    Shapes: meshes and camera as `rasterize`, attributes as `interpolate` -> (..., H, W, C),
    contiguous; 0 where nothing was hit.

    Gradient card, the same on every back-end:

    | to | where | kind |
    |---|---|---|
    | attributes | everywhere | exact for this image |
    | vertices, rotation, translation, intrinsics, distortion | inside faces | exact |
    | the same | at silhouettes | exact for this image, biased as `antialias` |

    Memory: C numbers and a face of 4 bytes a pixel, and the crossings of outlines.

    Raises:
        InputError: as `rasterize` and `interpolate`.
    """
    posed = pose(meshes, camera)
    if choose_backend(backend, posed.vertices) != "native":
        fragments = rasterize(meshes, camera, cull_backfaces=cull_backfaces, backend=backend)
        image = interpolate(attributes, fragments, backend=backend)
        return antialias(image, fragments, meshes, camera, backend=backend)
    dtype = attributes.dtype
    batch = posed.batch
    values, corners = attribute_rows(
        at_precision("attributes", attributes, posed.vertices.dtype),
        batch.vertices.shape[0],
        batch.faces.shape[0],
        len(batch),
    )
    rows = values.reshape(-1, values.shape[-1]) if corners else values
    image = _draw(rows, meshes, posed, camera, corners, cull_backfaces)
    return image if image.dtype == dtype else image.to(dtype)


def _draw(
    values: Tensor, meshes: Meshes, posed: Posed, camera: Camera, corners: bool, cull: bool
) -> Tensor:
    from diffrender.raster._draw_ops import draw
    from diffrender.raster._native_ops import NotFiniteError

    batch, lens = posed.batch, posed.lens
    faces = batch.faces.contiguous()
    table = topology(faces, batch.vertex_offsets, batch.face_offsets)
    view: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)
    if camera.distortion is None:
        points = posed.vertices
        k, r, t = lens.intrinsics, lens.rotation, lens.translation
        view = (k.contiguous(), r.contiguous(), t.contiguous())
    else:
        points = homogeneous_of(posed, camera)
    inputs = (points, values, *(m for m in view if m is not None))
    try:
        return draw(
            points.contiguous(),
            view,
            values.contiguous(),
            faces,
            batch.vertex_offsets,
            batch.face_offsets,
            table.index,
            table.edge_offsets,
            table.edges,
            table.opposite_offsets,
            table.opposite,
            [*posed.leading, *camera.size],
            corners,
            cull,
            torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs),
        )
    except NotFiniteError:
        check_finite(source_of(meshes, camera))
        raise


def render_silhouette_depth(
    meshes: Meshes, camera: Camera, *, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Antialiased coverage, and depth of what is covered.

    Shapes: as `rasterize`, alpha (..., H, W) in [0, 1] and depth (..., H, W) in metres, 0 where
    alpha is 0. At a pixel that is partly covered, depth is that of the covered part (blended
    depth over alpha), so the background does not pull it towards 0.

    Gradients: vertices, pose and intrinsics, inside and at silhouettes.

    Raises:
        InputError: as `rasterize`.
    """
    fragments = rasterize(meshes, camera, backend=backend)
    image = torch.cat([fragments.mask().unsqueeze(-1), fragments.depth], dim=-1)
    alpha, blended = antialias(image, fragments, meshes, camera, backend=backend).unbind(-1)
    covered = alpha > 0
    return alpha, torch.where(covered, blended / torch.where(covered, alpha, 1.0), 0.0)
