"""The texture decoder: alike left and right, learned, and what it makes of half a texture."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError
from diffrender.shape_priors import (
    ShapePrior,
    TextureDecoder,
    TextureSettings,
    complete_texture,
    fit_texture,
    load_prior,
)
from diffrender.shape_priors.car_lattice import lattice
from diffrender.shape_priors.car_textures import sample_textures
from diffrender.shape_priors.texture_decoder import mirrored_texels
from diffrender.shape_priors.texture_training import TextureTraining, train_texture_decoder

SIDE = 48
SETTINGS = TextureSettings(latent_size=4, resolution=SIDE, width=32)
SHORT = TextureTraining(steps=60, batch=16)


@pytest.fixture(scope="module")
def source(car: ShapePrior) -> Tensor:
    return mirrored_texels(car, torch.from_numpy(lattice().mirror), SIDE)


@pytest.fixture(scope="module")
def textures(car: ShapePrior) -> Tensor:
    return sample_textures(car, 60, SIDE, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def learned(textures: Tensor, source: Tensor) -> TextureDecoder:
    generator = torch.Generator().manual_seed(0)
    return train_texture_decoder(textures, source, SETTINGS, SHORT, generator)[0]


def test_texels_mirror_each_other(car: ShapePrior, source: Tensor) -> None:
    alone = mirrored_texels(car, None, SIDE)
    assert int(alone.max()) == int((alone > 0).sum())  # every covered texel is free
    assert torch.equal(source > 0, alone > 0)
    assert 0.4 < int(source.max()) / int(alone.max()) < 0.65
    # The charts of the two sides show the same texels, the left one turned about.
    rows = slice(round(0.05 * SIDE), round(0.2 * SIDE))
    right, left = source[rows], source[round(0.30 * SIDE) : round(0.45 * SIDE)]
    shared = set(right.flatten().tolist()) & set(left.flatten().tolist()) - {0}
    assert len(shared) > 0.8 * len(set(left.flatten().tolist()))


def test_pictures_are_colours_and_gradients_flow(source: Tensor) -> None:
    small = SparsityConfig(density=0.5, block_size=4, backend="torch")
    decoder = TextureDecoder(
        source, TextureSettings(latent_size=3, resolution=SIDE, width=16, sparsity=small)
    )
    latent = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    picture = decoder(latent)
    assert picture.shape == (2, 5, SIDE, SIDE, 3)
    assert bool(((picture >= 0) & (picture <= 1)).all())
    assert bool((picture[..., source == 0, :] == 0.5).all())
    picture.sum().backward()
    assert latent.grad is not None
    assert float(latent.grad.abs().min()) > 0


def test_gradcheck() -> None:
    numbers = torch.tensor([[1, 2], [2, 0]])
    decoder = TextureDecoder(numbers, TextureSettings(latent_size=2, resolution=2, width=4))
    decoder = decoder.double()
    torch.nn.init.normal_(decoder.network[-1].weight, std=0.1)
    latent = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(decoder, (latent,))


def test_training_keeps_what_textures_have_in_common(
    car: ShapePrior, textures: Tensor, source: Tensor, learned: TextureDecoder
) -> None:
    fresh = sample_textures(car, 12, SIDE, torch.Generator().manual_seed(5))
    covered = source > 0
    mean = textures.mean(0)
    found = torch.stack([learned(fit_texture(learned, t, covered)) for t in fresh])
    error = (found - fresh)[:, covered].abs().mean()
    plain = (mean - fresh)[:, covered].abs().mean()
    assert float(error) < 0.4 * float(plain)


def test_half_a_texture_says_what_the_other_half_is(
    car: ShapePrior, source: Tensor, learned: TextureDecoder
) -> None:
    fresh = sample_textures(car, 1, SIDE, torch.Generator().manual_seed(6))[0]
    seen = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    seen[: SIDE // 4] = True  # the right side alone
    whole = complete_texture(learned, fresh, seen)
    assert torch.equal(whole[seen], fresh[seen])
    hidden = (source > 0) & ~seen
    assert float((whole - fresh)[hidden].abs().mean()) < 0.12


def test_wrong_inputs_are_refused(car: ShapePrior, textures: Tensor, source: Tensor) -> None:
    with pytest.raises(InputError, match="resolution is 1000"):
        TextureSettings(resolution=1000)
    with pytest.raises(InputError, match="width is 30, expected a multiple"):
        TextureSettings(width=30, sparsity=SparsityConfig())
    with pytest.raises(InputError, match="4 textures cannot give 4 latents"):
        train_texture_decoder(textures[:4], source, SETTINGS, SHORT, torch.Generator())
    with pytest.raises(InputError, match="number free texels from 1"):
        TextureDecoder(torch.zeros(SIDE, SIDE, dtype=torch.int64), SETTINGS)
    none = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    with pytest.raises(InputError, match="no texel of the surface is known"):
        fit_texture(TextureDecoder(source, SETTINGS), textures[0], none)
    with pytest.raises(InputError, match="no atlas with the parts of a car"):
        sample_textures(load_prior("free"), 1, SIDE, torch.Generator())
    with pytest.raises(InputError, match="do not mirror each other"):
        mirrored_texels(car, torch.arange(530).flip(0), SIDE)


def test_completing_leaves_gradients_alone_and_takes_any_dtype(learned: TextureDecoder) -> None:
    known = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)) < 0.5
    texture = torch.rand(SIDE, SIDE, 3, requires_grad=True)
    expected = fit_texture(learned, texture, known)
    assert texture.grad is None
    with torch.inference_mode():
        found = complete_texture(learned, texture.detach().clone(), known)
    assert torch.equal(found[known], texture.detach()[known])
    double = copy.deepcopy(learned).to(torch.float64)
    again = fit_texture(double, texture.detach().double(), known)
    assert again.dtype == torch.float64
    torch.testing.assert_close(again.float(), expected, atol=0.05, rtol=0.05)
