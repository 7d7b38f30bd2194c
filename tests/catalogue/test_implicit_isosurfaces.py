"""Marching tetrahedra and FlexiCubes: closed, outward, on the surface, and differentiable."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from implicit_scenes import RADIUS, ball, camera, centre
from torch import Tensor

from diffrender.catalogue import find_technique
from diffrender.catalogue.implicit._nodes import MovableGrid, movable_scene
from diffrender.catalogue.implicit.dmtet import march_tetrahedra
from diffrender.catalogue.implicit.flexicubes import WeightedCubes, _pieces, extract_dual
from diffrender.errors import InputError

Extract = Callable[[MovableGrid], tuple[Tensor, Tensor, Tensor]]


def weighted(grid: MovableGrid, seed: int | None = None) -> WeightedCubes:
    """Cubes with weights 0, or random ones."""
    depth, height, width = grid.shape
    count = (depth - 1) * (height - 1) * (width - 1)
    generator = torch.Generator().manual_seed(seed or 0)
    scale = 0.0 if seed is None else 1.0
    drawn = [
        scale * torch.randn(*shape, generator=generator).double()
        for shape in ((count, 8), (count, 12), (count,))
    ]
    return WeightedCubes(grid, *drawn)


def dual(grid: MovableGrid) -> tuple[Tensor, Tensor, Tensor]:
    return extract_dual(weighted(grid))


def dual_weighted(grid: MovableGrid) -> tuple[Tensor, Tensor, Tensor]:
    return extract_dual(weighted(grid, seed=3))


def movable(spacing: float = 0.1) -> MovableGrid:
    content = movable_scene(ball(spacing), 8).content
    assert isinstance(content, MovableGrid)
    return content


def small() -> MovableGrid:
    """A cube of 4 nodes a side with a rough ball in it."""
    z, y, x = torch.meshgrid(*[torch.arange(4.0).double()] * 3, indexing="ij")
    nodes = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    generator = torch.Generator().manual_seed(5)
    values = (nodes - 1.5).norm(dim=-1) - 1.2 + 0.2 * torch.rand(64, generator=generator).double()
    return MovableGrid(nodes, values, torch.rand(64, 3, generator=generator).double(), (4, 4, 4))


EXTRACTS = pytest.mark.parametrize(
    "extract", [march_tetrahedra, dual, dual_weighted], ids=["dmtet", "dual", "flexicubes"]
)


@EXTRACTS
def test_mesh_is_closed_and_faces_outward(extract: Extract) -> None:
    vertices, _, faces = extract(movable())
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {tuple(edge) for edge in edges.tolist()}
    assert len(there) == len(edges)  # every directed edge once
    assert all((b, a) in there for a, b in there)  # and its opposite
    # A ball: V - E + F = 2.
    assert len(vertices) - len(edges) // 2 + len(faces) == 2
    a, b, c = (vertices - centre())[faces].unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum() / 6
    assert volume.item() == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.08)


@EXTRACTS
def test_vertices_lie_near_the_surface(extract: Extract) -> None:
    vertices, albedo, _ = extract(movable(0.05))
    off = ((vertices - centre()).norm(dim=-1) - RADIUS).abs()
    # Linear crossings are off by h² / 8 r; dual vertices are means over a cell.
    limit = 3e-3 if extract is march_tetrahedra else (0.01 if extract is dual else 0.03)
    assert off.max() < limit
    torch.testing.assert_close(albedo, torch.full_like(albedo, 0.5))


def test_marching_places_a_vertex_where_the_line_vanishes() -> None:
    """v = (v_a s_b - v_b s_a) / (s_b - s_a), on the only edges that are crossed."""
    grid = small()
    values = torch.ones(64).double()
    values[21] = -0.25  # node (1, 1, 1): z, y, x
    vertices, _, faces = march_tetrahedra(dataclasses.replace(grid, values=values))
    share = ((vertices - grid.nodes[21]).abs().amax(-1)).unique()
    torch.testing.assert_close(share, share.new_tensor([0.2]))  # 0.25 / 1.25 of every edge
    assert len(vertices) == 14  # six along axes, six along diagonals of faces, two of the cube
    assert len(faces) == 24


@EXTRACTS
def test_gradcheck_to_values_nodes_and_colours(extract: Extract) -> None:
    grid = small()
    tensors = [t.clone().requires_grad_() for t in (grid.nodes, grid.values, grid.colours)]

    def run(nodes: Tensor, values: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
        return extract(MovableGrid(nodes, values, colours, grid.shape))[:2]

    assert torch.autograd.gradcheck(run, tensors, fast_mode=True)


def test_gradcheck_to_the_weights() -> None:
    cubes = weighted(small(), seed=1)
    tensors = [t.clone().requires_grad_() for t in (cubes.alpha, cubes.beta, cubes.gamma)]

    def run(alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
        return extract_dual(WeightedCubes(cubes.grid, alpha, beta, gamma))[0]

    assert torch.autograd.gradcheck(run, tensors, fast_mode=True)
    vertices = run(*tensors)
    for tensor, used in zip(
        tensors, torch.autograd.grad(vertices.square().sum(), tensors), strict=True
    ):
        assert used.shape == tensor.shape and used.abs().sum() > 0


def test_pieces_of_a_cube() -> None:
    table = _pieces()
    assert table[0].max() == -1 and table[255].max() == -1
    counts = table.amax(1) + 1
    assert counts[1] == 1  # one corner
    assert counts[0b01000001] == 2  # corners 0 and 6, across a face: two pieces
    assert counts[0b10000001] == 2  # corners 0 and 7, across the cube
    assert counts[0b01101001] == 4  # every other corner
    # As many crossed edges on one side of a cut as on the other, three at least in a piece.
    for case in range(1, 255):
        crossed = table[case][table[case] >= 0]
        assert (torch.bincount(crossed) >= 3).all()
        assert torch.equal(table[case] >= 0, table[255 - case] >= 0)


@pytest.mark.parametrize("name", ["dmtet", "flexicubes"])
def test_ball_is_drawn(name: str) -> None:
    seen_by = camera((24, 32))
    drawn = find_technique(name).render(ball(), seen_by)
    radius = 24 * RADIUS / math.sqrt(9 - RADIUS**2)
    assert drawn.silhouette.sum().item() == pytest.approx(math.pi * radius**2, rel=0.03)
    assert drawn.depth[12, 16].item() == pytest.approx(3 - RADIUS, abs=0.01)


def test_broken_grids_are_named() -> None:
    grid = small()
    with pytest.raises(InputError, match=r"MovableGrid.values has shape \(63,\), expected \(64\)"):
        dataclasses.replace(grid, values=grid.values[1:])
    with pytest.raises(InputError, match="no parameter 'texture' here"):
        grid.replaced("texture", grid.values)
    with pytest.raises(InputError, match=r"WeightedCubes.alpha has shape \(27, 7\)"):
        WeightedCubes(grid, torch.zeros(27, 7), torch.zeros(27, 12), torch.zeros(27))
