"""Flat Gaussians in space: what splatting draws, made from triangles, and seen on the screen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.points._pieces import cut_faces
from diffrender.catalogue.scene import Scene, as_triangles
from diffrender.errors import InputError, check_shape

__all__ = [
    "NEAR",
    "Splats",
    "as_splats",
    "check_pinhole",
    "inverse_form",
    "make_splats",
    "project_splats",
    "reach",
]

NEAR = 0.2  # metres: nothing nearer is drawn


@dataclass(frozen=True)
class Splats:
    """Gaussians exp(-½ (u² + v²)) on the planes centre + u axis₁ + v axis₂.

    Their covariance in space is A Aᵀ for the axes A as columns: a Gaussian of rank two, as on a
    surface. The axes need not be at right angles.

    Attributes:
        centres: (N, 3) world, metres.
        axes: (N, 3, 2) world, metres.
        colours: (N, 3) radiance, linear RGB.
        opacities: (N,) in [0, 1].
    """

    centres: Tensor  # (N, 3)
    axes: Tensor  # (N, 3, 2)
    colours: Tensor  # (N, 3)
    opacities: Tensor  # (N,)

    def __post_init__(self) -> None:
        check_shape("Splats.centres", self.centres, None, 3)
        count = len(self.centres)
        check_shape("Splats.axes", self.axes, count, 3, 2)
        check_shape("Splats.colours", self.colours, count, 3)
        check_shape("Splats.opacities", self.opacities, count)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices (centres), attributes (radiance) and density (opacities)."""
        return {
            "vertices": self.centres,
            "attributes": self.colours,
            "density": self.opacities,
        }

    def replaced(self, name: str, value: Tensor) -> Splats:
        """The same splats with other centres, colours or opacities."""
        fields = {"vertices": "centres", "attributes": "colours", "density": "opacities"}
        if name not in fields:
            raise InputError(f"no parameter {name!r} of splats, expected {', '.join(fields)}")
        return dataclasses.replace(self, **{fields[name]: value})


def make_splats(scene: Scene, spacing: float, spread: float, opacity: float) -> Scene:
    """The scene's triangles as flat Gaussians with baked radiance; splats stay as they are.

    Each piece of a face (`cut_faces`) becomes the Gaussian with the piece's mean and `spread`
    squared times its covariance. Differentiable to the triangles' vertices and colours and to the
    light, since pieces keep their barycentrics.

    Args:
        scene: of triangles, or already of splats.
        spacing: longest edge of a piece, metres.
        spread: standard deviations, in those of a piece; about 2 closes the surface.
        opacity: of every splat, in [0, 1].

    Raises:
        InputError: the spacing is not positive or far too small, or the content is of another
            family.
    """
    if isinstance(scene.content, Splats):
        return scene
    mesh = as_triangles(scene)
    pieces = cut_faces(mesh.vertices, mesh.faces, spacing)
    corners = pieces.corners(mesh.vertices, mesh.faces)  # (N, 3, 3)
    edges = (corners[:, 1:] - corners[:, :1]).mT  # (N, 3, 2)
    # Evenly spread over a triangle, its two barycentrics have variance 1/18, covariance -1/36.
    root = torch.linalg.cholesky(edges.new_tensor([[2.0, -1.0], [-1.0, 2.0]]) / 36)
    splats = Splats(
        corners.mean(1),
        spread * edges @ root,
        pieces.corners(scene.radiance(), mesh.faces).mean(1),
        torch.full_like(corners[:, 0, 0], opacity),
    )
    return dataclasses.replace(scene, content=splats)


def as_splats(scene: Scene) -> Splats:
    """The scene's splats.

    Raises:
        InputError: it was prepared for a technique of another family.
    """
    if not isinstance(scene.content, Splats):
        raise InputError(f"expected a scene of splats, got {type(scene.content).__name__}")
    return scene.content


def project_splats(splats: Splats, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """EWA projection: pixels (N, 2) and depth (N,) of the centres, covariances (N, 2, 2) in px².

    The covariance of the affine image is J W A (J W A)ᵀ for the Jacobian J of the projection at
    the centre: moving along an axis w in the camera's frame moves the pixel by
    K (w_xy / z - (x, y) w_z / z²) (Zwicker et al. 2001). Differentiable to splats and camera.

    Raises:
        InputError: the camera has a lens.
    """
    check_pinhole(camera)
    pixels, depth = camera.project(splats.centres)
    # Splats at the camera's plane are drawn by nobody: without a slope that grows without end,
    # their gradients are 0 and not NaN.
    ahead = (depth > NEAR)[:, None, None]
    centres = torch.where(ahead, camera.world_to_camera(splats.centres)[..., None], 0.0)
    axes = camera.rotation @ splats.axes  # (N, 3, 2)
    z = torch.where(ahead, depth[:, None, None], 1.0)
    slope = axes[:, :2] / z - centres[:, :2] * axes[:, 2:] / z.square()
    spread = camera.intrinsics[:2, :2] @ slope
    return pixels, depth, spread @ spread.mT


def check_pinhole(camera: Camera) -> None:
    """Raise InputError where the camera has a lens."""
    if camera.distortion is not None:
        raise InputError(
            "splats are projected by a pinhole camera, this one has a lens: "
            "undistort the picture and leave the coefficients out"
        )


def reach(opacities: Tensor, least: float) -> Tensor:  # (N,)
    """(N,) standard deviations at which o exp(-½ r²) falls to `least`; 0 where it starts below."""
    return (2 * (opacities.detach() / least).clamp(min=1).log()).sqrt()


def inverse_form(covariance: Tensor, offset: Tensor) -> Tensor:  # (M, 2, 2), (M, 2)
    """dᵀ Σ⁻¹ d. Shape (M,)."""
    a, b, c = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    x, y = offset.unbind(-1)
    return (c * x * x - 2 * b * x * y + a * y * y) / (a * c - b * b)
