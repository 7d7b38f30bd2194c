"""`rasterize_points`: which points each pixel sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape
from diffrender.meshes import Mesh, MeshBatch
from diffrender.native.operators import plain, refuse_tangents
from diffrender.raster._guards import outside_autocast, require_finite, widen_scene
from diffrender.raster._packed import Packed, check_finite, pack
from diffrender.raster.backends import choose_backend

__all__ = ["PointFragments", "rasterize_points"]


@dataclass(frozen=True, eq=False)
class PointFragments:
    """What each pixel sees of point clouds: K layers of points, nearest first.

    Leading dimensions as for `Fragments`.

    Attributes:
        point: (..., H, W, K) int64 index into the packed points, -1 where nothing was hit.
        depth: (..., H, W, K) z of that point in metres, 0 where nothing was hit. Differentiable to
            points and camera.
        squared_distance: (..., H, W, K) square of the distance in pixels from the pixel's centre
            to the projected point, at most radius^2, 0 where nothing was hit. Differentiable
            likewise, also where it is 0.
        offsets: (B + 1,) int64 on the CPU, points of each image.
    """

    point: Tensor  # (..., H, W, K)
    depth: Tensor  # (..., H, W, K)
    squared_distance: Tensor  # (..., H, W, K)
    offsets: Tensor  # (B + 1,)

    def mask(self, layer: int = 0) -> Tensor:
        """1 where `layer` hit a point, else 0, in the dtype of `depth`. Shape (..., H, W)."""
        return (self.point[..., layer] >= 0).to(self.depth.dtype)


def rasterize_points(
    points: Tensor | list[Tensor],  # (N, 3), (B, N, 3) or B of (N_b, 3)
    camera: Camera,
    *,
    radius: float | Tensor,
    layers: int = 1,
    backend: str | None = None,
    deterministic: bool = False,
) -> PointFragments:
    """Hard visibility of points drawn as discs: the `layers` nearest at every pixel.

    A point is seen where the pixel's centre lies no farther than its radius, in pixels and so the
    same at every depth, from its projection. Equal depths go to the lower index. Points at or
    nearer than 0.01 m are not drawn.

    Shapes: one cloud (N, 3) under an unbatched camera gives (H, W, K); B clouds of any sizes, or
    one under B cameras, give (B, H, W, K). Indices count through the packed clouds.

    Gradients, of depth and squared distance:

    | to                       | where                 | exact or biased           |
    |--------------------------|-----------------------|---------------------------|
    | points, pose, intrinsics | inside a point's disc | exact                     |
    | the same                 | at the disc's rim     | none: visibility is fixed |
    | radius                   | everywhere            | none: it only decides     |

    Memory: 3 numbers for each pixel and layer, twice as much while drawing.

    Args:
        radius: pixels, for all points, or (sum N,) for each; (N,) serves each of B equal clouds.
        layers: K, at least 1.
        backend: "native", "torch", or None for the fastest that fits.

    `backend` and `deterministic` as `rasterize`.

    Raises:
        InputError: shapes or dtypes do not fit, a radius is not a positive number, or a tensor
            holds NaN or infinite values.

    Source: Wiles et al., SynSin, 2020: discs in layers, here without compositing.
    """
    if layers < 1:
        raise InputError(f"layers is {layers}, expected at least 1")
    clouds = _clouds(points)
    dtype = clouds.vertices.dtype
    with outside_autocast(clouds.vertices):
        packed = pack(*widen_scene(clouds, camera))
        h = packed.homogeneous
        radii = _radii(radius, h, packed.vertex_offsets)
        if choose_backend(backend, h, deterministic=deterministic) == "native":
            found = _native(packed, radii, layers)
        else:
            from diffrender.raster import torch_points

            if not bool(torch.isfinite(h).all()):
                _name_culprit(packed)
            found = torch_points.rasterize_points(packed, radii, layers)
    shape = (*packed.leading, *packed.size, layers)
    point, depth, square = (t.reshape(shape) for t in found)
    return PointFragments(point, depth.to(dtype), square.to(dtype), packed.vertex_offsets)


def _clouds(points: Tensor | list[Tensor]) -> Mesh | MeshBatch:
    """The clouds as meshes without faces, which is what `pack` takes."""
    if isinstance(points, Tensor):
        if points.ndim not in (2, 3) or points.shape[-1] != 3:
            raise InputError(
                f"points has shape {tuple(points.shape)}, expected (N, 3), (B, N, 3) or a list"
            )
        none = torch.zeros(0, 3, dtype=torch.int64, device=points.device)
        return Mesh(points, none) if points.ndim == 2 else MeshBatch.shared(points, none)
    if not points:
        raise InputError("points is an empty list, expected at least one cloud (N, 3)")
    for i, cloud in enumerate(points):
        check_shape(f"points[{i}]", cloud, None, 3)
    packed = torch.cat(points)
    ends = torch.tensor([0, *(len(cloud) for cloud in points)]).cumsum(0)
    none = torch.zeros(0, 3, dtype=torch.int64, device=packed.device)
    return MeshBatch(packed, none, ends, torch.zeros_like(ends))


def _radii(radius: float | Tensor, h: Tensor, offsets: Tensor) -> Tensor:
    """One radius for each packed point. Shape (sum N,)."""
    if not isinstance(radius, Tensor):
        radius = torch.full((len(h),), float(radius))
    flat = radius.detach().reshape(-1)
    if len(flat) == 1:
        flat = flat.expand(len(h))
    elif len(flat) and len(h) % len(flat) == 0 and _serves_again(len(flat), offsets):
        flat = flat.repeat(len(h) // len(flat))
    if len(flat) != len(h):
        raise InputError(
            f"radius has shape {tuple(radius.shape)}, expected a number or one for each of "
            f"{len(h)} points; (N,) serves clouds of N points each"
        )
    if not bool((torch.isfinite(flat) & (flat > 0)).all()):
        raise InputError("radius must be positive and finite, in pixels")
    return plain(flat.to(h))


def _serves_again(length: int, offsets: Tensor) -> bool:
    """Whether the clouds are the first `length` points, and clouds of the same sizes again."""
    sizes = offsets.diff().tolist()
    first = (offsets == length).nonzero()[:1].flatten().tolist()  # clouds in them
    return not sizes or (bool(first) and sizes == sizes[: first[0]] * (len(sizes) // first[0]))


def _name_culprit(packed: Packed) -> None:
    require_finite("points", packed.source[0])
    check_finite(packed.source)


def _native(packed: Packed, radii: Tensor, layers: int) -> tuple[Tensor, Tensor, Tensor]:
    from diffrender.raster._native_ops import NotFiniteError
    from diffrender.raster._point_ops import ops

    refuse_tangents("rasterize_points", packed.homogeneous)
    try:
        return ops.rasterize_points(
            packed.homogeneous, radii, packed.vertex_offsets, *packed.size, layers
        )
    except NotFiniteError:
        _name_culprit(packed)
        raise
