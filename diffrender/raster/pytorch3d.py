"""To PyTorch3D and back: cameras, meshes, fragments.

Only `to_cameras` and `to_meshes` need the package (extra `pytorch3d`); the numbers are converted
by plain tensor functions. Its rasterizer is in `pytorch3d_raster`. Theirs against ours:

| what        | PyTorch3D                                 | here                              |
|-------------|-------------------------------------------|-----------------------------------|
| camera axes | x left, y up, z forward; rows, X R + T    | x right, y down; columns, R X + t |
| image plane | NDC: shorter side [-1, 1], x left, y up   | pixels from the top-left corner   |
| nothing hit | -1 in every map                           | face -1, zeros elsewhere          |
| distance    | squared with a sign, NDC, negative inside | signed, pixels, negative inside   |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, require
from diffrender.meshes import Mesh, MeshBatch, pack_meshes
from diffrender.raster._packed import pack
from diffrender.raster.fragments import Fragments

__all__ = [
    "Perspective",
    "TheirFragments",
    "from_cameras",
    "from_fragments",
    "from_meshes",
    "hit_maps",
    "perspective",
    "to_cameras",
    "to_fragments",
    "to_meshes",
]


class LikeFragments(Protocol):
    """What their `Fragments` holds; `TheirFragments` does too."""

    @property
    def pix_to_face(self) -> Tensor: ...
    @property
    def zbuf(self) -> Tensor: ...
    @property
    def bary_coords(self) -> Tensor: ...
    @property
    def dists(self) -> Tensor | None: ...


@dataclass(frozen=True, eq=False)
class Perspective:
    """The numbers of a `PerspectiveCameras`, under its names.

    Attributes:
        R: (B, 3, 3) so that row vectors X R + T lie in their camera frame.
        T: (B, 3) metres.
        focal_length: (B, 2) x and y; in NDC or in pixels.
        principal_point: (B, 2) in NDC (x left, y up), or in pixels from the top-left corner.
        image_size: (B, 2) height and width in pixels.
        ndc: which of the two.
    """

    R: Tensor  # (B, 3, 3)
    T: Tensor  # (B, 3)
    focal_length: Tensor  # (B, 2)
    principal_point: Tensor  # (B, 2)
    image_size: Tensor  # (B, 2)
    ndc: bool

    def in_ndc(self) -> bool:
        return self.ndc


@dataclass(frozen=True, eq=False)
class TheirFragments:
    """The maps of their `Fragments`, under their names; -1 where nothing was hit.

    Attributes:
        pix_to_face: (B, H, W, K) int64 into the packed faces.
        zbuf: (B, H, W, K) z, metres.
        bary_coords: (B, H, W, K, 3) perspective-correct.
        dists: (B, H, W, K) squared distance to the outline in NDC, negative inside; or None.
    """

    pix_to_face: Tensor  # (B, H, W, K)
    zbuf: Tensor  # (B, H, W, K)
    bary_coords: Tensor  # (B, H, W, K, 3)
    dists: Tensor | None  # (B, H, W, K)


def _flip(tensor: Tensor) -> Tensor:
    """diag(-1, -1, 1): x right, y down to x left, y up, and back."""
    return tensor.new_tensor([-1.0, -1.0, 1.0])


def perspective(camera: Camera, space: Literal["ndc", "screen"] = "ndc") -> Perspective:
    """The numbers of the same camera as PyTorch3D's `PerspectiveCameras`.

    Pixel centres need no shift: both sides count from the image's corner. Shapes: any leading
    dimensions become one, B. Differentiable to intrinsics and pose.

    Raises:
        InputError: the camera has skew or a distorting lens, which theirs cannot say.
    """
    if camera.distortion is not None:
        raise InputError("PerspectiveCameras has no lens distortion; undistort the images first")
    if bool((camera.intrinsics[..., 0, 1] != 0).any()):
        raise InputError("PerspectiveCameras has no skew, but camera.intrinsics[0, 1] is not 0")
    if space not in ("ndc", "screen"):
        raise InputError(f"space is {space!r}, expected 'ndc' or 'screen'")
    whole = camera.expand(*camera.batch_shape)
    k = whole.intrinsics.reshape(-1, 3, 3)
    rotation, shift = whole.rotation.reshape(-1, 3, 3), whole.translation.reshape(-1, 3)
    flip = _flip(k)
    height, width = camera.size
    focal, principal = torch.stack([k[:, 0, 0], k[:, 1, 1]], -1), k[:, :2, 2]
    if space == "ndc":
        half = min(height, width) / 2.0
        principal = (k.new_tensor([width / 2.0, height / 2.0]) - principal) / half
        focal = focal / half
    size = torch.tensor([[height, width]], device=k.device).expand(len(k), 2)
    turned = (flip[:, None] * rotation).mT
    return Perspective(turned, flip * shift, focal, principal, size, space == "ndc")


def to_cameras(camera: Camera, space: Literal["ndc", "screen"] = "ndc") -> Any:
    """The camera as a `pytorch3d.renderer.PerspectiveCameras`; see `perspective`.

    Raises:
        MissingExtraError: PyTorch3D is not installed.
        InputError: as `perspective`.
    """
    numbers = perspective(camera, space)
    return require("pytorch3d.renderer", "pytorch3d").PerspectiveCameras(
        R=numbers.R,
        T=numbers.T,
        focal_length=numbers.focal_length,
        principal_point=numbers.principal_point,
        image_size=numbers.image_size,
        in_ndc=numbers.ndc,
        device=numbers.R.device,
    )


def from_cameras(cameras: Any, size: tuple[int, int] | None = None) -> Camera:
    """A `PerspectiveCameras` or `Perspective` as our camera, with batch shape (B,).

    `size` is (height, width); None takes the cameras' own `image_size`. Differentiable.

    Raises:
        InputError: no size is known, sizes differ within the batch, or `K` was given to theirs.
    """
    if getattr(cameras, "K", None) is not None:
        raise InputError("the cameras were made from a 4x4 K; give focal_length instead")
    if size is None:
        if getattr(cameras, "image_size", None) is None:
            raise InputError("the cameras have no image_size; give size=(height, width)")
        sizes = cameras.image_size.reshape(-1, 2)
        if bool((sizes != sizes[0]).any()):
            raise InputError("the cameras have different image sizes; convert them one by one")
        size = (int(sizes[0, 0]), int(sizes[0, 1]))
    height, width = size
    rotation, shift = cameras.R, cameras.T
    focal = cameras.focal_length.reshape(len(shift), -1).expand(len(shift), 2)
    principal = cameras.principal_point.expand(len(shift), 2)
    if cameras.in_ndc():
        half = min(height, width) / 2.0
        focal = focal * half
        principal = focal.new_tensor([width / 2.0, height / 2.0]) - principal * half
    zero, one = torch.zeros_like(focal[:, 0]), torch.ones_like(focal[:, 0])
    rows = [[focal[:, 0], zero, principal[:, 0]], [zero, focal[:, 1], principal[:, 1]]]
    k = torch.stack([torch.stack(row, -1) for row in [*rows, [zero, zero, one]]], -2)
    flip = _flip(shift)
    return Camera(k, flip[:, None] * rotation.mT, flip * shift, (height, width))


def _lists(meshes: Mesh | MeshBatch) -> tuple[list[Tensor], list[Tensor]]:
    """Vertices and faces mesh by mesh, faces counting from the mesh's own first vertex."""
    if isinstance(meshes, Mesh):
        return [meshes.vertices], [meshes.faces]
    vertices = meshes.vertices.split(meshes.vertex_offsets.diff().tolist())
    faces = meshes.faces.split(meshes.face_offsets.diff().tolist())
    starts = meshes.vertex_offsets[:-1].tolist()
    return list(vertices), [f - start for f, start in zip(faces, starts, strict=True)]


def to_meshes(meshes: Mesh | MeshBatch) -> Any:
    """The meshes as `pytorch3d.structures.Meshes`: geometry, without looks. Differentiable.

    Raises:
        MissingExtraError: PyTorch3D is not installed.
    """
    vertices, faces = _lists(meshes)
    return require("pytorch3d.structures", "pytorch3d").Meshes(verts=vertices, faces=faces)


def from_meshes(meshes: Any) -> MeshBatch:
    """A `pytorch3d.structures.Meshes` as a packed batch: geometry, without looks.

    Differentiable to the vertices.
    """
    pairs = zip(meshes.verts_list(), meshes.faces_list(), strict=True)
    return pack_meshes([Mesh(vertices, faces.long()) for vertices, faces in pairs])


def to_fragments(fragments: Fragments) -> TheirFragments:
    """Our fragments as their four maps, differentiable to `bary`, `depth` and `distance`.

    Shapes: (..., H, W, K) -> (B, H, W, K) with all leading dimensions in one.
    """
    shape = fragments.face.shape[-3:]
    face = fragments.face.reshape(-1, *shape)
    bary, depth = fragments.bary.reshape(-1, *shape, 3), fragments.depth.reshape(-1, *shape)
    empty = face < 0
    dists = None
    if fragments.distance is not None:
        signed = fragments.distance.reshape(-1, *shape) * (2.0 / min(shape[:2]))
        dists = torch.where(empty, -1.0, signed * signed.abs())
    return TheirFragments(
        face,
        torch.where(empty, -1.0, depth),
        torch.where(empty.unsqueeze(-1), -1.0, bary),
        dists,
    )


def hit_maps(theirs: LikeFragments) -> tuple[Tensor, Tensor, Tensor]:
    """Face, barycentrics and depth with our fill, zeros."""
    face = theirs.pix_to_face.long()
    empty = face < 0
    bary = torch.where(empty.unsqueeze(-1), 0.0, theirs.bary_coords)
    return face, bary, torch.where(empty, 0.0, theirs.zbuf)


def from_fragments(theirs: LikeFragments, meshes: Mesh | MeshBatch, camera: Camera) -> Fragments:
    """Their fragments of these meshes under this camera as ours, differentiable to their maps.

    Shapes: (B, H, W, K) -> (..., H, W, K), leading dimensions as `rasterize`. Distances beyond the
    outline, which a blur radius brings, stay positive. On an outline the slope of the square root
    is taken as 0.

    Raises:
        InputError: the maps do not fit meshes and camera.
    """
    packed = pack(meshes, camera)
    face, bary, depth = hit_maps(theirs)
    wanted = (packed.count, *packed.size)
    if face.ndim != 4 or tuple(face.shape[:3]) != wanted:
        raise InputError(f"pix_to_face has shape {tuple(face.shape)}, expected {(*wanted, 'K')}")
    if face.numel() and int(face.max()) >= len(packed.faces):
        raise InputError(
            f"pix_to_face holds face {int(face.max())} but there are {len(packed.faces)} faces"
        )
    distance = None
    if theirs.dists is not None:
        square = torch.where(face < 0, 0.0, theirs.dists)
        some = square != 0
        root = torch.where(some, square, 1.0).abs().sqrt() * square.sign()
        distance = torch.where(some, root, 0.0) * (min(packed.size) / 2.0)
    shape = (*packed.leading, *face.shape[1:])
    return Fragments(
        face.reshape(shape),
        bary.reshape(*shape, 3),
        depth.reshape(shape),
        None if distance is None else distance.reshape(shape),
        packed.faces,
        packed.homogeneous,
        packed.vertex_offsets,
        packed.face_offsets,
        packed.source,
    )
