"""`antialias`: blend across silhouettes, which gives visibility its gradient."""

from __future__ import annotations

import math

from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.native.operators import plain
from diffrender.raster._packed import Meshes, pack, source_of
from diffrender.raster._precision import at_precision, full_precision, without_autocast
from diffrender.raster._topology import topology
from diffrender.raster.backends import choose_backend
from diffrender.raster.fragments import Fragments, check_images

__all__ = ["antialias"]


@without_autocast
def antialias(
    image: Tensor,  # (..., H, W, C)
    fragments: Fragments,
    meshes: Meshes,
    camera: Camera,
    *,
    backend: str | None = None,
    deterministic: bool = False,
) -> Tensor:
    """Blend neighbouring pixels where a silhouette edge passes between their centres.

    The share that a surface covers between two pixel centres becomes a smooth function of the
    edge's position, so that a loss on the image moves the outline. Rows first, then columns:
    outputs are convex combinations of inputs. Layer 0 of `fragments` decides what is in front;
    edges with an end nearer than 0.01 m are left alone. Any channels may be blended, depth too:
    that is how depth gets its gradient at silhouettes.

    Shapes: (..., H, W, C) -> (..., H, W, C), leading dimensions as in `fragments`, contiguous.
    Half-precision images are blended in the dtype of the geometry and returned as they came.

    Gradient card, the same on every back-end:

    | to | where | kind |
    |---|---|---|
    | image | everywhere | exact |
    | vertices, rotation, translation, intrinsics | at silhouettes | exact for this image |
    | the same | inside faces | none here: see `interpolate` |

    As the gradient of the ideal, area-sampled image it is biased where features are smaller than a
    pixel, by parts of a pixel at sharp corners, and within half a pixel of the image's border,
    where an outline has no pair of pixels to pass between.

    `backend` and `deterministic` as `rasterize`.

    Raises:
        InputError: the image's shape, dtype or device does not fit the fragments, or those are of
            some images of a batch only.

    Source: after Laine et al., Modular primitives for high-performance differentiable rendering,
    2020, sec. 3.5.
    """
    lead, size = fragments.face.shape[:-3], fragments.face.shape[-3:-1]
    if image.ndim != len(lead) + 3 or image.shape[:-1] != (*lead, *size):
        raise InputError(
            f"image has shape {tuple(image.shape)}, expected {(*lead, *size)} and channels, as "
            f"the fragments"
        )
    check_images(fragments)
    homogeneous = _homogeneous(fragments, meshes, camera)
    dtype = image.dtype
    table = topology(fragments.faces, fragments.vertex_offsets, fragments.face_offsets)
    depth = full_precision(fragments.depth.detach())
    blended = at_precision("image", image, homogeneous)
    chosen = choose_backend(backend, blended, deterministic=deterministic)
    if chosen == "native":
        from diffrender.raster._antialias_ops import antialias as run

        out = run(
            plain(blended),
            homogeneous,
            plain(fragments.face),
            plain(depth),
            fragments.vertex_offsets,
            *table.tensors(),
            blended.requires_grad or homogeneous.requires_grad,
        )[0]
    else:
        count, layers = math.prod(lead), fragments.face.shape[-1]
        flat = blended.reshape(count, *size, image.shape[-1])
        face = fragments.face.reshape(count, *size, layers)
        depth = depth.reshape(count, *size, layers)
        if chosen == "triton":
            from diffrender.raster import triton_antialias

            out = triton_antialias.antialias(
                flat, homogeneous, face, depth, fragments.vertex_offsets, table
            )
        else:
            from diffrender.raster import torch_antialias

            out = torch_antialias.antialias(
                flat, homogeneous, face[..., 0], depth[..., 0], fragments.vertex_offsets, table
            )
        out = out.view(image.shape)
    return out if out.dtype == dtype else out.to(dtype)


def _homogeneous(fragments: Fragments, meshes: Meshes, camera: Camera) -> Tensor:
    """The projected vertices: those of the fragments when they came from the same tensors."""
    source = source_of(meshes, camera)
    same = len(fragments.source) == len(source) and all(
        a is b for a, b in zip(source, fragments.source, strict=True)
    )
    if same and (fragments.homogeneous.requires_grad or not any(t.requires_grad for t in source)):
        return fragments.homogeneous
    packed = pack(meshes, camera)
    if packed.homogeneous.shape != fragments.homogeneous.shape or packed.size != tuple(
        fragments.face.shape[-3:-1]
    ):
        raise InputError(
            f"meshes and camera do not fit the fragments: {len(packed.homogeneous)} vertices at "
            f"{packed.size} against {len(fragments.homogeneous)} at "
            f"{tuple(fragments.face.shape[-3:-1])}"
        )
    return packed.homogeneous
