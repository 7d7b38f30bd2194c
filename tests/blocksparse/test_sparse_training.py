"""Changing masks while training: drop and grow, pruning, schedules, the optimizer's state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffrender.blocksparse import (
    BlockPattern,
    DynamicBlockSparseLinear,
    GradientWatch,
    SparsityConfig,
    cubic_density,
    drop_and_grow,
    prune_,
    rigl_fraction,
)
from diffrender.errors import InputError


def _layer(density: float = 0.5) -> DynamicBlockSparseLinear:
    """Blocks (0, 0), (0, 1), (1, 0), (1, 1) filled with 1, 2, 3, 4 where they are stored."""
    mask = torch.tensor([[True, True, False, False], [True, True, False, False]])
    pattern = BlockPattern.from_mask(mask, 4)
    layer = DynamicBlockSparseLinear(16, 8, SparsityConfig(density, 4, "dynamic"), pattern=pattern)
    with torch.no_grad():
        layer.values[:4] = torch.arange(1.0, 5.0)[:, None, None]
    return layer


def test_the_weakest_leave_and_the_steepest_come() -> None:
    layer = _layer()
    optimizer = torch.optim.Adam(layer.parameters(), 0.01)
    layer(torch.ones(2, 16)).sum().backward()
    optimizer.step()
    state = optimizer.state[layer.values]
    with torch.no_grad():
        state["exp_avg"].copy_(torch.arange(10.0, 14.0)[:, None, None].expand(4, 4, 4))
        layer.values.copy_(torch.arange(1.0, 5.0)[:, None, None].expand(4, 4, 4))
    gradient = torch.zeros(8, 16)
    gradient[4:, 12:] = 5.0  # block (1, 3)
    gradient[:4, 8:12] = 1.0  # block (0, 2)
    gradient[4:, :4] = 100.0  # stored already
    assert drop_and_grow(layer, gradient, 0.25, optimizer) == 1
    # Block (0, 0), of value 1, went; (1, 3) came at the end of its row, at zero.
    assert layer.pattern.current.mask().tolist() == [[0, 1, 0, 0], [1, 1, 0, 1]]
    assert layer.values[:, 0, 0].tolist() == [2.0, 3.0, 4.0, 0.0]
    assert state["exp_avg"][:, 0, 0].tolist() == [11.0, 12.0, 13.0, 0.0]
    assert drop_and_grow(layer, gradient, 0.0, optimizer) == 0


def test_a_dropped_block_may_grow_again() -> None:
    layer = _layer()
    gradient = torch.zeros(8, 16)
    gradient[:4, :4] = 1.0
    assert drop_and_grow(layer, gradient, 0.25) == 0
    assert layer.values[:, 0, 0].tolist() == [1.0, 2.0, 3.0, 4.0]  # then it never left


def test_the_watch_gathers_the_dense_gradient() -> None:
    layer = _layer()
    x = torch.rand(2, 3, 16, generator=torch.Generator().manual_seed(0))
    weight = layer.weight.detach().requires_grad_()
    nn.functional.linear(x, weight, layer.bias).square().sum().backward()
    with GradientWatch(layer) as watch:
        layer(x[0]).square().sum().backward()
        layer(x[1]).square().sum().backward()
    assert torch.allclose(watch.gradients[layer], weight.grad, atol=1e-4)
    layer(x).sum().backward()  # closed: nothing is gathered
    assert torch.allclose(watch.gradients[layer], weight.grad, atol=1e-4)
    with GradientWatch(layer) as watch, torch.no_grad():
        layer(x)
    assert watch.gradients == {}


def test_pruning_keeps_the_strongest() -> None:
    layer = _layer()
    prune_(layer, 0.25)
    assert layer.pattern.current.mask().tolist() == [[0, 0, 0, 0], [1, 1, 0, 0]]
    assert layer.values[:, 0, 0].tolist() == [3.0, 4.0, 0.0, 0.0]
    prune_(layer, 0.5)  # pruning never brings blocks back
    assert layer.density == 0.25
    layer(torch.ones(2, 16)).sum().backward()
    assert float(layer.values.grad[2:].abs().max()) == 0


def test_training_with_changing_masks_beats_a_fixed_bad_mask() -> None:
    """The target needs inputs that the first mask leaves out."""
    x = torch.rand(64, 16, generator=torch.Generator().manual_seed(1)) - 0.5
    target = x[:, 8:] @ torch.rand(8, 8, generator=torch.Generator().manual_seed(2))

    def train(change: bool) -> float:
        torch.manual_seed(0)
        layer = _layer()
        layer.reset_parameters()
        optimizer = torch.optim.Adam(layer.parameters(), 0.05)
        for step in range(150):
            with GradientWatch(layer) as watch:
                loss = (layer(x) - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
            if change and step % 15 == 14 and step < 100:
                share = rigl_fraction(step, 100, 0.6)
                drop_and_grow(layer, watch.gradients[layer], share, optimizer)
        return float(loss.detach())

    assert train(True) < 0.1 * train(False)


def test_schedules() -> None:
    assert [rigl_fraction(step, 10, 0.4) for step in (0, 5, 10, 20)] == pytest.approx(
        [0.4, 0.2, 0, 0]
    )
    assert [cubic_density(step, 10, 0.2) for step in (-1, 0, 5, 10, 11)] == pytest.approx(
        [1.0, 1.0, 0.2 + 0.8 / 8, 0.2, 0.2]
    )
    with pytest.raises(InputError, match="last is 0"):
        rigl_fraction(0, 0)
    with pytest.raises(InputError, match="last is 0"):
        cubic_density(0, 0, 0.5)


def test_broken_calls_are_refused() -> None:
    layer = _layer()
    with pytest.raises(InputError, match=r"gradient has shape \(16, 8\), expected \(8, 16\)"):
        drop_and_grow(layer, torch.zeros(16, 8), 0.5)
    with pytest.raises(InputError, match=r"fraction is 2, expected a number in \[0, 1\]"):
        drop_and_grow(layer, torch.zeros(8, 16), 2)
    with pytest.raises(InputError, match="gradient holds NaN"):
        drop_and_grow(layer, torch.full((8, 16), torch.nan), 0.5)
    with torch.no_grad():
        layer.values.fill_(torch.nan)
    with pytest.raises(InputError, match="values hold NaN"):
        prune_(layer, 0.1)
    with pytest.raises(InputError, match="keeps 8 blocks, 4 more than the 4"):
        layer.set_mask(torch.ones(2, 4, dtype=torch.bool))
