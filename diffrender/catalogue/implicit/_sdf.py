"""Signed distance on a grid: the content of the techniques that draw implicit surfaces."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.catalogue.implicit._distance import nearest_points, thicken, winding_numbers
from diffrender.catalogue.scene import Scene, Triangles
from diffrender.errors import InputError, check_shape
from diffrender.raster import sample_texture

__all__ = ["SdfGrid", "as_sdf", "interpolate_grid", "sdf_scene", "shade"]

_MARGIN = 3  # voxels between the triangles and the end of the grid
_SHEET = 1.5  # voxels of thickness that an open sheet is given
_LARGEST = 512  # nodes along the longest side


@dataclass(frozen=True)
class SdfGrid:
    """Signed distance and colour at the nodes of a regular grid, trilinear between them.

    Node (k, j, i) lies at low + spacing (i, j, k).

    Attributes:
        values: (D, H, W) signed distance, metres, negative inside. Axes z, y, x of the world.
        colours: (D, H, W, 3) albedo, linear RGB.
        low: (3,) position of the first node, world.
        spacing: metres between nodes.
    """

    values: Tensor  # (D, H, W)
    colours: Tensor  # (D, H, W, 3)
    low: Tensor  # (3,)
    spacing: float

    def __post_init__(self) -> None:
        check_shape("SdfGrid.values", self.values, None, None, None)
        if min(self.values.shape) < 2:
            raise InputError(
                f"SdfGrid.values has shape {tuple(self.values.shape)}, expected at least two nodes "
                "along each axis"
            )
        check_shape("SdfGrid.colours", self.colours, *self.values.shape, 3)
        check_shape("SdfGrid.low", self.low, 3)
        if not self.spacing > 0:
            raise InputError(f"SdfGrid.spacing is {self.spacing}, expected metres above 0")

    @property
    def high(self) -> Tensor:
        """(3,) position of the last node, world."""
        return self.low + self.spacing * (self.low.new_tensor(self.values.shape).flip(0) - 1)

    def parameters(self) -> dict[str, Tensor]:
        """Density (the signed distances) and attributes (the colours)."""
        return {"density": self.values, "attributes": self.colours}

    def replaced(self, name: str, value: Tensor) -> SdfGrid:
        """The same grid with other density or attributes."""
        if name == "density":
            return dataclasses.replace(self, values=value)
        if name == "attributes":
            return dataclasses.replace(self, colours=value)
        raise InputError(f"no parameter {name!r} here, expected one of density, attributes")

    def nodes(self) -> Tensor:
        """(D, H, W, 3) positions of the nodes, world."""
        z, y, x = (torch.arange(n).to(self.low) for n in self.values.shape)
        steps = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)
        return self.low + self.spacing * steps

    def distance(self, points: Tensor) -> Tensor:  # (..., 3)
        """Signed distance at points, world. (..., 3) -> (...). Differentiable to all."""
        return interpolate_grid(self, self.values[..., None], points)[..., 0]

    def slope(self, points: Tensor) -> Tensor:  # (..., 3)
        """The trilinear distance's own gradient, without a graph. (..., 3) -> (..., 3)."""
        with torch.inference_mode(False), torch.enable_grad():
            moving = points.detach().clone().requires_grad_()
            still = dataclasses.replace(self, values=self.values.detach())
            return torch.autograd.grad(still.distance(moving).sum(), moving)[0]

    def gradients(self) -> Tensor:
        """(D, H, W, 3) central differences at the nodes, along x, y, z: they vary smoothly."""
        z, y, x = torch.gradient(self.values, spacing=self.spacing)
        return torch.stack([x, y, z], dim=-1)


def interpolate_grid(grid: SdfGrid, volume: Tensor, points: Tensor) -> Tensor:
    """Trilinear values of a volume over the grid's nodes.

    Shapes: volume (D, H, W, C), points (..., 3) world -> (..., C). Points beyond the grid get the
    value at its border. Differentiable to all, twice.
    """
    depth, height, width, channels = volume.shape
    last = points.new_tensor([width - 1, height - 1, depth - 1])
    place = ((points - grid.low) / grid.spacing).clamp(min=0).minimum(last)
    first = place.detach().floor().minimum(last - 1)
    x, y, z = (place - first).unbind(-1)
    i, j, k = first.long().unbind(-1)
    rows = volume.reshape(-1, channels)
    base = (k * height + j) * width + i
    total = torch.zeros((), dtype=volume.dtype)
    for dz, wz in ((0, 1 - z), (1, z)):
        for dy, wy in ((0, 1 - y), (1, y)):
            for dx, wx in ((0, 1 - x), (1, x)):
                corner = (base + (dz * height + dy) * width + dx).reshape(-1)
                value = rows.index_select(0, corner).reshape(*base.shape, channels)
                total = total + (wz * wy * wx)[..., None] * value
    return total


def shade(scene: Scene, grid: SdfGrid, points: Tensor) -> Tensor:  # (..., 3)
    """Radiance of the surface through points: interpolated albedo under the scene's light.

    The normal is the interpolated gradient of the distance, scaled to unit length.
    """
    both = interpolate_grid(grid, torch.cat([grid.gradients(), grid.colours], dim=-1), points)
    normals = torch.nn.functional.normalize(both[..., :3], dim=-1)
    return scene.light.shade(both[..., 3:], normals)


def sdf_scene(scene: Scene, resolution: int) -> Scene:
    """The scene with its triangles as a grid of signed distances.

    Exact distances to the triangles; inside where closed triangles wind around a node. An open
    sheet (the floor) gets a thickness of 1.5 voxels below it. Colours, a texture included, are
    those of the nearest surface point. Not differentiable to the triangles. A scene that holds a
    grid already is returned as it is.

    Args:
        resolution: nodes along the longest side of the box around the scene.

    Raises:
        InputError: the scene holds neither triangles nor a grid, no faces or no extent, or the
            resolution is out of range.
    """
    if isinstance(scene.content, SdfGrid):
        return scene
    if not 8 <= resolution <= _LARGEST:
        raise InputError(f"resolution is {resolution} nodes, expected 8 to {_LARGEST}")
    if not isinstance(scene.content, Triangles):
        raise InputError(
            f"this technique draws Triangles or an SdfGrid, the scene holds "
            f"{type(scene.content).__name__}; give it the scene from before `prepare`"
        )
    with torch.no_grad():
        return dataclasses.replace(scene, content=_from_triangles(scene.content, resolution))


def as_sdf(scene: Scene) -> SdfGrid:
    """The grid of a scene that `sdf_scene` made."""
    assert isinstance(scene.content, SdfGrid)
    return scene.content


def _from_triangles(mesh: Triangles, resolution: int) -> SdfGrid:
    if not len(mesh.faces):
        raise InputError("the mesh has no faces to measure distances to")
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    spacing = float((high - low).max()) / (resolution - 2 - 2 * _MARGIN)
    if not spacing > 0:
        raise InputError("the scene has no extent: all its vertices are one point")
    solid = thicken(mesh.vertices, mesh.faces, _SHEET * spacing)
    low, high = solid.vertices.amin(0), solid.vertices.amax(0)
    counts = ((high - low) / spacing).ceil().long() + 2 + 2 * _MARGIN
    width, height, depth = counts.tolist()
    # Off by a quarter of a voxel, so that no layer of nodes lies in a face of a sheet.
    low = high + spacing * (_MARGIN + 0.25 - (counts - 1))
    shape = (depth, height, width)
    blank = SdfGrid(low.new_zeros(shape), low.new_zeros(*shape, 3), low, spacing)
    nodes = blank.nodes()
    nearest = nearest_points(solid, nodes)
    inside = winding_numbers(solid, nodes) > 0.5
    distance = nearest.distance.reshape(shape)
    corners = mesh.faces[nearest.face]
    colours = (nearest.bary[..., None] * mesh.colours[corners]).sum(1)
    if mesh.uv is not None and mesh.texture is not None:
        colours = colours * sample_texture(
            mesh.texture, (nearest.bary[..., None] * mesh.uv[corners]).sum(1)
        )
    return SdfGrid(
        torch.where(inside, -distance, distance), colours.reshape(*shape, 3), low, spacing
    )
