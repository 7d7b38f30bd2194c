"""The coloured points that this folder's techniques of points draw."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.catalogue.points._pieces import cut_faces
from diffrender.catalogue.scene import Scene, as_triangles
from diffrender.errors import InputError, check_shape

__all__ = ["SurfacePoints", "as_points", "sample_surface"]


@dataclass(frozen=True)
class SurfacePoints:
    """Points with a colour, an opacity, and a radius that closes the gaps between them.

    Attributes:
        centres: (N, 3) world, metres.
        radii: (N,) metres.
        colours: (N, 3) radiance, linear RGB.
        opacities: (N,) in [0, 1].
    """

    centres: Tensor  # (N, 3)
    radii: Tensor  # (N,)
    colours: Tensor  # (N, 3)
    opacities: Tensor  # (N,)

    def __post_init__(self) -> None:
        check_shape("SurfacePoints.centres", self.centres, None, 3)
        count = len(self.centres)
        check_shape("SurfacePoints.radii", self.radii, count)
        check_shape("SurfacePoints.colours", self.colours, count, 3)
        check_shape("SurfacePoints.opacities", self.opacities, count)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices (centres), attributes (radiance) and density (opacities)."""
        return {
            "vertices": self.centres,
            "attributes": self.colours,
            "density": self.opacities,
        }

    def replaced(self, name: str, value: Tensor) -> SurfacePoints:
        """The same points with other centres, colours or opacities."""
        fields = {"vertices": "centres", "attributes": "colours", "density": "opacities"}
        if name not in fields:
            raise InputError(f"no parameter {name!r} of points, expected {', '.join(fields)}")
        return dataclasses.replace(self, **{fields[name]: value})


def sample_surface(scene: Scene, spacing: float, opacity: float = 1.0) -> Scene:
    """The scene's triangles as points with baked radiance; a scene of points stays as it is.

    A point lies in the middle of each piece of a face (`cut_faces`) and its radius reaches the
    piece's corners. All of it is differentiable to the triangles' vertices and colours and to the
    light, since points keep their barycentrics.

    Args:
        scene: of triangles, or already of points.
        spacing: longest edge of a piece, metres.
        opacity: of every point.

    Raises:
        InputError: the spacing is not positive or far too small, or the content is of another
            family.
    """
    if isinstance(scene.content, SurfacePoints):
        return scene
    mesh = as_triangles(scene)
    pieces = cut_faces(mesh.vertices, mesh.faces, spacing)
    corners = pieces.corners(mesh.vertices, mesh.faces)  # (N, 3, 3)
    centres = corners.mean(1)
    points = SurfacePoints(
        centres,
        (corners - centres[:, None]).norm(dim=-1).amax(1),
        pieces.corners(scene.radiance(), mesh.faces).mean(1),
        torch.full_like(centres[:, 0], opacity),
    )
    return dataclasses.replace(scene, content=points)


def as_points(scene: Scene) -> SurfacePoints:
    """The scene's points.

    Raises:
        InputError: it was prepared for a technique of another family.
    """
    if not isinstance(scene.content, SurfacePoints):
        raise InputError(f"expected a scene of points, got {type(scene.content).__name__}")
    return scene.content
