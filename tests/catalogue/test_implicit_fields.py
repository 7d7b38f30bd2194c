"""NeRF and the hash grid: layers, encodings, and fitting, at tiny sizes."""

from __future__ import annotations

import math

import pytest
import torch
from implicit_scenes import ball, camera

from diffrender.catalogue.implicit._fields import (
    Fitting,
    RadianceField,
    apply_layers,
    field_scene,
    initial_layers,
)
from diffrender.catalogue.implicit.hash_grid import HashGrid, HashTables
from diffrender.catalogue.implicit.nerf import EncodedNetwork, Nerf, encode
from diffrender.errors import InputError


def test_flat_layers_are_a_perceptron() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = initial_layers((5, 8, 3), generator)
    weights = weights + 0.1 * torch.randn(weights.shape, generator=generator)
    first, second = torch.nn.Linear(5, 8), torch.nn.Linear(8, 3)
    state = torch.cat([p.flatten() for p in (*first.parameters(), *second.parameters())])
    assert state.shape == weights.shape
    with torch.no_grad():
        first.weight.copy_(weights[:40].view(8, 5))
        first.bias.copy_(weights[40:48])
        second.weight.copy_(weights[48:72].view(3, 8))
        second.bias.copy_(weights[72:])
    x = torch.randn(7, 5, generator=generator)
    expected = torch.nn.Sequential(first, torch.nn.ReLU(), second)(x)
    torch.testing.assert_close(apply_layers(weights, (5, 8, 3), x), expected)


def test_encoding_of_a_point() -> None:
    point = torch.tensor([[0.1, -0.3, 0.7]])
    found = encode(point, 2)
    sines = [math.sin(k * math.pi * x) for k in (1, 2) for x in point[0].tolist()]
    cosines = [math.cos(k * math.pi * x) for k in (1, 2) for x in point[0].tolist()]
    torch.testing.assert_close(found, torch.tensor([[*point[0].tolist(), *sines, *cosines]]))


def test_hash_of_a_corner() -> None:
    tables = HashTables(levels=2, entries=64)
    corner = torch.tensor([[[3, 5, 7], [3, 5, 7]]])
    expected = (3 ^ 5 * 2654435761 ^ 7 * 805459861) % 64
    assert tables._row(corner).tolist() == [[expected, expected + 64]]


def test_hash_grid_interpolates_and_is_differentiable() -> None:
    tables = HashTables(levels=2, coarsest=2, finest=4, entries=16, width=4)
    generator = torch.Generator().manual_seed(1)
    weights = tables.initial(generator).double().requires_grad_()
    points = (2 * torch.rand(6, 3, generator=generator).double() - 1).requires_grad_()
    assert torch.autograd.gradcheck(tables.evaluate, (weights, points), fast_mode=True)
    # Continuous over the border of a cell: x = 0 is one on both levels.
    aside = torch.tensor([[-1e-9, 0.3, 0.2], [1e-9, 0.3, 0.2]]).double()
    below, above = tables.evaluate(weights, aside)
    torch.testing.assert_close(below, above, atol=1e-6, rtol=0)


def test_constant_tables_give_a_constant() -> None:
    """The eight weights of a corner sum to one."""
    tables = HashTables(levels=3, entries=16)
    weights = tables.initial(torch.Generator().manual_seed(1))
    weights[: tables.table_size] = 0.7
    points = 2 * torch.rand(20, 3, generator=torch.Generator().manual_seed(2)) - 1
    found = tables.evaluate(weights, points)
    torch.testing.assert_close(found, found[:1].expand(20, 4))


@pytest.mark.parametrize(
    "architecture",
    [EncodedNetwork(octaves=2, width=24, hidden=2), HashTables(levels=2, finest=16, entries=2**13)],
    ids=["nerf", "hash-grid"],
)
def test_fitted_ball(architecture: EncodedNetwork | HashTables) -> None:
    scene, seen_by = ball(0.1, torch.float32), camera((24, 32), torch.float32)
    fitting = Fitting(steps=120, batch=1000, rate=2e-2)
    fitted = field_scene(scene, architecture, fitting, 16)
    again = field_scene(scene, architecture, fitting, 16)
    assert isinstance(fitted.content, RadianceField) and isinstance(again.content, RadianceField)
    assert torch.equal(fitted.content.weights, again.content.weights)
    assert field_scene(fitted, architecture, fitting, 16) is fitted
    drawn = Nerf().render(fitted, seen_by)  # the content says what its weights mean
    row, column = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    off = torch.hypot(column + 0.5 - 16, row + 0.5 - 12)
    assert (drawn.silhouette[off < 3] > 0.9).all()  # the outline's radius is 4.9 pixels
    assert (drawn.silhouette[off > 9] < 0.2).all()
    assert abs(drawn.depth[12, 16].item() - 2.4) < 0.15
    assert torch.equal(drawn.image, HashGrid().render(fitted, seen_by).image)


def test_weights_have_a_gradient() -> None:
    network = EncodedNetwork(octaves=1, width=4, hidden=1)
    low, high = torch.tensor([-1.0, -1, 2]).double(), torch.tensor([1.0, 1, 4]).double()
    start = network.initial(torch.Generator().manual_seed(0)).double()
    points = low + (high - low) * torch.rand(5, 3, generator=torch.Generator().manual_seed(1))

    def run(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        density, radiance = RadianceField(weights, network, low, high, 20.0)(points)
        return density, radiance

    density, radiance = run(start)
    assert density.shape == (5,) and radiance.shape == (5, 3)
    assert ((density > 0) & (density < 20)).all()
    assert torch.autograd.gradcheck(run, (start.requires_grad_(),))


def test_a_field_has_weights_alone() -> None:
    network = EncodedNetwork(octaves=1, width=4, hidden=1)
    field = RadianceField(torch.zeros(3), network, torch.zeros(3), torch.ones(3), 1.0)
    assert list(field.parameters()) == ["density"]
    with pytest.raises(InputError, match="no parameter 'attributes' here, expected density"):
        field.replaced("attributes", torch.zeros(3))
