"""Pedestrians, cyclists and the free form: closed, in metres, of one topology."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffrender.errors import InputError
from diffrender.shape_priors import (
    ShapePrior,
    default_texture,
    free_prior,
    list_priors,
    load_prior,
    voxel_occupancy,
)
from diffrender.shape_priors.build_asset import main
from diffrender.shape_priors.cyclist_family import (
    CyclistParameters,
    cyclist_body,
    draw_cyclist,
)
from diffrender.shape_priors.free_form import icosphere
from diffrender.shape_priors.pedestrian_family import (
    PedestrianParameters,
    draw_pedestrian,
    pedestrian_body,
)
from diffrender.shape_priors.solids import Body, bent

NAMES = ("pedestrian", "cyclist", "free")


def closed(prior_or_body: ShapePrior | Body) -> bool:
    """Every edge has one face on either side."""
    faces = torch.as_tensor(prior_or_body.faces)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()
    pairs = {tuple(edge) for edge in edges}
    return len(pairs) == len(edges) and pairs == {(b, a) for a, b in pairs}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_priors_are_closed_and_solid(name: str) -> None:
    assert name in list_priors()
    prior = load_prior(name)
    assert prior.name == name
    assert prior.licence == "Apache-2.0"
    assert closed(prior)
    latent = 0.7 * torch.randn(prior.latent_size, generator=torch.Generator().manual_seed(1))
    mesh = prior.mesh(latent)
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    inside = voxel_occupancy(mesh.vertices, mesh.faces, low, high, (24, 24, 24))
    assert 0.05 < float(inside.double().mean()) < 0.8
    assert default_texture(prior, resolution=64).shape == (64, 64, 3)


@pytest.mark.parametrize("name", ["pedestrian", "cyclist"])
def test_assets_are_what_their_script_makes(name: str, tmp_path: Path) -> None:
    main([str(tmp_path / "again.safetensors"), "--name", name])
    again, shipped = load_prior(tmp_path / "again.safetensors"), load_prior(name)
    torch.testing.assert_close(again.mean, shipped.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.size_mean, shipped.size_mean, atol=1e-5, rtol=0)
    assert sum(again.explained) > 0.95


def test_a_pedestrian_is_as_tall_as_told_and_strides_as_told() -> None:
    standing = pedestrian_body(PedestrianParameters(height=1.8, stride=0.0))
    low, high = standing.vertices.min(0), standing.vertices.max(0)
    assert high[1] == 0  # the feet are on the road; y points down
    assert low[1] == pytest.approx(-1.8, abs=0.1)
    assert 0.4 < high[2] - low[2] < 0.7
    walking = pedestrian_body(PedestrianParameters(height=1.8, stride=0.5))
    reach = np.ptp(walking.vertices[:, 0])
    assert reach > np.ptp(standing.vertices[:, 0]) + 0.3
    assert (walking.faces == standing.faces).all()
    other = pedestrian_body(PedestrianParameters(height=1.8, stride=-0.5))
    turned = walking.vertices[:, 2].min(), walking.vertices[:, 2].max()
    assert other.vertices[:, 2].max() == pytest.approx(-turned[0], abs=0.02)


def test_a_cyclist_sits_on_two_wheels() -> None:
    body = cyclist_body(CyclistParameters(wheel=0.35, base=1.1))
    assert closed(body)
    wheels = body.vertices[np.unique(body.faces[body.face_parts == 0])]
    assert body.part_names[0] == "cycle_wheel"
    assert wheels[:, 1].max() == pytest.approx(0, abs=1e-9)
    assert np.ptp(wheels[:, 0]) == pytest.approx(1.1 + 0.7, abs=0.01)
    heads = body.vertices[np.unique(body.faces[body.face_parts == body.part_names.index("head")])]
    assert -2.1 < heads[:, 1].min() < -1.5
    one = cyclist_body(CyclistParameters(crank=0.3))
    half_turn = cyclist_body(CyclistParameters(crank=0.3 + np.pi))
    # Half a turn of the cranks swaps the legs.
    np.testing.assert_allclose(
        np.sort(one.vertices[:, 1]), np.sort(half_turn.vertices[:, 1]), atol=1e-9
    )


def test_draws_are_plausible_and_repeatable() -> None:
    def sizes(seed: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(seed)
        walkers = [pedestrian_body(draw_pedestrian(generator)) for _ in range(15)]
        riders = [cyclist_body(draw_cyclist(generator)) for _ in range(15)]
        return np.array([np.ptp(b.vertices, axis=0) for b in walkers + riders])

    found = sizes(0)
    assert (found == sizes(0)).all()
    assert (found != sizes(1)).any()
    walkers, riders = found[:15], found[15:]
    assert (walkers[:, 1] > 0.9).all()
    assert (walkers[:, 1] < 2.2).all()
    assert (walkers[:, 0] < 1.5).all()
    assert (riders[:, 0] > 1.4).all()
    assert (riders[:, 0] < 2.1).all()


def test_a_joint_keeps_its_links() -> None:
    start, end = np.array([0.0, 0.0, 0.1]), np.array([0.1, 0.8, 0.1])
    for forward in (True, False):
        joint = bent(start, end, 0.5, 0.4, forward)
        assert np.linalg.norm(joint - start) == pytest.approx(0.5)
        assert np.linalg.norm(joint - end) == pytest.approx(0.4)
        assert (joint[0] > 0.05) == forward
    straight = bent(start, 3 * end, 0.5, 0.4, True)
    np.testing.assert_allclose(np.cross(straight - start, 3 * end - start), 0, atol=1e-9)


def test_the_free_form_starts_as_an_ellipsoid_and_bends() -> None:
    prior = free_prior()
    middle = torch.tensor([0.0, -0.5, 0.0])
    round_ = ((prior.decode(torch.zeros(12)) - middle) * 2).norm(dim=-1)
    torch.testing.assert_close(round_, torch.ones(642), atol=1e-5, rtol=0)
    flip = torch.tensor([1.0, 1.0, -1.0])
    mirror = torch.cdist(prior.mean * flip, prior.mean).argmin(1)
    bentform = prior.decode(torch.linspace(-1, 1, 12))
    torch.testing.assert_close(bentform[mirror] * flip, bentform, atol=1e-5, rtol=0)
    # Harmonics are orthogonal over the sphere's vertices.
    flat = prior.basis.flatten(1) / prior.basis.flatten(1).norm(dim=1, keepdim=True)
    torch.testing.assert_close(flat @ flat.mT, torch.eye(12), atol=1e-4, rtol=0)
    assert free_prior(degree=2, subdivisions=1).latent_size == 3
    with pytest.raises(InputError, match="degree 9"):
        free_prior(degree=9)
    vertices, faces = icosphere(2)
    assert (len(vertices), len(faces)) == (162, 320)
    torch.testing.assert_close(vertices.norm(dim=1), torch.ones(162).double())
