"""DMTet (Shen et al. 2021): marching tetrahedra on a grid whose nodes and values can change."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._nodes import (
    CORNERS,
    MovableGrid,
    cubes_with_a_surface,
    draw,
    movable_scene,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "DmTet", "march_tetrahedra"]


def march_tetrahedra(grid: MovableGrid) -> tuple[Tensor, Tensor, Tensor]:
    """The triangles of the zero level, one vertex on every edge whose ends differ in sign.

    v = (v_a s_b - v_b s_a) / (s_b - s_a). Each cube is cut into six tetrahedra that share its
    diagonal. Faces run counter-clockwise seen from where values are positive.

    Returns:
        vertices (V, 3) and albedo (V, 3), differentiable to nodes, values and colours, and
        faces (F, 3).
    """
    corners, _ = cubes_with_a_surface(grid)
    cut = _tetrahedra().repeat(len(corners), 1)  # (6 C, 4) corners of their cubes
    tets = corners.repeat_interleave(6, dim=0).gather(1, cut)
    inside = grid.values.detach()[tets] < 0
    count = inside.sum(1)
    # Corners inside first; the two halves are then known by how many there are.
    order = (~inside).int().argsort(dim=1, stable=True)
    tets, left_handed = tets.gather(1, order), _is_left_handed(cut.gather(1, order))
    one, two, three = tets[count == 1], tets[count == 2], tets[count == 3]
    a, b, c, d = two.unbind(1)
    quads = torch.stack([a, c, a, d, b, d, b, c], dim=1).reshape(-1, 4, 2)
    edges = torch.cat(
        [
            one[:, [0, 1, 0, 2, 0, 3]].reshape(-1, 3, 2),
            three[:, [0, 3, 1, 3, 2, 3]].reshape(-1, 3, 2),
            quads[:, [0, 1, 2]],
            quads[:, [0, 2, 3]],
        ]
    )  # (F, 3, 2): an edge a corner of each triangle
    lower, upper = edges.amin(-1), edges.amax(-1)
    key, faces = torch.unique(lower * len(grid.values) + upper, return_inverse=True)
    first, second = key // len(grid.values), key % len(grid.values)
    share = grid.values[first] / (grid.values[first] - grid.values[second])
    vertices = torch.lerp(grid.nodes[first], grid.nodes[second], share[:, None])
    albedo = torch.lerp(grid.colours[first], grid.colours[second], share[:, None])
    # As listed, triangles of a right-handed tetrahedron face its corners outside.
    turned = torch.cat([left_handed[count == n] for n in (1, 3, 2, 2)])
    return vertices, albedo, torch.where(turned[:, None], faces.flip(1), faces)


def _is_left_handed(corners: Tensor) -> Tensor:  # (T, 4)
    """(T,) whether b - a, c - a, d - a of these corners of a cube are a left-handed system."""
    a, b, c, d = torch.tensor(CORNERS).flip(1)[corners].unbind(1)
    return (torch.linalg.cross(b - a, c - a) * (d - a)).sum(1) < 0


def _tetrahedra() -> Tensor:
    """(6, 4) corners of the cube: from the first to the last, along each order of the axes."""
    rows = []
    for order in itertools.permutations((1, 2, 4)):
        rows.append([0, order[0], order[0] + order[1], 7])
    return torch.tensor(rows)


@dataclass(frozen=True)
class DmTet:
    """Extraction at every render; the triangles are drawn by the library's rasterizer.

    Attributes:
        resolution: nodes of the grid along its longest side.
    """

    resolution: int = 80

    card: ClassVar[Card] = Card(
        name="dmtet",
        title="Deep marching tetrahedra (DMTet)",
        authors="Shen, T. and Gao, J. and Yin, K. and Liu, M.-Y. and Fidler, S.",
        year=2021,
        paper="Deep Marching Tetrahedra: a Hybrid Representation for High-Resolution 3D Shape "
        "Synthesis",
        venue="NeurIPS",
        arxiv="2111.04276",
        sections="paper, the section on the marching tetrahedra layer; after the survey. Its "
        "networks and the subdivision of the grid are left out",
        equations=("v_ab = (v_a s_b - v_b s_a) / (s_b - s_a) where s_a and s_b differ in sign",),
        family="implicit",
        idea=(
            "Keep a signed distance at the nodes of a tetrahedral grid, and let the nodes move.",
            "Extract the zero level: a vertex on each edge whose ends differ in sign, at the place "
            "where the linear distance vanishes.",
            "That place is a smooth function of values and nodes, so a mesh renderer's gradient "
            "goes through the extraction, and topology may change from one step to the next.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(P + D) for P pixels and D nodes; triangles about 6 a cell that the surface cuts",
        time="O(P + D)",
        limits="Values only near the surface have a gradient. Tetrahedra print their pattern on "
        "flat and sharp parts; near-zero values make slivers.",
        use_when="Shapes of unknown topology, with the speed and materials of a mesh renderer.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances at movable nodes; not differentiable to the triangles."""
        return movable_scene(scene, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Extracted surface, shaded at its vertices, antialiased."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        assert isinstance(scene.content, MovableGrid)
        vertices, albedo, faces = march_tetrahedra(scene.content)
        return draw(scene, (vertices, faces), albedo, camera)


TECHNIQUE = DmTet()
