"""A grid whose nodes can move: the content of the techniques that extract a mesh."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.implicit._sdf import as_sdf, sdf_scene
from diffrender.catalogue.mesh.pixel_pair_antialiasing import TECHNIQUE as DRAWING
from diffrender.catalogue.scene import Rendering, Scene, Triangles
from diffrender.errors import InputError, check_shape

__all__ = ["CORNERS", "MovableGrid", "cubes_with_a_surface", "draw", "movable_scene"]

# The corners of a cube as steps along z, y, x; corner 4 z + 2 y + x.
CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1))


@dataclass(frozen=True)
class MovableGrid:
    """Signed distance and colour at nodes that started on a regular grid and may move.

    Attributes:
        nodes: (N, 3) positions, world; N = D H W, z slowest.
        values: (N,) signed distance, metres, negative inside.
        colours: (N, 3) albedo, linear RGB.
        shape: (D, H, W).
    """

    nodes: Tensor  # (N, 3)
    values: Tensor  # (N,)
    colours: Tensor  # (N, 3)
    shape: tuple[int, int, int]

    def __post_init__(self) -> None:
        depth, height, width = self.shape
        count = depth * height * width
        check_shape("MovableGrid.nodes", self.nodes, count, 3)
        check_shape("MovableGrid.values", self.values, count)
        check_shape("MovableGrid.colours", self.colours, count, 3)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices (the nodes' positions), density (signed distances), attributes (colours)."""
        return {"vertices": self.nodes, "density": self.values, "attributes": self.colours}

    def replaced(self, name: str, value: Tensor) -> MovableGrid:
        """The same grid with other vertices, density or attributes."""
        if name == "vertices":
            return dataclasses.replace(self, nodes=value)
        if name == "density":
            return dataclasses.replace(self, values=value)
        if name == "attributes":
            return dataclasses.replace(self, colours=value)
        raise InputError(
            f"no parameter {name!r} here, expected one of vertices, density, attributes"
        )


def movable_scene(scene: Scene, resolution: int) -> Scene:
    """The scene's triangles as signed distances at movable nodes; see `sdf_scene`."""
    if isinstance(scene.content, MovableGrid):
        return scene
    grid = as_sdf(sdf_scene(scene, resolution))
    depth, height, width = grid.values.shape
    content = MovableGrid(
        grid.nodes().reshape(-1, 3),
        grid.values.reshape(-1),
        grid.colours.reshape(-1, 3),
        (depth, height, width),
    )
    return dataclasses.replace(scene, content=content)


def cubes_with_a_surface(grid: MovableGrid) -> tuple[Tensor, Tensor]:
    """Cubes between nodes whose corners differ in sign.

    Returns:
        corners: (C, 8) their nodes, in the order of `CORNERS`.
        place: (C, 3) k, j, i of the first corner.
    """
    _, height, width = grid.shape
    inside = (grid.values.detach() < 0).reshape(grid.shape)
    count = sum(inside[_piece(z), _piece(y), _piece(x)].int() for z, y, x in CORNERS)
    assert isinstance(count, Tensor)
    place = ((count > 0) & (count < 8)).nonzero()
    steps = torch.tensor(CORNERS)
    node = place[:, None] + steps
    return (node[..., 0] * height + node[..., 1]) * width + node[..., 2], place


def draw(
    scene: Scene,
    mesh: tuple[Tensor, Tensor],
    albedo: Tensor,  # (V, 3)
    camera: Camera,
) -> Rendering:
    """Draw extracted triangles (vertices (V, 3), faces (F, 3)) with antialiased outlines."""
    vertices, faces = mesh
    extracted = dataclasses.replace(scene, content=Triangles(vertices, faces, albedo))
    return DRAWING.render(extracted, camera)


def _piece(step: int) -> slice:
    return slice(1, None) if step else slice(None, -1)
