"""The voxel grid that this folder's techniques draw, and how it is made from triangles."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.catalogue.points._pieces import cut_faces
from diffrender.catalogue.scene import Scene, Triangles, as_triangles
from diffrender.catalogue.voxels._solids import filled_share, thicken_open_parts
from diffrender.errors import InputError, check_shape

__all__ = ["VoxelGrid", "as_grid", "voxelize"]

_SPREAD = 1e-4  # weight of a neighbour's colour beside a voxel's own


@dataclass(frozen=True)
class VoxelGrid:
    """Cubes along the world's axes, each filled to some share and of one colour.

    Attributes:
        low: (3,) smallest corner, world, metres.
        edge: of a cube, metres.
        occupancy: (D, H, W) in [0, 1] along z, y, x; what it means is the technique's: a
            probability, or an amount of matter.
        colours: (D, H, W, 3) radiance, linear RGB.
    """

    low: Tensor  # (3,)
    edge: float
    occupancy: Tensor  # (D, H, W)
    colours: Tensor  # (D, H, W, 3)

    def __post_init__(self) -> None:
        check_shape("VoxelGrid.low", self.low, 3)
        check_shape("VoxelGrid.occupancy", self.occupancy, None, None, None)
        check_shape("VoxelGrid.colours", self.colours, *self.occupancy.shape, 3)
        if not self.edge > 0:
            raise InputError(f"VoxelGrid.edge is {self.edge}, expected a positive length in metres")

    @property
    def high(self) -> Tensor:
        """(3,) largest corner."""
        depth, height, width = self.occupancy.shape
        return self.low + self.edge * self.low.new_tensor([width, height, depth])

    def parameters(self) -> dict[str, Tensor]:
        """Attributes (radiance) and density (occupancy)."""
        return {"attributes": self.colours, "density": self.occupancy}

    def replaced(self, name: str, value: Tensor) -> VoxelGrid:
        """The same grid with other attributes or density."""
        if name == "attributes":
            return dataclasses.replace(self, colours=value)
        if name == "density":
            return dataclasses.replace(self, occupancy=value)
        raise InputError(f"no parameter {name!r} in a VoxelGrid, expected attributes, density")


def voxelize(scene: Scene, resolution: int) -> Scene:
    """The scene's triangles as a grid with baked radiance; a scene of voxels stays as it is.

    Closed parts are solid; open sheets, such as a floor, are two voxels thick below their front.
    The grid has one empty voxel around the scene. Colours are means over the surface in and
    around a voxel: differentiable to the triangles' colours and to the light, and through the
    normals weakly to the vertices. Occupancy has no gradient to the triangles.

    Args:
        scene: of triangles, or already of voxels.
        resolution: voxels along the scene's longest side, at least 4.

    Raises:
        InputError: the resolution is too small or too large, the mesh has no faces or no extent, or
            the content is of another family.
    """
    if isinstance(scene.content, VoxelGrid):
        return scene
    mesh = as_triangles(scene)
    if resolution < 4:
        raise InputError(f"resolution is {resolution}, expected at least 4 voxels")
    if not len(mesh.faces):
        raise InputError("the mesh has no faces to fill voxels with")
    fixed = mesh.vertices.detach()
    low, high = fixed.amin(0), fixed.amax(0)
    edge = float((high - low).max()) / resolution
    if not edge > 0:
        raise InputError("the scene has no extent: all its vertices are one point")
    solid, corners = thicken_open_parts(fixed, mesh.faces, 2 * edge)
    low = solid.amin(0) - edge
    counts = (((solid.amax(0) - low) / edge).ceil().long() + 1).clamp(min=3)
    width, height, depth = counts.tolist()
    occupancy = filled_share(solid, corners, low, edge, (depth, height, width))
    content = VoxelGrid(low, edge, occupancy, _baked(scene, mesh, low, edge, occupancy.shape))
    return dataclasses.replace(scene, content=content)


def as_grid(scene: Scene) -> VoxelGrid:
    """The scene's grid.

    Raises:
        InputError: it was prepared for a technique of another family.
    """
    if not isinstance(scene.content, VoxelGrid):
        raise InputError(f"expected a scene of voxels, got {type(scene.content).__name__}")
    return scene.content


def _baked(scene: Scene, mesh: Triangles, low: Tensor, edge: float, counts: torch.Size) -> Tensor:
    """(D, H, W, 3) mean radiance of the surface at each voxel, spread two voxels outwards."""
    pieces = cut_faces(mesh.vertices, mesh.faces, edge / 2)
    radiance = pieces.corners(scene.radiance(), mesh.faces).mean(1)  # (N, 3)
    places = pieces.corners(mesh.vertices.detach(), mesh.faces).mean(1)
    size = places.new_tensor(counts).flip(0)
    index = ((places - low) / edge).floor().clamp(min=0).minimum(size - 1).long()
    voxel = (index[:, 2] * counts[1] + index[:, 1]) * counts[2] + index[:, 0]
    total = radiance.new_zeros(counts.numel(), 4)
    ones = torch.ones_like(radiance[:, :1])
    total = total.index_add(0, voxel, torch.cat([radiance, ones], dim=1))
    spread = total.T.reshape(1, 4, *counts)
    own = spread
    for share in (_SPREAD, _SPREAD**2):
        spread = torch.nn.functional.avg_pool3d(spread, 3, stride=1, padding=1)
        own = own + share * spread
    colours, weight = own[0, :3], own[0, 3:]
    return torch.where(weight > 0, colours / weight.clamp(min=1e-20), 0).permute(1, 2, 3, 0)
