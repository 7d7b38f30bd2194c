"""Layers that the network may run by parts or fused: hooks and pruning are not passed by."""

from __future__ import annotations

import pytest
import torch
from molecule_like import batch_of
from torch import nn
from torch.nn.utils import parametrizations, prune

from diffrender.graph import GraphNetwork, GraphSettings

TINY = GraphSettings(layers=1, node_width=32, edge_width=16, global_width=16, heads=4)


def _net() -> GraphNetwork:
    torch.manual_seed(0)
    return GraphNetwork(TINY).eval()


@pytest.mark.parametrize("mlp", ["node_mlp", "edge_mlp"])
@pytest.mark.parametrize("part", ["first", "norm", "second"])
def test_hooks_are_called(mlp: str, part: str) -> None:
    net, batch = _net(), batch_of([4, 3])
    layer = getattr(getattr(net.trunk.blocks[0].passing, mlp), part)
    plain, called = net(batch).prediction, []
    handle = layer.register_forward_hook(lambda *_: called.append(part))
    hooked = net(batch).prediction
    assert called == [part]
    torch.testing.assert_close(hooked, plain)
    handle.remove()
    assert torch.equal(net(batch).prediction, plain)


def test_pruned_layers_read_what_is_trained() -> None:
    net, batch = _net(), batch_of([4, 3])
    first = net.trunk.blocks[0].passing.node_mlp.first
    prune.l1_unstructured(first, "weight", 0.5)
    before = net(batch).prediction
    with torch.no_grad():
        first.weight_orig.mul_(-3.0)
    after = net(batch).prediction
    assert not torch.allclose(before, after)
    prune.remove(first, "weight")
    torch.testing.assert_close(net(batch).prediction, after)


def test_weights_of_a_parametrization_are_worked_out() -> None:
    net, batch = _net(), batch_of([4, 3])
    before = net(batch).prediction
    parametrizations.weight_norm(net.trunk.blocks[0].passing.node_mlp.first)
    torch.testing.assert_close(net(batch).prediction, before)


def test_a_norm_without_bias_is_one() -> None:
    net, batch = _net(), batch_of([4, 3])
    mlp = net.trunk.blocks[0].passing.node_mlp
    before = net(batch).prediction
    mlp.norm = nn.LayerNorm(mlp.norm.normalized_shape, bias=False)
    torch.testing.assert_close(net(batch).prediction, before)
