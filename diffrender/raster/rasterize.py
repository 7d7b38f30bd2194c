"""`rasterize`: which faces each pixel sees."""

from __future__ import annotations

from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster._packed import Packed, check_finite, pack
from diffrender.raster.backends import choose_backend
from diffrender.raster.fragments import Fragments

__all__ = ["rasterize"]


def rasterize(
    meshes: Mesh | MeshBatch,
    camera: Camera,
    *,
    layers: int = 1,
    cull_backfaces: bool = False,
    with_distance: bool = False,
    backend: str | None = None,
) -> Fragments:
    """Hard visibility of triangles: the `layers` nearest faces behind every pixel centre.

    Top-left fill rule, no cracks and no double hits on shared edges; equal depths go to the lower
    face index. Faces may cross the camera plane; nothing nearer than 0.01 m is drawn. Degenerate
    faces draw nothing.

    Shapes: one `Mesh` under an unbatched camera gives (H, W, K) maps; a `MeshBatch` of B meshes
    under one camera or B of them, or one `Mesh` under B cameras, gives (B, H, W, K).

    Gradients: `bary`, `depth` and `distance` to vertices, pose and intrinsics, for the faces
    that are visible; none through visibility itself: that is `antialias` or `soft_silhouette`.

    Args:
        layers: K, at least 1.
        cull_backfaces: leave out faces seen from inside.
        with_distance: also fill `Fragments.distance`.
        backend: "native", "torch", "triton", or None for the fastest that fits.

    Raises:
        InputError: shapes or dtypes do not fit, a face index is out of range, or a tensor holds
            NaN or infinite values (named in the message).

    Source: Olano and Greer, Triangle scan conversion using 2D homogeneous coordinates, 1997.
    """
    if layers < 1:
        raise InputError(f"layers is {layers}, expected at least 1")
    packed = pack(meshes, camera)
    chosen = choose_backend(backend, packed.homogeneous)
    if chosen == "native":
        face, bary, depth = _native(packed, layers, cull_backfaces)
    elif chosen == "triton":
        from diffrender.raster import triton_raster

        face, bary, depth = triton_raster.rasterize(packed, layers, cull_backfaces)
    else:
        from diffrender.raster import torch_raster

        torch_raster.check(packed)
        face, bary, depth = torch_raster.rasterize(packed, layers, cull_backfaces)
    distance = None
    if with_distance:
        from diffrender.raster.torch_distance import face_distance

        distance = face_distance(packed.homogeneous, packed.faces, face)
    if not packed.leading:
        face, bary, depth = face[0], bary[0], depth[0]
        distance = None if distance is None else distance[0]
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
    )


def _native(packed: Packed, layers: int, cull: bool) -> tuple[Tensor, Tensor, Tensor]:
    from diffrender.raster import _native_ops

    try:
        return _native_ops.ops.rasterize(
            packed.homogeneous,
            packed.faces,
            packed.vertex_offsets,
            packed.face_offsets,
            *packed.size,
            layers,
            cull,
        )
    except _native_ops.NotFiniteError:
        check_finite(packed.source)
        raise
