"""`rasterize`: which faces each pixel sees."""

from __future__ import annotations

from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.raster._packed import Meshes, Packed, check_finite, pack
from diffrender.raster._precision import without_autocast
from diffrender.raster.backends import choose_backend
from diffrender.raster.fragments import Fragments

__all__ = ["rasterize"]


@without_autocast
def rasterize(
    meshes: Meshes,
    camera: Camera,
    *,
    layers: int = 1,
    cull_backfaces: bool = False,
    with_distance: bool = False,
    backend: str | None = None,
    deterministic: bool = False,
) -> Fragments:
    """Hard visibility of triangles: the `layers` nearest faces behind every pixel centre.

    Top-left fill rule, no cracks and no double hits on shared edges; depths that are the same
    number go to the lower face index (of coincident faces whose corners are listed in another
    order, rounding decides). Faces may cross the camera plane; nothing nearer than 0.01 m is drawn.
    Degenerate faces draw nothing.

    Shapes: `meshes` is a `Mesh`, a pair of tensors (vertices (..., V, 3), faces (F, 3)), or a
    `MeshBatch` of B meshes of any sizes, which counts as leading dimension (B,). Leading
    dimensions broadcast with the camera's, and the maps are (..., H, W, K), contiguous, layers
    nearest first. Half-precision vertices are taken to float32 and the maps returned as they came.

    Gradient card, the same on every back-end:

    | to | of | where | kind |
    |---|---|---|---|
    | vertices, rotation, translation, intrinsics | bary, depth, distance | inside faces | exact |
    | the same | face | anywhere | none |
    | the same | any map | at silhouettes | none: see `antialias`, `soft_silhouette` |

    Args:
        layers: K, at least 1.
        cull_backfaces: leave out faces seen from inside.
        with_distance: also fill `Fragments.distance`.
        backend: one of `backends()`, or None for the fastest that fits.

    `deterministic` asks for the same bits in two runs, forward and backward. On the CPU every
    back-end keeps that anyway, for any number of threads; on a CUDA device torch's own sums do so
    only under `torch.use_deterministic_algorithms(True)`, which is asked for then.

    Raises:
        InputError: shapes or dtypes do not fit, a face index is out of range, a tensor holds
            NaN or infinite values (named in the message), or `deterministic` cannot be kept.

    Source: Olano and Greer, Triangle scan conversion using 2D homogeneous coordinates, 1997.
    """
    if layers < 1:
        raise InputError(f"layers is {layers}, expected at least 1")
    packed = pack(meshes, camera)
    shape = [*packed.leading, *packed.size, layers]
    chosen = choose_backend(backend, packed.homogeneous, drawing=True, deterministic=deterministic)
    if chosen == "native":
        face, bary, depth = _native(packed, shape, cull_backfaces)
    else:
        if chosen == "triton":
            from diffrender.raster import triton_raster

            flat = triton_raster.rasterize(packed, layers, cull_backfaces)
        elif chosen == "pytorch3d":
            from diffrender.raster import pytorch3d_raster

            flat = pytorch3d_raster.rasterize(packed, layers, cull_backfaces)
        else:
            from diffrender.raster import torch_raster

            torch_raster.check(packed)
            flat = torch_raster.rasterize(packed, layers, cull_backfaces)
        face, bary, depth = flat[0].view(shape), flat[1].view(*shape, 3), flat[2].view(shape)
    distance = None
    if with_distance:
        from diffrender.raster.torch_distance import face_distance

        flat_face = face.view(packed.count, *shape[-3:])
        distance = face_distance(packed.homogeneous, packed.faces, flat_face).view(shape)
    if packed.dtype != bary.dtype:
        bary, depth = bary.to(packed.dtype), depth.to(packed.dtype)
        distance = None if distance is None else distance.to(packed.dtype)
    return Fragments(
        face,
        bary,
        depth,
        distance,
        packed.faces,
        packed.homogeneous,
        packed.vertex_offsets,
        packed.face_offsets,
        packed.source,
        (face, packed.faces),
    )


def _native(packed: Packed, shape: list[int], cull: bool) -> tuple[Tensor, Tensor, Tensor]:
    from diffrender.raster._native_ops import NotFiniteError
    from diffrender.raster._rasterize_ops import rasterize as run

    try:
        return run(
            packed.homogeneous,
            packed.faces,
            packed.vertex_offsets,
            packed.face_offsets,
            shape,
            cull,
        )
    except NotFiniteError:
        check_finite(packed.source)
        raise
