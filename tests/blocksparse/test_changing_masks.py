"""Masks that change: what follows them, what is refused, and what is kept for all of them."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import Tensor, nn

from diffrender.blocksparse import (
    BlockPattern,
    DynamicBlockSparseLinear,
    DynamicPattern,
    GradientWatch,
    SparsityConfig,
    drop_and_grow,
    measure,
    prune_,
    static_plan,
)
from diffrender.errors import InputError


def _layer(density: float = 0.5, seed: int = 0) -> DynamicBlockSparseLinear:
    torch.manual_seed(seed)
    return DynamicBlockSparseLinear(16, 16, SparsityConfig(density, 4, "dynamic"))


def _mask(seed: int, density: float = 0.5) -> BlockPattern:
    generator = torch.Generator().manual_seed(seed)
    return BlockPattern.random((16, 16), 4, density, generator=generator)


def test_an_old_mask_cannot_come_back_through_its_pattern() -> None:
    layer = _layer()
    old, mask, turned = (lambda p: (p, p.mask(), p.transposed()))(layer.pattern.current)
    layer.set_mask(_mask(5, 0.2))
    present, values = layer.pattern.current.mask(), layer.values.detach().clone()
    for use in (
        lambda: layer.set_mask(old),
        old.mask,
        lambda: old.to_dense(torch.zeros(old.values_shape)),
        lambda: old.to_values(torch.zeros(16, 16)),
        old.transposed,
        turned.mask,
        lambda: pickle.dumps(old),
    ):
        with pytest.raises(InputError, match="DynamicPattern has changed since; take `current`"):
            use()
    assert torch.equal(layer.pattern.current.mask(), present)
    assert torch.equal(layer.values, values)
    layer.set_mask(mask)
    layer.set_mask(layer.pattern.current)  # the present one is no old one
    assert torch.equal(layer.pattern.current.mask(), mask)


# The compiler itself looks at tensors that come out of a graph and go into the next.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("fresh", [False, True])
def test_the_watch_sees_compiled_models(fresh: bool) -> None:
    torch.compiler.reset()
    net = nn.Sequential(_layer(), nn.ReLU())
    compiled = torch.compile(net, backend="aot_eager")
    x = torch.rand(3, 16)
    if not fresh:
        compiled(x).sum().backward()
    for _ in range(3):
        with GradientWatch(net) as wanted:
            net(x).square().sum().backward()
        with GradientWatch(compiled) as watch:
            compiled(x).square().sum().backward()
        torch.testing.assert_close(watch.gradients[net[0]], wanted.gradients[net[0]])
    before = watch.gradients[net[0]]
    compiled(x).sum().backward()  # closed: nothing is gathered
    assert watch.gradients[net[0]] is before and net[0].watches == ()


def test_the_watch_sees_inputs_given_by_name_and_several_watches_at_once() -> None:
    layer, x = _layer(), torch.rand(3, 16)
    with GradientWatch(layer) as outer:
        layer(x=x).sum().backward()
        with GradientWatch(layer) as inner:
            layer(x).sum().backward()
        layer(x).sum().backward()
    expected = torch.ones(16, 3) @ x
    torch.testing.assert_close(inner.gradients[layer], expected)
    torch.testing.assert_close(outer.gradients[layer], 3 * expected)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (torch.float64, 1e-200),
        (torch.float64, 1e-30),
        (torch.float64, 1e30),
        (torch.float64, 1e200),
        (torch.float32, 1e-25),
        (torch.float32, 1e30),
        (torch.bfloat16, 1e30),
    ],
)
def test_blocks_are_chosen_whatever_the_size_of_the_numbers(
    dtype: torch.dtype, size: float
) -> None:
    layer = _layer().to(dtype)
    steps = torch.tensor([3.0, 1, 7, 5, 2, 8, 6, 4], dtype=torch.float64)[:, None, None] * size
    with torch.no_grad():
        layer.values.copy_(steps.expand(8, 4, 4))
    stored = layer.pattern.current
    strongest = stored.to_dense(layer.values.detach()).double().reshape(4, 4, 4, 4)[:, 0, :, 0]
    gradient = torch.zeros(16, 16, dtype=dtype)
    free = (~stored.mask()).nonzero()
    for place, (row, column) in enumerate(free.tolist()):
        rows, columns = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
        gradient[rows, columns] = steps[place].item()
    assert drop_and_grow(layer, gradient, 0.25) == 2
    grown = layer.pattern.current.mask() & ~(strongest > 0)
    assert grown.nonzero().tolist() == free[[2, 5]].tolist()  # of steps 7 and 8
    prune_(layer, 0.25)
    assert torch.equal(layer.pattern.current.mask(), strongest > 4.5 * size)
    dense = torch.zeros(16, 16, dtype=dtype)
    dense[:4, :4], dense[4:8, :4], dense[8:12, :4] = size, 2 * size, 3 * size
    kept = BlockPattern.from_dense(dense, 4, 2 / 16).mask()
    assert kept.nonzero().tolist() == [[1, 0], [2, 0]]


def test_a_small_block_beside_a_huge_one_is_not_lost() -> None:
    weight = torch.zeros(16, 16)
    weight[:4, :4], weight[4:8, :4], weight[8:12, :4] = 1.0, 1e-27, 1e-26
    kept = BlockPattern.from_dense(weight, 4, 2 / 16).mask()
    assert kept.nonzero().tolist() == [[0, 0], [2, 0]]


def test_factored_state_moves_with_its_blocks() -> None:
    layer = _layer()
    optimizer = torch.optim.Adafactor(layer.parameters(), lr=1e-2)
    layer(torch.rand(9, 16)).square().sum().backward()
    optimizer.step()
    state = optimizer.state[layer.values]
    before = {name: state[name].clone() for name in ("row_var", "col_var")}
    mask = layer.pattern.current.mask()
    mask[tuple(mask.nonzero()[0].tolist())] = False  # the first block goes
    layer.set_mask(mask, optimizer)
    for name, old in before.items():
        assert torch.equal(state[name][:7], old[1:])
        assert float(state[name][7].abs().max()) == 0


@pytest.mark.parametrize("first", [True, False])
def test_state_that_is_not_kept_by_block_is_refused(first: bool) -> None:
    layer = _layer()
    leaves = [layer.values, layer.bias] if first else [layer.bias, layer.values]
    optimizer = torch.optim.LBFGS(leaves)
    prune_(layer, 0.4, optimizer)  # it remembers nothing yet

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = layer(torch.ones(2, 16)).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    mask, values = layer.pattern.current.mask(), layer.values.detach().clone()
    with pytest.raises(InputError, match="LBFGS remembers what does not lie block by block"):
        layer.set_mask(_mask(1), optimizer)
    assert torch.equal(layer.pattern.current.mask(), mask)
    assert torch.equal(layer.values, values)


def test_a_plan_of_a_dynamic_pattern_outlives_its_masks() -> None:
    dynamic = DynamicPattern.for_density((16, 16), (4, 4), 0.5)
    dynamic.update(_mask(0, 0.5))
    plan = static_plan(dynamic, columns=8)
    dynamic.update(_mask(1, 0.25))
    gc.collect()
    assert plan.pattern is dynamic.current
    assert "nnz=4" in plan.explain()
    assert len(plan.split.order) == 4
    found = measure(dynamic, columns=8)
    dynamic.update(_mask(2, 0.5))
    assert found.pattern.nnz == 8
    del dynamic
    gc.collect()
    with pytest.raises(InputError, match="the plan's pattern is gone"):
        plan.explain()


def test_copies_keep_what_was_measured() -> None:
    layer = _layer()
    found = measure(layer.pattern, columns=8)
    twin = copy.deepcopy(layer)
    assert static_plan(twin.pattern, columns=8).measured == found.measured
    measure(twin.pattern, columns=9)
    assert not static_plan(layer.pattern, columns=9).measured  # independent from then on


def test_nothing_is_planned_or_measured_for_an_old_mask() -> None:
    dynamic = DynamicPattern.for_density((1024, 1024), (16, 16), 1.0)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[0, 0] = True
    dynamic.update(mask)
    old = dynamic.current
    plan = static_plan(old, columns=64)
    dynamic.update(torch.ones(64, 64, dtype=torch.bool))
    for use in (
        lambda: measure(old, "grad_weight", columns=64),
        lambda: static_plan(old, columns=64),
        plan.explain,
    ):
        with pytest.raises(InputError, match="DynamicPattern has changed since"):
            use()


def test_a_pattern_turned_twice_is_the_pattern_itself() -> None:
    dynamic = DynamicPattern.for_density((16, 16), (4, 4), 0.5)
    dynamic.update(_mask(0))
    twice = dynamic.current.transposed().transposed()
    assert twice is dynamic.current
    dynamic.update(_mask(1))
    with pytest.raises(InputError, match="DynamicPattern has changed since"):
        twice.mask()
    turned = _mask(2).transposed()  # nobody keeps what it was turned from
    gc.disable()
    try:
        assert torch.equal(turned.transposed().mask(), _mask(2).mask())
        seen = weakref.ref(turned)
        del turned
        assert seen() is None
    finally:
        gc.enable()


def test_the_state_of_a_single_number_does_not_stop_a_mask() -> None:
    layer = DynamicBlockSparseLinear(1, 1, SparsityConfig(1.0, 1, "dynamic"))
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(2, 1)).sum().backward()
    optimizer.step()
    layer.set_mask(torch.zeros(1, 1, dtype=torch.bool), optimizer)
    state = optimizer.state[layer.values]
    assert float(state["step"]) == 1
    assert float(state["exp_avg"]) == 0


def test_a_mask_changed_before_the_backward_pass_is_noticed_through_hooks() -> None:
    """Hooks put copies in the place of saved tensors, which do not know of the change."""
    layer = _layer()
    x = torch.randn(3, 16, requires_grad=True)
    with torch.autograd.graph.save_on_cpu():
        y = layer(x)
    layer.set_mask(_mask(7))
    with pytest.raises(RuntimeError, match="mask has been changed since the forward pass"):
        y.sum().backward()
    with torch.autograd.graph.save_on_cpu():
        y = layer(x)
    y.sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
