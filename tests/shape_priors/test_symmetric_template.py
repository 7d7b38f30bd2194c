"""A template cut from meshes that do not mirror themselves, and distances between surfaces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.shape_priors import load_prior, volumetric_iou
from diffrender.shape_priors.car_lattice import lattice
from diffrender.shape_priors.free_form import icosphere
from diffrender.shape_priors.nearest import nearest_on_mesh, surface_errors
from diffrender.shape_priors.symmetric_template import symmetric_template

FLIP = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)


def turned_sphere() -> tuple[Tensor, Tensor]:
    """A symmetric surface whose vertices have no images: a sphere turned about x."""
    vertices, faces = icosphere(2)
    c, s = torch.cos(torch.tensor(0.3)), torch.sin(torch.tensor(0.3))
    turn = torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]]).double()
    return vertices @ turn.mT, faces


def test_a_template_that_mirrors_itself_stays_as_it_is() -> None:
    car = load_prior("car")
    template = symmetric_template(car.mean, car.faces)
    assert torch.equal(template.faces, car.faces)
    assert torch.equal(template.mirror, torch.from_numpy(lattice().mirror))
    torch.testing.assert_close(template.carry(car.mean), car.mean, atol=1e-6, rtol=0)


def test_any_other_is_halved_closed_and_symmetric_exactly() -> None:
    vertices, faces = turned_sphere()
    template = symmetric_template(vertices, faces)
    mirror = template.mirror
    assert torch.equal(mirror[mirror], torch.arange(len(mirror)))
    found = template.carry(vertices)
    assert float((found[mirror] * FLIP - found).abs().max()) == 0
    edges = torch.cat([template.faces[:, [0, 1]], template.faces[:, [1, 2]],
                       template.faces[:, [2, 0]]])  # fmt: skip
    pairs = {tuple(edge) for edge in edges.tolist()}
    assert len(pairs) == len(edges)
    assert pairs == {(b, a) for a, b in pairs}
    assert volumetric_iou(found, template.faces, vertices, faces) > 0.97
    # A batch of deformed ones is carried alike.
    batch = torch.stack([vertices, vertices * torch.tensor([2.0, 1.0, 1.0])])
    both = template.carry(batch)
    torch.testing.assert_close(both[1], found * torch.tensor([2.0, 1.0, 1.0]).double())


def test_nearest_points_are_those_of_the_formula() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    points = torch.tensor([[0.2, 0.3, 0.7], [-1, -1, 0.5], [1, 1, 0]], dtype=torch.float64)
    corners, weights = nearest_on_mesh(points, vertices, torch.tensor([[0, 1, 2]]))
    found = (weights[..., None] * vertices[corners]).sum(1)
    expected = torch.tensor([[0.2, 0.3, 0], [0, 0, 0], [0.5, 0.5, 0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_errors_of_two_concentric_spheres_are_their_gap() -> None:
    vertices, faces = icosphere(3)
    generator = torch.Generator().manual_seed(0)
    same = surface_errors((vertices, faces), (vertices, faces), 300, generator)
    assert same[0] < 1e-3
    assert same[1] > 0.999
    gap, normals = surface_errors((vertices, faces), (1.1 * vertices, faces), 300, generator)
    assert gap == pytest.approx(0.1, abs=0.004)
    assert normals > 0.98
    inside_out = faces[:, [0, 2, 1]]
    assert surface_errors((vertices, faces), (vertices, inside_out), 300, generator)[1] < -0.99


def test_what_cannot_be_halved_is_refused() -> None:
    vertices, faces = turned_sphere()
    with pytest.raises(InputError, match="two clean halves"):
        symmetric_template(vertices, faces[vertices[faces].mean(1)[:, 2].argsort()][:-1])
    with pytest.raises(InputError, match="no face lies at z > 0"):
        symmetric_template(vertices - torch.tensor([0.3, 0, 5.0]), faces)
    with pytest.raises(InputError, match="0 samples"):
        surface_errors((vertices, faces), (vertices, faces), 0, torch.Generator())
