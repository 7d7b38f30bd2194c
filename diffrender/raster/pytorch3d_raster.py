"""PyTorch3D's rasterizer behind our fragments, where it is installed (extra `pytorch3d`)."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, require
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster._packed import Packed, pack
from diffrender.raster.fragments import NEAR, Fragments
from diffrender.raster.pytorch3d import TheirFragments, from_fragments, hit_maps, to_meshes

__all__ = ["rasterize", "rasterize_with_pytorch3d"]

_MOST_LAYERS = 150  # kMaxPointsPerPixel of their kernels


def _ndc_vertices(packed: Packed) -> Tensor:
    """The packed vertices as their rasterizer takes them: NDC x, y and z in metres."""
    h = packed.homogeneous
    height, width = packed.size
    z = h[:, 2:]
    tiny = torch.where(z < 0, -1e-6, 1e-6)
    pixels = h[:, :2] / torch.where(z.abs() < 1e-6, tiny, z)
    middle = h.new_tensor([width / 2.0, height / 2.0])
    return torch.cat([(middle - pixels) * (2.0 / min(height, width)), z], dim=-1)


def _theirs(packed: Packed, layers: int, cull: bool) -> TheirFragments:
    if not 1 <= layers <= _MOST_LAYERS:
        raise InputError(f"layers is {layers}, PyTorch3D keeps 1 to {_MOST_LAYERS} a pixel")
    raster = require("pytorch3d.renderer.mesh.rasterize_meshes", "pytorch3d")
    batch = MeshBatch(
        _ndc_vertices(packed).float(), packed.faces, packed.vertex_offsets, packed.face_offsets
    )
    faces = int(packed.face_offsets.diff().max()) if packed.count else 0
    found = raster.rasterize_meshes(
        to_meshes(batch),
        image_size=packed.size,
        blur_radius=0.0,
        faces_per_pixel=layers,
        max_faces_per_bin=max(10_000, 2 * faces),  # clipping may cut one face into two
        perspective_correct=True,
        clip_barycentric_coords=False,
        cull_backfaces=cull,
        z_clip_value=NEAR,
        cull_to_frustum=False,
    )
    return TheirFragments(*found)


def rasterize(packed: Packed, layers: int, cull: bool) -> tuple[Tensor, Tensor, Tensor]:
    """PyTorch3D's rasterizer with the signature of the twin: face, barycentrics and depth.

    It works in float32 and draws pixels on shared edges by its own rule; gradients are its own.
    Faces are clipped at the near plane, bins are large enough for every face.

    Raises:
        MissingExtraError: PyTorch3D is not installed.
        InputError: more layers than its kernels hold.
    """
    theirs = _theirs(packed, layers, cull)
    face, bary, depth = hit_maps(theirs)
    dtype = packed.homogeneous.dtype
    return face, bary.to(dtype), depth.to(dtype)


def rasterize_with_pytorch3d(
    meshes: Mesh | MeshBatch,
    camera: Camera,
    *,
    layers: int = 1,
    cull_backfaces: bool = False,
) -> Fragments:
    """`rasterize`, drawn by PyTorch3D: for comparing, and for its CUDA kernels.

    Shapes as `rasterize`, with `Fragments.distance` filled. It computes in float32, draws pixels on
    shared edges by its own rule, and brings at most 150 layers.

    Gradients are PyTorch3D's own:

    | to                         | where        | exact or biased           |
    |----------------------------|--------------|---------------------------|
    | vertices, pose, intrinsics | inside faces | exact, in float32         |
    | the same                   | silhouettes  | none: visibility is fixed |

    Memory: theirs, about 48 bytes for each pixel and layer.

    Raises:
        MissingExtraError: PyTorch3D is not installed.
        InputError: shapes or dtypes do not fit, or layers is out of range.
    """
    packed = pack(meshes, camera)
    dtype = packed.homogeneous.dtype
    theirs = _theirs(packed, layers, cull_backfaces)
    assert theirs.dists is not None
    whole = TheirFragments(
        theirs.pix_to_face,
        theirs.zbuf.to(dtype),
        theirs.bary_coords.to(dtype),
        theirs.dists.to(dtype),
    )
    return from_fragments(whole, meshes, camera)
