"""Layers made from what is on disk, on "meta" or in numpy; states that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diffrender.blocksparse import (
    BlockPattern,
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
