"""Masks that change: the same products, the same buffers, nothing left behind."""

from __future__ import annotations

import copy
import gc
import pickle
import resource

import pytest
import torch
from blocksparse_cases import make_case
from torch import Tensor

from diffrender.blocksparse import BlockPattern, DynamicPattern, sddmm, spmm
from diffrender.errors import InputError

SHAPE, SIZE = (24, 40), (4, 8)


def _pattern(density: float, seed: int) -> BlockPattern:
    generator = torch.Generator().manual_seed(seed)
    return BlockPattern.random(SHAPE, SIZE, density, generator=generator)


def _values(dynamic: DynamicPattern) -> Tensor:
    return torch.arange(float(torch.tensor(dynamic.values_shape).prod())).view(dynamic.values_shape)


def test_every_mask_multiplies_as_its_own_pattern() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.5)
    assert dynamic.grid.max_blocks == 15 and dynamic.current.nnz == 0
    generator = torch.Generator().manual_seed(0)
    for density in (0.5, 0.1, 0.3, 0.0, 0.5):
        fixed = _pattern(density, int(density * 10))
        dynamic.update(fixed.mask())
        for mine, theirs in zip(dynamic.current.index_tensors, fixed.index_tensors, strict=True):
            assert torch.equal(mine, theirs)
        values = torch.rand(dynamic.values_shape, generator=generator).requires_grad_()
        x = torch.rand(40, 3, generator=generator).requires_grad_()
        y = spmm(dynamic, values, x)
        assert torch.allclose(y, fixed.to_dense(values[: fixed.nnz]) @ x)
        d_values, _ = torch.autograd.grad(y.sum(), (values, x))
        assert d_values.shape == values.shape
        assert torch.equal(d_values[fixed.nnz :], torch.zeros_like(d_values[fixed.nnz :]))
        expected = sddmm(fixed, torch.ones_like(y).detach(), x.detach())
        assert torch.allclose(d_values[: fixed.nnz], expected)


def test_gradients_of_a_partly_filled_pattern() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.3)
    dynamic.update(_pattern(0.1, 2))
    case = make_case(SIZE, (6, 5), 0.3, 2)
    values = torch.rand(dynamic.values_shape, dtype=torch.float64).requires_grad_()
    x, dy = case.x.requires_grad_(), case.dy.requires_grad_()
    assert torch.autograd.gradcheck(lambda v, x: spmm(dynamic, v, x), (values, x))
    assert torch.autograd.gradgradcheck(lambda v, x: spmm(dynamic, v, x), (values, x))
    assert torch.autograd.gradcheck(lambda a, b: sddmm(dynamic, a, b), (dy, x))


def test_updates_fill_the_same_buffers() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.5)
    places = [index.data_ptr() for index in dynamic.index_tensors]
    for seed in range(5):
        dynamic.update(_pattern(0.4, seed))
        assert [index.data_ptr() for index in dynamic.index_tensors] == places
        assert [index.data_ptr() for index in dynamic.current.index_tensors] == places


def test_moves_say_where_each_block_was() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.5)
    first = torch.zeros(6, 5, dtype=torch.bool)
    first[0, 1] = first[2, 3] = first[5, 0] = True
    assert dynamic.update(first).tolist() == [-1] * 15
    second = first.clone()
    second[2, 3], second[1, 1], second[5, 4] = False, True, True
    # Blocks (0, 1), (1, 1), (5, 0), (5, 4) of which the first and third were stored.
    assert dynamic.update(second).tolist() == [0, -1, 2] + [-1] * 12


def test_a_mask_that_does_not_fit_leaves_the_old_one() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.1)
    kept = _pattern(0.1, 1)
    dynamic.update(kept)
    with pytest.raises(InputError, match=r"keeps 9 blocks, 6 more than the 3"):
        dynamic.update(_pattern(0.3, 1))
    with pytest.raises(InputError, match=r"mask has shape \(5, 6\)"):
        dynamic.update(kept.mask().T)
    assert torch.equal(dynamic.current.mask(), kept.mask())


def test_a_backward_pass_after_an_update_is_refused() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.5)
    dynamic.update(_pattern(0.5, 1))
    values = _values(dynamic).requires_grad_()
    y = spmm(dynamic, values, torch.ones(40, 2))
    dynamic.update(_pattern(0.5, 2))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_compiled_code_follows_the_mask() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.5)
    dynamic.update(_pattern(0.5, 1))
    values, x = torch.rand(dynamic.values_shape), torch.rand(40, 3)
    compiles = 0

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        nonlocal compiles
        compiles += 1
        return graph

    compiled = torch.compile(lambda v, x: spmm(dynamic, v, x), fullgraph=True, backend=backend)
    for seed, density in ((1, 0.5), (2, 0.5), (3, 0.2)):
        dynamic.update(_pattern(density, seed))
        assert torch.equal(compiled(values, x), spmm(dynamic, values, x))
    assert compiles == 1


def test_copies_have_buffers_of_their_own() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.5)
    dynamic.update(_pattern(0.4, 1))
    for twin in (copy.deepcopy(dynamic), pickle.loads(pickle.dumps(dynamic)), dynamic.to("cpu")):
        twin.update(_pattern(0.3, 2))
        assert torch.equal(dynamic.current.mask(), _pattern(0.4, 1).mask())
        assert torch.equal(twin.current.mask(), _pattern(0.3, 2).mask())


def test_the_encoding_is_of_the_present_mask() -> None:
    dynamic = DynamicPattern.for_density(SHAPE, SIZE, 0.5)
    dynamic.update(_pattern(0.4, 1))
    buckets = dynamic.encode()
    assert len(buckets.rows) == 12 and buckets.spilled == 0


def _changes(count: int) -> int:
    """Bytes that `count` mask changes with a product each leave behind, after a warm-up."""
    dynamic = DynamicPattern.for_density((64, 64), (4, 4), 0.5)
    masks = [make_case((4, 4), (16, 16), 0.5, seed=seed).pattern.mask() for seed in range(4)]
    values, x = torch.rand(dynamic.values_shape), torch.rand(64, 2)

    def change(times: int) -> None:
        for index in range(times):
            dynamic.update(masks[index % 4])
            spmm(dynamic, values, x)

    change(200)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(gc.get_objects())
    change(count)
    gc.collect()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(gc.get_objects())
    assert after[1] - before[1] < 50
    return (after[0] - before[0]) * 1024


def test_mask_changes_leave_nothing_behind() -> None:
    # 500 leaked masks would hold 500 × (128 × 4 × 4) bytes of indices and more.
    assert _changes(500) < 2**20


@pytest.mark.slow
def test_ten_thousand_mask_changes_leave_nothing_behind() -> None:
    assert _changes(10_000) < 2**20
