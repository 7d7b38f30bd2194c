"""Cameras in the OpenCV frame: x right, y down, z forward, metres; pinhole, or with a lens.

Pixel coordinates have their origin at the image's outer corner, so pixel centres lie at +0.5.
Loaders convert: OpenCV and KITTI count from the centre of the first pixel.
"""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.lens import check_coefficients, distort, undistort

__all__ = ["Camera", "PixelCentres"]

PixelCentres = Literal["half", "integer"]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, or a batch of them with one image size; its lens may distort.

    x_pixel = K (R X_world + t), divided by its third row. K is upper triangular and its third row
    is (0, 0, 1). With `distortion`, X / Z and Y / Z are moved by OpenCV's model before K
    (`diffrender.lens`): rendering moves the vertices, and edges stay straight between them in the
    image, so a mesh should be fine enough for its edges to follow the lens. Beyond the model's
    valid radius, where its radial part stops growing (10 at most), points keep the offset of the
    rim, and at or behind the camera plane they are not moved: nothing folds back.

    Gradients of `project`, `unproject` and everything drawn:

    | to                          | where                          | exact or biased             |
    |-----------------------------|--------------------------------|-----------------------------|
    | points, pose, intrinsics    | in front of the camera         | exact                       |
    | distortion                  | in front, beyond the rim too   | exact (kink at the rim)     |
    | the same                    | at or behind the camera plane  | distortion none; finite     |
    | the same, through unproject | up to the valid radius         | exact; bounded at the rim   |
    | all, drawn                  | inside faces and silhouettes   | as the operation that draws |

    Memory: nothing beyond the projected points.

    Attributes:
        intrinsics: (..., 3, 3) K in pixels, corner based.
        rotation: (..., 3, 3) world-to-camera rotation.
        translation: (..., 3) world-to-camera translation, metres.
        size: (height, width) of the image in pixels.
        distortion: (..., 4), (..., 5) or (..., 8) in OpenCV's order k1, k2, p1, p2, k3, k4, k5,
            k6; None for a pinhole. It does not depend on the pixels, so crops and resizes keep it.
    """

    intrinsics: Tensor  # (..., 3, 3)
    rotation: Tensor  # (..., 3, 3)
    translation: Tensor  # (..., 3)
    size: tuple[int, int]
    distortion: Tensor | None = None  # (..., 4), (..., 5) or (..., 8)

    def __post_init__(self) -> None:
        check_shape("Camera.intrinsics", self.intrinsics, "...", 3, 3)
        check_shape("Camera.rotation", self.rotation, "...", 3, 3)
        check_shape("Camera.translation", self.translation, "...", 3)
        for name in ("intrinsics", "rotation", "translation"):
            _check_floating(f"Camera.{name}", getattr(self, name))
        object.__setattr__(self, "size", _whole_size("Camera.size", self.size))
        if self.distortion is not None:
            check_coefficients("Camera.distortion", self.distortion)
            have, want = self.distortion, self.intrinsics
            if have.dtype != want.dtype or have.device != want.device:
                raise InputError(
                    f"Camera.distortion is {have.dtype} on {have.device} but the intrinsics are "
                    f"{want.dtype} on {want.device}; convert one of them"
                )

    @classmethod
    def from_intrinsics(
        cls,
        intrinsics: Tensor,  # (..., 3, 3)
        size: tuple[int, int],
        *,
        pixel_centres: PixelCentres,
        rotation: Tensor | None = None,  # (..., 3, 3)
        translation: Tensor | None = None,  # (..., 3)
        distortion: Tensor | None = None,  # (..., 4), (..., 5) or (..., 8)
    ) -> Camera:
        """Camera from K; `pixel_centres` says where the caller's pixel centres lie.

        "half": at +0.5 (COLMAP, this library). "integer": on integers (OpenCV, KITTI).
        """
        check_shape("intrinsics", intrinsics, "...", 3, 3)
        _check_intrinsics("intrinsics", intrinsics)
        if pixel_centres not in ("half", "integer"):
            raise InputError(f"pixel_centres is {pixel_centres!r}, expected 'half' or 'integer'")
        if pixel_centres == "integer":
            shift = torch.zeros_like(intrinsics)
            shift[..., :2, 2] = 0.5
            intrinsics = intrinsics + shift
        leading = intrinsics.shape[:-2]
        if rotation is None:
            rotation = torch.eye(3, dtype=intrinsics.dtype, device=intrinsics.device)
            rotation = rotation.expand(*leading, 3, 3)
        if translation is None:
            translation = intrinsics.new_zeros(*leading, 3)
        return cls(intrinsics, rotation, translation, size, distortion)

    @classmethod
    def from_projection(
        cls,
        projection: Tensor,  # (..., 3, 4)
        size: tuple[int, int],
        *,
        pixel_centres: PixelCentres,
    ) -> Camera:
        """Camera from a full 3x4 projection K [I | t] such as KITTI's P2.

        K = P[:, :3] and t = K^-1 P[:, 3]: for P2 the camera sits about 6 cm from the frame
        of the labels, and dropping the fourth column would shift every object by that much.

        Raises:
            InputError: K is not an upper triangle of finite numbers with focal lengths that are
                not 0 and the third row 0, 0, 1.
        """
        check_shape("projection", projection, "...", 3, 4)
        intrinsics = projection[..., :3]
        _check_intrinsics("projection[..., :3]", intrinsics)
        focal = intrinsics.diagonal(dim1=-2, dim2=-1)
        if (focal == 0).any() or not torch.isfinite(projection).all():
            raise InputError(
                f"projection is {projection.tolist()}, expected finite numbers and focal lengths "
                "that are not 0"
            )
        translation = torch.linalg.solve(intrinsics, projection[..., 3:]).squeeze(-1)
        return cls.from_intrinsics(
            intrinsics, size, pixel_centres=pixel_centres, translation=translation
        )

    @property
    def batch_shape(self) -> torch.Size:
        """Leading dimensions shared by the tensors."""
        shapes = [self.intrinsics.shape[:-2], self.rotation.shape[:-2], self.translation.shape[:-1]]
        if self.distortion is not None:
            shapes.append(self.distortion.shape[:-1])
        if not any(shapes):  # the usual case; broadcasting is slow
            return torch.Size()
        return torch.broadcast_shapes(*shapes)

    @property
    def centre(self) -> Tensor:
        """Optical centre in the world frame, metres. Shape (..., 3)."""
        return -(self.rotation.mT @ self.translation.unsqueeze(-1)).squeeze(-1)

    def to(self, *args: torch.device | torch.dtype | str) -> Camera:
        """The same camera on another device or in another dtype."""
        return dataclasses.replace(
            self,
            intrinsics=self.intrinsics.to(*args),  # type: ignore[call-overload]
            rotation=self.rotation.to(*args),  # type: ignore[call-overload]
            translation=self.translation.to(*args),  # type: ignore[call-overload]
            distortion=None if self.distortion is None else self.distortion.to(*args),  # type: ignore[call-overload]
        )

    def expand(self, *batch: int) -> Camera:
        """The camera repeated (without copying) over leading dimensions `batch`."""
        return dataclasses.replace(
            self,
            intrinsics=self.intrinsics.expand(*batch, 3, 3),
            rotation=self.rotation.expand(*batch, 3, 3),
            translation=self.translation.expand(*batch, 3),
            distortion=None if self.distortion is None else self.distortion.expand(*batch, -1),
        )

    def __getitem__(self, index: int | slice | Tensor) -> Camera:
        """Index the first batch dimension."""
        whole = self.expand(*self.batch_shape)
        return dataclasses.replace(
            whole,
            intrinsics=whole.intrinsics[index],
            rotation=whole.rotation[index],
            translation=whole.translation[index],
            distortion=None if whole.distortion is None else whole.distortion[index],
        )

    def world_to_camera(self, points: Tensor) -> Tensor:  # (..., N, 3)
        """Points moved from the world frame to the camera frame, metres. Differentiable to all.

        Shapes: (..., N, 3) -> (..., N, 3); leading dimensions broadcast with the camera's.
        """
        return points @ self.rotation.mT + self.translation.unsqueeze(-2)

    def camera_to_world(self, points: Tensor) -> Tensor:  # (..., N, 3)
        """Inverse of `world_to_camera`."""
        return (points - self.translation.unsqueeze(-2)) @ self.rotation

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:  # (..., N, 3)
        """World points to pixels and depth (z in the camera frame, not ray length).

        Shapes: (..., N, 3) -> pixels (..., N, 2), depth (..., N). Points with z <= 0 give
        finite but meaningless pixels: test the depth. Differentiable to points, pose, intrinsics
        and distortion.
        """
        in_camera = self.world_to_camera(points)
        depth = in_camera[..., 2]
        if self.distortion is not None:
            return _same_points(self._lens_pixels(in_camera), depth)
        homogeneous = in_camera @ self.intrinsics.mT
        tiny = torch.finfo(depth.dtype).eps
        safe = torch.where(depth.abs() < tiny, torch.full_like(depth, tiny), depth)
        return _same_points(homogeneous[..., :2] / safe.unsqueeze(-1), depth)

    def _lens_pixels(self, in_camera: Tensor) -> Tensor:  # (..., N, 3)
        assert self.distortion is not None
        depth = in_camera[..., 2:]
        tiny = torch.finfo(depth.dtype).eps
        flat = in_camera[..., :2] / torch.where(depth.abs() < tiny, tiny, depth)
        flat = torch.where(depth > 0, distort(flat, self.distortion), flat)
        return flat @ self.intrinsics[..., :2, :2].mT + self.intrinsics[..., None, :2, 2]

    def unproject(self, pixels: Tensor, depth: Tensor) -> Tensor:  # (..., N, 2), (..., N)
        """Pixels with depth z to world points; inverse of `project`.

        Shapes: (..., N, 2), (..., N) -> (..., N, 3) metres. Differentiable to all; through a lens
        by the implicit function theorem, first derivatives only.
        """
        k = self.intrinsics[..., None, :, :]
        y = (pixels[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
        x = (pixels[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
        if self.distortion is not None:
            x, y = undistort(torch.stack([x, y], dim=-1), self.distortion).unbind(-1)
        x, y = x * depth, y * depth
        return self.camera_to_world(torch.stack([x, y, depth.expand(x.shape)], dim=-1))

    def crop(self, left: Tensor | float, top: Tensor | float, size: tuple[int, int]) -> Camera:
        """Camera of the window whose top-left corner is (left, top), of `size` (height, width).

        `left` and `top` in pixels: floats, or tensors of shape (...) for a batch of windows.
        """
        x, y = self._pair(left, top)
        column = torch.stack([x, y, torch.zeros_like(x)], dim=-1)
        shift = torch.stack([torch.zeros_like(column), torch.zeros_like(column), column], dim=-1)
        return dataclasses.replace(self, intrinsics=self.intrinsics - shift, size=size)

    def scale(self, scale_x: Tensor | float, scale_y: Tensor | float) -> Tensor:
        """Intrinsics after resizing the image by (scale_x, scale_y), corner based."""
        x, y = self._pair(scale_x, scale_y)
        factors = torch.stack([x, y, torch.ones_like(x)], dim=-1)
        return self.intrinsics * factors.unsqueeze(-1)

    def _pair(self, x: Tensor | float, y: Tensor | float) -> tuple[Tensor, Tensor]:
        one, other = (torch.as_tensor(value).to(self.intrinsics) for value in (x, y))
        return torch.broadcast_tensors(one, other)

    def resize(self, size: tuple[int, int]) -> Camera:
        """Camera of the image resized to `size` (height, width)."""
        intrinsics = self.scale(size[1] / self.size[1], size[0] / self.size[0])
        return dataclasses.replace(self, intrinsics=intrinsics, size=size)

    def crop_resize(self, window: Tensor, size: tuple[int, int]) -> Camera:  # (..., 4)
        """Camera of windows (left, top, right, bottom) in pixels, each resized to `size`.

        Shapes: (..., 4) -> a camera with batch shape (...).
        """
        check_shape("window", window, "...", 4)
        left, top, right, bottom = window.to(self.intrinsics).unbind(-1)
        cropped = self.crop(left, top, size)
        intrinsics = cropped.scale(size[1] / (right - left), size[0] / (bottom - top))
        return dataclasses.replace(cropped, intrinsics=intrinsics)


def _same_points(pixels: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:  # (..., 2), (...)
    """Intrinsics of more cameras than poses: depth is then the same for several."""
    points = pixels.shape[:-1]
    return pixels, depth if depth.shape == points else depth.expand(points)


def _check_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise InputError(f"{name} has dtype {tensor.dtype}, expected floating numbers: .float()")


def _whole_size(name: str, size: Any) -> tuple[int, int]:
    try:
        height, width = size
        if type(size) is not tuple or type(height) is not int or type(width) is not int:
            height, width = operator.index(height), operator.index(width)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {size!r}, expected whole (height, width)") from error
    if height < 1 or width < 1:
        raise InputError(f"{name} is {size}, expected positive (height, width)")
    return height, width


def _check_intrinsics(name: str, intrinsics: Tensor) -> None:  # (..., 3, 3)
    _check_floating(name, intrinsics)
    if not torch.isfinite(intrinsics).all():
        raise InputError(f"{name} holds NaN or infinite values")
    last = intrinsics.new_tensor([0.0, 0.0, 1.0])
    if not (intrinsics[..., 2, :] == last).all() or (intrinsics[..., 1, 0] != 0).any():
        raise InputError(
            f"{name} is {intrinsics.tolist()}, expected an upper triangle with the third "
            "row 0, 0, 1: divide by its last number, and give a rotation apart"
        )
