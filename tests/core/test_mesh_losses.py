"""Regularizers of free vertices: values by hand, gradients, broken inputs."""

from __future__ import annotations

import math

import pytest
import torch

from diffrender.errors import InputError
from diffrender.losses import (
    edge_length,
    laplacian,
    laplacian_smoothness,
    mesh_edges,
    normal_consistency,
)

# A unit square cut along its diagonal from corner 0 to corner 2.
SQUARE = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])
MESH = mesh_edges(FACES, 4)


def test_edges_and_pairs_of_a_square() -> None:
    assert sorted(map(tuple, MESH.edges.tolist())) == [(0, 1), (0, 2), (0, 3), (1, 2), (2, 3)]
    assert MESH.pairs.sort(dim=1).values.tolist() == [[0, 1]]
    matrix = laplacian(MESH)
    assert matrix.diagonal().tolist() == [3, 2, 3, 2]
    assert torch.equal(matrix.sum(1), torch.zeros(4))
    assert torch.equal(matrix, matrix.T)


def test_smoothness_is_the_distance_from_the_neighbours_mean() -> None:
    # Corner 1 has neighbours 0 and 2 with mean (.5, .5): half a diagonal away, and so has 3.
    # Corners 0 and 2 each have the others with mean (2/3, 2/3) and (1/3, 1/3).
    expected = (2 * 0.5 + 2 * 2 * (2 / 3) ** 2) / 4
    assert float(laplacian_smoothness(SQUARE, MESH)) == pytest.approx(expected)
    shifted = torch.ones_like(SQUARE)  # a displacement of all alike bends nothing
    assert float(laplacian_smoothness(shifted, MESH)) == pytest.approx(0)


def test_edges_remember_their_length() -> None:
    assert float(edge_length(SQUARE, MESH, SQUARE)) == pytest.approx(0)
    doubled = edge_length(2 * SQUARE, MESH, SQUARE)
    lengths = torch.tensor([1.0, 1, 1, 1, math.sqrt(2)])
    assert float(doubled) == pytest.approx(float((lengths**2).mean() / lengths.mean() ** 2))


def test_a_fold_of_ninety_degrees_costs_one() -> None:
    assert float(normal_consistency(SQUARE, MESH)) == pytest.approx(0)
    folded = SQUARE.clone()
    folded[3] = torch.tensor([0.5, 0.5, math.sqrt(0.5)])  # the second face stands upright
    assert float(normal_consistency(folded, MESH)) == pytest.approx(1)


@pytest.mark.parametrize("name", ["smooth", "edge", "normal"])
def test_gradients_and_batches(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    points = SQUARE + 0.2 * torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    terms = {
        "smooth": lambda v: laplacian_smoothness(v, MESH),
        "edge": lambda v: edge_length(v, MESH, SQUARE.expand_as(v)),
        "normal": lambda v: normal_consistency(v, MESH),
    }
    assert terms[name](points).shape == (2,)
    assert torch.autograd.gradcheck(terms[name], points.requires_grad_())


def test_what_has_no_area_has_a_finite_gradient() -> None:
    points = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    total = normal_consistency(points, MESH) + edge_length(points, MESH, SQUARE)
    (gradient,) = torch.autograd.grad(total, points)
    assert torch.isfinite(gradient).all()


def test_a_face_without_area_is_no_crease() -> None:
    """A flat strip of three faces, the last of which is a line: one pair has both normals."""
    points = torch.cat([SQUARE, torch.tensor([[0.0, 2, 0]], dtype=torch.float64)])
    mesh = mesh_edges(torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 4]]), 5)
    assert len(mesh.pairs) == 2
    assert float(normal_consistency(points, mesh)) == pytest.approx(0)
    folded = points.clone()
    folded[3] = torch.tensor([0.5, 0.5, math.sqrt(0.5)])
    folded[4] = 2 * folded[3]
    two = torch.stack([points, folded]).requires_grad_()
    both = normal_consistency(two, mesh)
    assert both.tolist() == pytest.approx([0, 1])
    (gradient,) = torch.autograd.grad(both.sum(), two)
    assert torch.isfinite(gradient).all()


def test_a_face_that_names_a_vertex_twice_has_no_neighbour() -> None:
    mesh = mesh_edges(torch.cat([FACES, torch.tensor([[3, 3, 4], [1, 1, 1]])]), 5)
    assert mesh.edges.tolist() == MESH.edges.tolist()
    assert mesh.pairs.tolist() == MESH.pairs.tolist()
    assert mesh.faces.tolist() == FACES.tolist()
    with pytest.raises(InputError, match="none that names three different vertices"):
        mesh_edges(torch.tensor([[0, 0, 1], [2, 2, 2]]), 3)


def test_broken_topologies_are_refused() -> None:
    with pytest.raises(InputError, match="faces is empty"):
        mesh_edges(torch.zeros(0, 3, dtype=torch.int64), 4)
    with pytest.raises(InputError, match="indices 0 to 3, expected 0 to 2"):
        mesh_edges(FACES, 3)
    with pytest.raises(InputError, match="vertices"):
        laplacian_smoothness(SQUARE[:3], MESH)
    with pytest.raises(InputError, match="faces is torch.float32, expected whole numbers"):
        mesh_edges(FACES.float(), 4)
    with pytest.raises(InputError, match=r"rest has shape \(3, 3\)"):
        edge_length(SQUARE, MESH, SQUARE[:3])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_faces_of_other_integers_are_the_same_faces(dtype: torch.dtype) -> None:
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    points = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    one, other = mesh_edges(faces, 4), mesh_edges(faces.to(dtype), 4)
    for term in (normal_consistency, laplacian_smoothness):
        assert torch.equal(term(points, one), term(points, other))
