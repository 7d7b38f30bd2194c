"""The deferred neural texture: its atlas, its U-Net, its fit and the derivatives of its picture."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from soft_scenes import slopes, toy_camera, toy_scene
from torch import Tensor

from diffrender.catalogue import find_technique, standard_camera, standard_scene
from diffrender.catalogue.neural._unet import UNet
from diffrender.catalogue.neural.deferred_neural_texture import (
    DeferredNeuralTexture,
    NeuralTexture,
    _atlas,
)
from diffrender.errors import InputError
from diffrender.raster import sample_texture

SMALL = DeferredNeuralTexture(features=5, width=4, cameras=4, size=(12, 16), steps=8)


def test_faces_do_not_share_texels() -> None:
    uv, side = _atlas(7)
    texture = torch.zeros(side, side, 7)
    made = torch.Generator().manual_seed(0)
    share = torch.rand(50, 3, generator=made)
    share = share / share.sum(1, keepdim=True)
    for face in range(7):
        row, column = 2 * (face // 3), 2 * (face % 3)
        texture[row : row + 2, column : column + 2, face] = 1
    for face in range(7):
        seen = sample_texture(texture, share @ uv[face])
        assert torch.allclose(seen, torch.eye(7)[face].expand(50, 7), atol=1e-5)


def test_unet_keeps_any_size_and_is_differentiable() -> None:
    net = UNet(channels=3, width=2)
    made = torch.Generator().manual_seed(1)
    weights = net.initial(made).double()
    assert weights.shape == (net.count(),)
    maps = torch.randn(7, 10, 3, generator=made).double()
    assert net.decode(weights, maps).shape == (7, 10, 3)
    small = torch.randn(4, 5, 3, generator=made).double().requires_grad_()
    assert torch.autograd.gradcheck(net.decode, (weights.requires_grad_(), small), fast_mode=True)


def test_unet_looks_beyond_a_pixel_and_not_everywhere() -> None:
    """Two halvings and six convolutions: 1 + 2 + 4 + 2 + 1 + 1 pixels by convolutions, and more."""
    net = UNet(channels=1, width=4)
    weights = net.initial(torch.Generator().manual_seed(2))
    maps = torch.zeros(64, 64, 1, requires_grad=True)
    with torch.no_grad():
        maps += torch.rand(maps.shape, generator=torch.Generator().manual_seed(3))
    (slope,) = torch.autograd.grad(net.decode(weights, maps)[32, 32].sum(), maps)
    rows = (slope.abs().sum((1, 2)) > 0).nonzero()[:, 0]
    assert 8 <= 32 - rows.min() <= 20


@pytest.fixture(scope="module")
def fitted() -> tuple[DeferredNeuralTexture, NeuralTexture]:
    technique = DeferredNeuralTexture(cameras=16, size=(48, 64), steps=120)
    content = technique.prepare(standard_scene()).content
    assert isinstance(content, NeuralTexture)
    return technique, content


def _decibels(drawn: Tensor, wanted: Tensor) -> float:
    return float(-10 * (drawn - wanted).square().mean().log10())


def test_the_fit_shows_the_scene_from_a_camera_that_it_was_not_given(
    fitted: tuple[DeferredNeuralTexture, NeuralTexture],
) -> None:
    technique, content = fitted
    scene, camera = standard_scene(), standard_camera((48, 64))
    hard = find_technique("unclamped-barycentrics").render(scene, camera)
    drawn = technique.render(dataclasses.replace(scene, content=content), camera)
    # Grey everywhere has some 20 dB; 28 dB is an error of 4 % of white.
    plain = torch.where(hard.silhouette[..., None] > 0, 0.5, scene.background)
    assert _decibels(plain, hard.image) < 22
    assert _decibels(drawn.image, hard.image) > 28
    assert torch.equal(drawn.silhouette, hard.silhouette)
    assert torch.allclose(drawn.depth, hard.depth, atol=1e-4)


def test_the_network_is_needed(fitted: tuple[DeferredNeuralTexture, NeuralTexture]) -> None:
    technique, content = fitted
    scene, camera = standard_scene(), standard_camera((48, 64))
    hard = find_technique("unclamped-barycentrics").render(scene, camera).image
    silent = content.replaced("density", torch.zeros_like(content.weights))
    errors = [
        _decibels(technique.render(dataclasses.replace(scene, content=c), camera).image, hard)
        for c in (content, silent)
    ]
    assert errors[0] > errors[1] + 2


def test_a_fit_is_the_same_every_time() -> None:
    first, second = (SMALL.prepare(toy_scene()).content for _ in range(2))
    assert isinstance(first, NeuralTexture) and isinstance(second, NeuralTexture)
    assert torch.equal(first.texture, second.texture)
    assert torch.equal(first.weights, second.weights)
    state = torch.get_rng_state()
    SMALL.prepare(toy_scene())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("parameter", ["texture", "density"])
def test_gradients_are_those_of_the_own_picture(parameter: str) -> None:
    scene = SMALL.prepare(toy_scene())
    slope, difference = slopes(SMALL, scene, parameter)
    assert slope == pytest.approx(difference, rel=1e-4)
    assert abs(difference) > 1e-2


def test_it_is_prepared_once() -> None:
    scene = SMALL.prepare(toy_scene())
    assert SMALL.prepare(scene) is scene
    drawn, again = (SMALL.render(s, toy_camera()).image for s in (scene, toy_scene()))
    assert torch.equal(drawn, again)


def test_broken_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="features is 2, expected at least 3"):
        DeferredNeuralTexture(features=2)
    with pytest.raises(InputError, match="steps is 0, expected at least 1"):
        DeferredNeuralTexture(steps=0)
    content = SMALL.prepare(toy_scene()).content
    assert isinstance(content, NeuralTexture)
    with pytest.raises(InputError, match="no parameter 'attributes' here"):
        content.replaced("attributes", content.texture)
