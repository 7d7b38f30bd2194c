"""FlexiCubes (Shen et al. 2023): dual marching cubes with weights that place its vertices."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._nodes import (
    MovableGrid,
    cubes_with_a_surface,
    draw,
    movable_scene,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.errors import check_shape

__all__ = ["TECHNIQUE", "FlexiCubes", "WeightedCubes", "extract_dual"]

# The cube's edges, four along each of x, y and z, as pairs of corners 4 z + 2 y + x.
_EDGES = tuple(
    (corner, corner + axis) for axis in (1, 2, 4) for corner in range(8) if not corner & axis
)
_FACES = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))


@dataclass(frozen=True)
class WeightedCubes:
    """A movable grid, and for each of its (D-1)(H-1)(W-1) cubes the weights of FlexiCubes.

    They are what an optimizer changes; α = 1 + 0.99 tanh, β likewise, γ = sigmoid of them. Zeros
    give plain dual marching cubes.

    Attributes:
        grid: nodes, values, colours.
        alpha: (C, 8) by corner: where on an edge the surface crosses it.
        beta: (C, 12) by edge: which crossings pull the dual vertex.
        gamma: (C,) how a quad's middle is placed.
    """

    grid: MovableGrid
    alpha: Tensor  # (C, 8)
    beta: Tensor  # (C, 12)
    gamma: Tensor  # (C,)

    def __post_init__(self) -> None:
        depth, height, width = self.grid.shape
        count = (depth - 1) * (height - 1) * (width - 1)
        check_shape("WeightedCubes.alpha", self.alpha, count, 8)
        check_shape("WeightedCubes.beta", self.beta, count, 12)
        check_shape("WeightedCubes.gamma", self.gamma, count)

    def parameters(self) -> dict[str, Tensor]:
        """Those of the grid; the weights are attributes of this object."""
        return self.grid.parameters()

    def replaced(self, name: str, value: Tensor) -> WeightedCubes:
        """The same cubes with other vertices, density or attributes."""
        return dataclasses.replace(self, grid=self.grid.replaced(name, value))


def extract_dual(cubes: WeightedCubes) -> tuple[Tensor, Tensor, Tensor]:
    """Triangles over dual vertices: one for every piece of surface within a cube.

    u_e = (α_b s_b x_a - α_a s_a x_b) / (α_b s_b - α_a s_a) on each edge that is crossed, the dual
    vertex Σ β_e u_e / Σ β_e over its piece. The four around a crossed edge of the grid make a quad,
    cut into four triangles at its middle, which γ places between the diagonals.

    Returns:
        vertices (V, 3) and albedo (V, 3), differentiable to the grid and the weights, and
        faces (F, 3), counter-clockwise seen from where values are positive.
    """
    grid = cubes.grid
    corners, place = cubes_with_a_surface(grid)
    cell = torch.tensor(grid.shape) - 1
    cube = (place[:, 0] * cell[1] + place[:, 1]) * cell[2] + place[:, 2]
    alpha = 1 + 0.99 * torch.tanh(cubes.alpha[cube])
    beta = 1 + 0.99 * torch.tanh(cubes.beta[cube])
    inside = grid.values.detach()[corners] < 0
    case = (inside.long() << torch.arange(8)).sum(1)
    piece = _pieces()[case]  # (C, 12), -1 where an edge is not crossed
    a, b = torch.tensor(_EDGES).unbind(1)
    crossed = piece >= 0
    weighted = alpha * grid.values[corners]
    start, end = weighted[:, a], weighted[:, b]
    share = (start / torch.where(crossed, start - end, 1.0))[..., None]
    both = torch.cat([grid.nodes, grid.colours], dim=1)[corners]  # (C, 8, 6)
    crossing = torch.lerp(both[:, a], both[:, b], share)  # (C, 12, 6)
    # Four pieces a cube at most: their sums, and then only those that are there.
    row, edge = crossed.nonzero().unbind(1)
    slot, vertex = torch.unique(4 * row + piece[row, edge], return_inverse=True)
    pull = beta[row, edge][:, None]
    total = both.new_zeros(len(slot), 1).index_add(0, vertex, pull)
    dual = both.new_zeros(len(slot), 6).index_add(0, vertex, pull * crossing[row, edge]) / total
    gamma = torch.sigmoid(cubes.gamma[cube])[slot // 4]
    quads = _quads(grid, corners[row, a[edge]], edge, vertex)
    middle = _middles(dual[quads], gamma[quads])
    centre = len(dual) + torch.arange(len(quads))
    faces = torch.stack(
        [torch.stack([quads[:, i], quads[:, (i + 1) % 4], centre], dim=1) for i in range(4)], dim=1
    ).reshape(-1, 3)
    points = torch.cat([dual, middle])
    return points[:, :3], points[:, 3:], faces


def _quads(grid: MovableGrid, node: Tensor, edge: Tensor, vertex: Tensor) -> Tensor:
    """(Q, 4) dual vertices around each crossed edge of the grid that has all four cubes.

    Args:
        node, edge, vertex: (M,) the first node of each crossed edge of a cube, which of the twelve
            it is there, and the dual vertex of its piece.
    """
    axis = edge // 4
    key = 3 * node + axis
    order = torch.argsort(4 * key + edge % 4)  # cubes of one edge in a row, by where they lie
    _, count = torch.unique_consecutive(key[order], return_counts=True)
    whole = torch.repeat_interleave(count == 4, count)
    rows = order[whole].reshape(-1, 4)
    # edge % 4 counts both other axes in binary: 0, 1, 3, 2 goes around.
    quads = vertex[rows][:, [0, 1, 3, 2]]
    below = grid.values.detach()[node[rows[:, 0]]] < 0
    # Around y the other axes, x and z, are a left-handed pair.
    turned = below == (axis[rows[:, 0]] == 1)
    return torch.where(turned[:, None], quads.flip(1), quads)


def _middles(corners: Tensor, gamma: Tensor) -> Tensor:  # (Q, 4, 6), (Q, 4)
    """The middles of quads, between the middles of their diagonals by γ."""
    first, second = gamma[:, 0] * gamma[:, 2], gamma[:, 1] * gamma[:, 3]
    share = (first / (first + second))[:, None]
    one, other = corners[:, 0] + corners[:, 2], corners[:, 1] + corners[:, 3]
    return torch.lerp(other, one, share) / 2


@functools.cache
def _pieces() -> Tensor:
    """(256, 12) for each pattern of corners inside: the piece that each edge belongs to, or -1.

    Crossed edges are joined over the cube's faces. Where all four edges of a face are crossed,
    each is joined around the corner that lies inside: both cubes of a face then agree.
    """
    index = {pair: i for i, pair in enumerate(_EDGES)}
    table = torch.full((256, 12), -1)
    for case in range(256):
        inside = [bool(case >> corner & 1) for corner in range(8)]
        label = {i: i for i, (a, b) in enumerate(_EDGES) if inside[a] != inside[b]}
        for face in _FACES:
            ring = [index[tuple(sorted((face[i], face[(i + 1) % 4])))] for i in range(4)]  # type: ignore[index]
            crossed = [edge for edge in ring if edge in label]
            pairs = [crossed] if len(crossed) == 2 else []
            if len(crossed) == 4:  # edges i - 1 and i meet at corner i
                pairs = [[ring[i - 1], ring[i]] for i in range(4) if inside[face[i]]]
            for one, other in pairs:
                old, new = label[one], label[other]
                label = {edge: new if piece == old else piece for edge, piece in label.items()}
        numbers = {piece: i for i, piece in enumerate(sorted(set(label.values())))}
        for edge, piece in label.items():
            table[case, edge] = numbers[piece]
    return table


@dataclass(frozen=True)
class FlexiCubes:
    """Extraction at every render; the triangles are drawn by the library's rasterizer.

    Attributes:
        resolution: nodes of the grid along its longest side.
    """

    resolution: int = 80

    card: ClassVar[Card] = Card(
        name="flexicubes",
        title="FlexiCubes",
        authors="Shen, T. and Munkberg, J. and Hasselgren, J. and Yin, K. and Wang, Z. and "
        "Chen, W. and Gojcic, Z. and Fidler, S. and Sharp, N. and Gao, J.",
        year=2023,
        paper="Flexible Isosurface Extraction for Gradient-Based Mesh Optimization",
        venue="ACM Transactions on Graphics 42(4)",
        arxiv="2308.05371",
        sections="paper, the section on the formulation; after the survey. Its regularizers are "
        "left out, as is its special treatment of ambiguous neighbours",
        equations=(
            "u_e = (s_a α_a x_b - s_b α_b x_a) / (s_a α_a - s_b α_b)",
            "v_d = Σ β_e u_e / Σ β_e",
            "middle = (γ₁γ₃ (v₁+v₃)/2 + γ₂γ₄ (v₂+v₄)/2) / (γ₁γ₃ + γ₂γ₄)",
        ),
        family="implicit",
        idea=(
            "Take the dual of marching cubes: a vertex for every piece of surface in a cube, a "
            "quad for every crossed edge.",
            "Weights at corners and edges say where within its cube a vertex lies, and one at each "
            "vertex how a quad is folded.",
            "So the mesh can follow sharp features that the values alone could not express, and "
            "everything is a smooth function of values and weights.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "silhouette", "own"),
            Claim("intrinsics", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(P + D) for P pixels and D nodes, with 21 weights a cube; 4 triangles for each "
        "crossed edge",
        time="O(P + D)",
        limits="Values only near the surface have a gradient. Neighbouring cubes with ambiguous "
        "faces can give an edge with four triangles. Without the paper's regularizers, values "
        "and weights far from the surface drift.",
        use_when="Mesh optimization where sharp edges and even triangles matter.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Signed distances at movable nodes, all weights 0; not differentiable to the triangles."""
        if isinstance(scene.content, WeightedCubes):
            return scene
        scene = movable_scene(scene, self.resolution)
        assert isinstance(scene.content, MovableGrid)
        depth, height, width = scene.content.shape
        count = (depth - 1) * (height - 1) * (width - 1)
        zeros = scene.content.values.new_zeros
        cubes = WeightedCubes(scene.content, zeros(count, 8), zeros(count, 12), zeros(count))
        return dataclasses.replace(scene, content=cubes)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Extracted surface, shaded at its vertices, antialiased."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        assert isinstance(scene.content, WeightedCubes)
        vertices, albedo, faces = extract_dual(scene.content)
        return draw(scene, (vertices, faces), albedo, camera)


TECHNIQUE = FlexiCubes()
