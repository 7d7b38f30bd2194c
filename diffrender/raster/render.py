"""Whole pictures in one call: attributes drawn and antialiased, and the maps that fitting needs."""

from __future__ import annotations

import functools
from typing import TypeAlias

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh, MeshBatch, kept_ends
from diffrender.native.operators import plain
from diffrender.raster._attributes import attribute_rows
from diffrender.raster._draw_ops import draw
from diffrender.raster._draw_scene import Scene, new_scene, scene_of
from diffrender.raster._native_ops import NotFiniteError
from diffrender.raster._packed import Meshes, Posed, check_finite, homogeneous_of, pose, source_of
from diffrender.raster._precision import at_precision, without_autocast
from diffrender.raster.antialias import antialias
from diffrender.raster.backends import choose_backend, native_ready
from diffrender.raster.interpolate import interpolate
from diffrender.raster.rasterize import rasterize

__all__ = ["render_attributes", "render_silhouette_depth"]


_ready = functools.cache(native_ready)  # asked before every picture


def render_attributes(
    attributes: Tensor,  # (sum V, C), (V, C), (sum F, 3, C) or (F, 3, C)
    meshes: Meshes,
    camera: Camera,
    *,
    cull_backfaces: bool = False,
    backend: str | None = None,
    deterministic: bool = False,
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

    `deterministic` as `rasterize`.

    Raises:
        InputError: as `rasterize` and `interpolate`.
    """
    drawing = _usual(attributes, meshes, camera, cull_backfaces) if backend is None else None
    if drawing is not None:  # all in one dtype, which autocast leaves alone
        return _draw(drawing, meshes, camera)
    return _at_length(attributes, meshes, camera, cull_backfaces, backend, deterministic)


# What the kernel takes: points (sum V, 3), their camera k, r, t or None where they are homogeneous
# pixels already, values (rows, C), and the rest. A plain tuple: it is made once for every picture.
_Drawing: TypeAlias = tuple[Tensor, tuple[Tensor | None, ...], Tensor, Scene]


def _usual(attributes: Tensor, meshes: Meshes, camera: Camera, cull: bool) -> _Drawing | None:
    """The drawing of a mesh or batch, one camera and attributes of its vertices, if it is that.

    A small image is drawn in the time that the general way takes to look at its inputs.
    """
    kind = type(meshes)
    if (kind is not Mesh and kind is not MeshBatch) or torch.compiler.is_compiling():
        return None
    points, faces = meshes.vertices, meshes.faces  # type: ignore[union-attr]
    k, r, t = camera.intrinsics, camera.rotation, camera.translation
    count, dtype = points.shape[0], points.dtype
    if not (
        points.ndim == attributes.ndim == k.ndim == r.ndim == 2
        and t.ndim == 1
        and attributes.shape[0] == count
        and (dtype is torch.float32 or dtype is torch.float64)
        and attributes.dtype is dtype
        and k.dtype is dtype
        and r.dtype is dtype
        and t.dtype is dtype
        and faces.dtype is torch.int64
        and points.is_cpu
        and faces.is_cpu
        and attributes.is_cpu
        and k.is_cpu
        and camera.distortion is None
        and _ready()
    ):
        return None
    shape: tuple[int, ...]
    if kind is Mesh:
        offsets, shape = (kept_ends(count), kept_ends(faces.shape[0])), camera.size
    else:
        offsets = (meshes.vertex_offsets, meshes.face_offsets)  # type: ignore[union-attr]
        shape = (offsets[1].shape[0] - 1, *camera.size)
    scene = scene_of(faces, *offsets, shape, False, cull)
    return points, (k, r, t), attributes, scene


@without_autocast
def _at_length(
    attributes: Tensor,
    meshes: Meshes,
    camera: Camera,
    cull: bool,
    backend: str | None,
    deterministic: bool,
) -> Tensor:
    posed = pose(meshes, camera)
    if choose_backend(backend, posed.vertices, deterministic=deterministic) != "native":
        fragments = rasterize(meshes, camera, cull_backfaces=cull, backend=backend)
        image = interpolate(attributes, fragments, backend=backend)
        return antialias(image, fragments, meshes, camera, backend=backend)
    image = _draw(_general(attributes, posed, camera, cull), meshes, camera)
    return image.to(attributes.dtype)


def _general(attributes: Tensor, posed: Posed, camera: Camera, cull: bool) -> _Drawing:
    batch, lens = posed.batch, posed.lens
    values, corners = attribute_rows(
        at_precision("attributes", attributes, posed.vertices),
        batch.vertices.shape[0],
        batch.faces.shape[0],
        batch.vertex_offsets,
        batch.face_offsets,
    )
    rows = values.flatten(0, 1) if corners else values
    view: tuple[Tensor | None, ...] = (None, None, None)
    if camera.distortion is None:
        points, view = posed.vertices, (lens.intrinsics, lens.rotation, lens.translation)
    else:
        points = homogeneous_of(posed, camera)
    shape = (*posed.leading, *camera.size)
    make = new_scene if torch.compiler.is_compiling() else scene_of
    scene = make(batch.faces, batch.vertex_offsets, batch.face_offsets, shape, corners, cull)
    return points, view, rows, scene


def _draw(drawing: _Drawing, meshes: Meshes, camera: Camera) -> Tensor:
    points, (k, r, t), values, scene = drawing
    to_camera = False
    if k is not None and r is not None and t is not None:
        to_camera = k.requires_grad or r.requires_grad or t.requires_grad
        k, r, t = plain(k), plain(r), plain(t)
    keep = to_camera or points.requires_grad or values.requires_grad
    keep = keep and torch.is_grad_enabled()
    try:
        return draw(plain(points), (k, r, t), plain(values), scene, keep, to_camera)
    except NotFiniteError:
        check_finite(source_of(meshes, camera))
        raise


def render_silhouette_depth(
    meshes: Meshes, camera: Camera, *, backend: str | None = None, deterministic: bool = False
) -> tuple[Tensor, Tensor]:
    """Antialiased coverage, and depth of what is covered.

    Shapes: as `rasterize`, alpha (..., H, W) in [0, 1] and depth (..., H, W) in metres, 0 where
    alpha is 0. At a pixel that is partly covered, depth is that of the covered part (blended
    depth over alpha), so the background does not pull it towards 0.

    Gradients: vertices, pose and intrinsics, inside and at silhouettes.

    `deterministic` as `rasterize`.

    Raises:
        InputError: as `rasterize`.
    """
    fragments = rasterize(meshes, camera, backend=backend, deterministic=deterministic)
    image = torch.cat([fragments.mask().unsqueeze(-1), fragments.depth], dim=-1)
    alpha, blended = antialias(image, fragments, meshes, camera, backend=backend).unbind(-1)
    covered = alpha > 0
    return alpha, torch.where(covered, blended / torch.where(covered, alpha, 1.0), 0.0)
