"""Translucent Gaussians: closed forms of absorption along a ray, pictures, derivatives."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from soft_scenes import hard, slopes, toy_camera, toy_scene

from diffrender.catalogue import as_triangles, find_technique, standard_camera, standard_scene
from diffrender.catalogue.mesh.translucent_gaussians import (
    GaussianDensity,
    TranslucentGaussians,
    visibility,
)
from diffrender.errors import InputError

SIZE = (36, 48)


def test_one_gaussian_absorbs_by_the_law_of_beer_and_lambert() -> None:
    along = torch.tensor([[5.0], [3.0], [1.0]]).double()
    mass = torch.tensor([[0.2], [1.0], [4.0]]).double()
    radius = torch.tensor([[0.5], [0.7], [0.3]]).double()
    assert torch.allclose(visibility(along, mass, radius), 1 - (-mass).exp(), atol=0.01)


def test_what_lies_behind_gets_the_rest() -> None:
    """Far apart, the second one's share is its own times what the first lets through."""
    along = torch.tensor([[9.0, 2.0]]).double()
    mass, radius = torch.tensor([[2.0, 0.8]]).double(), torch.tensor([[0.4, 0.5]]).double()
    far, near = (1 - (-mass).exp())[0].tolist()
    expected = [far * (1 - near), near]
    assert visibility(along, mass, radius)[0].tolist() == pytest.approx(expected, abs=0.01)


def test_two_that_coincide_share_alike_and_change_places_smoothly() -> None:
    mass, radius = torch.full((1, 2), 1.5).double(), torch.full((1, 2), 0.4).double()
    gap = torch.linspace(-1.5, 1.5, 61).double()
    along = torch.stack([5 + gap, 5 - gap], dim=-1)
    first, second = visibility(along, mass.expand(61, 2), radius.expand(61, 2)).unbind(-1)
    assert first[30].item() == pytest.approx(second[30].item())
    assert first[0] > 0.7 > 0.3 > second[0]
    assert torch.allclose(first, second.flip(0))
    assert first.diff().abs().max() < 0.05
    inputs = (along[28:30].clone().requires_grad_(), mass, radius)
    assert torch.autograd.gradcheck(visibility, inputs)


def test_the_standard_scene_is_where_the_hard_one_is() -> None:
    camera = standard_camera(SIZE)
    drawn = find_technique("translucent-gaussians").render(standard_scene(), camera)
    mask, depth = hard(camera)
    ours = (drawn.silhouette > 0.5).float()
    # A Gaussian's radius is a few pixels here, by which outlines are off.
    assert torch.minimum(mask, ours).sum() / torch.maximum(mask, ours).sum() > 0.85
    seen = (mask > 0) & (drawn.silhouette > 0.9)
    assert (drawn.depth - depth).abs()[seen].median() < 0.3
    assert drawn.silhouette[0, 0] < 0.01 and drawn.depth[0, 0] == 0


@pytest.mark.parametrize("parameter", ["vertices", "attributes", "density", "pose", "intrinsics"])
def test_gradients_are_those_of_the_own_picture(parameter: str) -> None:
    technique = TranslucentGaussians(count=30, nearest=30)
    scene = technique.prepare(toy_scene())
    slope, difference = slopes(technique, scene, parameter)
    assert slope == pytest.approx(difference, rel=1e-5)
    assert abs(difference) > 1e-2


def test_gaussians_follow_the_triangles() -> None:
    scene = toy_scene()
    vertices = as_triangles(scene).vertices.clone().requires_grad_()
    technique = TranslucentGaussians(count=30)
    drawn = technique.render(scene.replaced("vertices", vertices), toy_camera())
    drawn.image.square().sum().backward()
    assert vertices.grad is not None and vertices.grad.abs().max() > 1e-3
    prepared = technique.prepare(scene)
    assert technique.prepare(prepared) is prepared


def test_gaussians_lie_on_the_surface_evenly() -> None:
    content = TranslucentGaussians(count=2000).prepare(standard_scene()).content
    assert isinstance(content, GaussianDensity)
    on_floor = (content.centres[:, 1].abs() < 1e-5).double().mean()
    mesh = as_triangles(standard_scene())
    corners = mesh.vertices[mesh.faces]
    sides = corners[:, 1:] - corners[:, :1]
    area = torch.linalg.cross(sides[:, 0], sides[:, 1]).norm(dim=-1)
    floor = area[(corners[..., 1].abs() < 1e-5).all(1)].sum() / area.sum()
    assert on_floor == pytest.approx(floor.item(), abs=0.01)


def test_broken_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="opacity is 1 and spread 0.4, expected"):
        TranslucentGaussians(opacity=1)
    with pytest.raises(InputError, match="count is 0 and nearest 24, expected at least 1"):
        TranslucentGaussians(count=0)
    content = TranslucentGaussians(count=5).prepare(toy_scene()).content
    assert isinstance(content, GaussianDensity)
    with pytest.raises(InputError, match="no parameter 'texture' here"):
        content.replaced("texture", content.colours)
    with pytest.raises(InputError, match="GaussianDensity.density has shape"):
        dataclasses.replace(content, density=torch.ones(2))
