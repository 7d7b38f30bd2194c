"""Layers made from what is on disk, on "meta" or in numpy; states that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from diffrender.blocksparse import (
    BlockPattern,
    BlockSparseLinear,
    DynamicBlockSparseLinear,
    SparseLinear,
    SparsityConfig,
    linear,
)
from diffrender.errors import InputError


def _layer(config: SparsityConfig, seed: int = 0) -> SparseLinear:
    torch.manual_seed(seed)
    layer = linear(16, 12, config)
    assert isinstance(layer, SparseLinear)
    return layer


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_layers_begin_on_meta_as_linear_layers_do(mode: str) -> None:
    config = SparsityConfig(0.5, 4, mode)
    with torch.device("meta"):
        net = nn.Sequential(linear(16, 12, config))
        assert BlockPattern.random((8, 8), 4, 0.5, generator=torch.Generator("cpu")).nnz == 2
    assert net[0].values.is_meta
    full = nn.Sequential(linear(16, 12, config))
    net.to_empty(device="cpu").load_state_dict(full.state_dict())
    x = torch.rand(3, 16)
    assert torch.equal(net(x), full(x))
    with torch.device("meta"):
        net = nn.Sequential(linear(16, 12, config))
    net.load_state_dict(full.state_dict(), assign=True)
    assert torch.equal(net(x), full(x))


def test_a_state_that_does_not_fit_leaves_a_layer_as_it_was() -> None:
    layer = _layer(SparsityConfig(0.5, 4, "dynamic"))
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    other = _layer(SparsityConfig(0.25, 4, "dynamic"), seed=1).state_dict()
    with pytest.raises(RuntimeError, match="build the layer with the density that was saved"):
        layer.load_state_dict(other)
    fixed = _layer(SparsityConfig(0.5, 4))
    short = {name: value.clone() for name, value in fixed.state_dict().items()}
    broken = short | {"values": short["values"][1:]}
    with pytest.raises(RuntimeError, match=r"values has shape \(5, 4, 4\), expected \(6, 4, 4\)"):
        fixed.load_state_dict(broken)
    for mine, before in ((layer, state), (fixed, short)):
        for name, value in mine.state_dict().items():
            assert torch.equal(value, before[name])


def test_gradients_of_other_blocks_do_not_stay() -> None:
    layer, other = _layer(SparsityConfig(0.25, 4)), _layer(SparsityConfig(0.5, 4))
    layer(torch.ones(2, 16)).sum().backward()
    layer.load_state_dict(other.state_dict())
    assert layer.values.grad is None
    layer(torch.ones(2, 16)).sum().backward()
    assert layer.values.grad.shape == layer.values.shape


def test_any_integers_make_a_block_size() -> None:
    four = np.int64(4)
    for size in (four, (four, 4)):
        assert SparsityConfig(0.5, size).block_shape == (4, 4)
    layer = DynamicBlockSparseLinear(np.int64(16), 12, SparsityConfig(0.5, four, "dynamic"))
    assert layer(torch.ones(2, 16)).shape == (2, 12)
    for size in (16.0, "16", None, (16.0, 16)):
        with pytest.raises(InputError, match="expected two whole numbers, or one for both"):
            SparsityConfig(0.5, size)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("density", [0.5, 0.25])
def test_the_mask_comes_along_with_pruned_values(mode: str, density: float) -> None:
    first = _layer(SparsityConfig(0.5, 4, mode))
    other = _layer(SparsityConfig(density if mode == "static" else 0.5, 4, mode), seed=1)
    for layer in (first, other):
        prune.random_unstructured(layer, "values", 0.5)
    first.load_state_dict(other.state_dict())
    x = torch.rand(3, 16)
    assert torch.equal(first(x), other(x))
    assert torch.equal(first.weight, other.weight)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_mask_without_its_values_is_not_ignored(mode: str) -> None:
    layer, other = (_layer(SparsityConfig(0.5, 4, mode), seed) for seed in (0, 1))
    state = {name: t.clone() for name, t in other.state_dict().items() if name != "values"}
    with pytest.raises(RuntimeError, match="it differs from the layer's, and 'values' is missing"):
        layer.load_state_dict(state, strict=False)
    own = {name: t.clone() for name, t in layer.state_dict().items() if name != "values"}
    layer.load_state_dict(own, strict=False)
    prune.identity(layer, "values")
    with pytest.raises(RuntimeError, match="'values_orig' is missing"):
        layer.load_state_dict(other.state_dict(), strict=False)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_gradients_of_as_many_other_blocks_do_not_stay(mode: str) -> None:
    layer, other = (_layer(SparsityConfig(0.5, 4, mode), seed) for seed in (0, 1))
    layer(torch.ones(2, 16)).sum().backward()
    layer.load_state_dict({name: t.clone() for name, t in layer.state_dict().items()})
    assert layer.values.grad is not None  # the same mask
    layer.load_state_dict(other.state_dict())
    assert layer.values.grad is None


def test_a_given_pattern_says_the_blocks_and_how_wide_weights_are_drawn() -> None:
    pattern = BlockPattern.random((64, 64), 4, 0.25, generator=torch.Generator())
    with pytest.raises(InputError, match=r"blocks of \(4, 4\), expected \(8, 8\)"):
        BlockSparseLinear(64, 64, SparsityConfig(0.25, 8), pattern=pattern)
    layer = BlockSparseLinear(64, 64, SparsityConfig(1.0, 4), pattern=pattern)
    assert 0.24 < float(layer.values.detach().abs().max()) <= 0.25  # 1 / sqrt(64 / 4)
