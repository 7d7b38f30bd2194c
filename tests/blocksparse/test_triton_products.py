"""The Triton products against the dense product of `to_dense`."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from triton_cases import DEVICE, MARKS, draw_pattern

from diffrender._triton import interpreting
from diffrender.blocksparse import (
    BlockPattern,
    DynamicBlockSparseLinear,
    SparsityConfig,
    spmm,
)

pytestmark = MARKS

# Of the largest value. The interpreter cuts bfloat16 off instead of rounding it.
TOLERANCE = {
    torch.float64: 1e-14,
    torch.float32: 2e-6,
    torch.float16: 6e-4,
    torch.bfloat16: 8e-3 if interpreting() else 4e-3,
}
BLOCKS = [(1, 1), (4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (1, 16), (16, 1), (4, 32)]
EACH_BLOCK = pytest.mark.parametrize("block_size", BLOCKS)
EACH_LAYOUT = pytest.mark.parametrize("features_last", [False, True])


def multiply(
    pattern: BlockPattern, values: Tensor, x: Tensor, transpose: bool, features_last: bool
) -> Tensor:
    """By the back-end, from and to columns (..., k, n) in either layout."""
    from diffrender.blocksparse import triton_products

    given = x.mT if features_last else x
    y = triton_products.multiply(
        pattern, values, given, transpose=transpose, features_last=features_last
    )
    return y.mT if features_last else y


def block_outer(pattern: BlockPattern, dy: Tensor, x: Tensor, features_last: bool) -> Tensor:
    from diffrender.blocksparse import triton_products

    pair = (dy.mT, x.mT) if features_last else (dy, x)
    return triton_products.block_outer(pattern, *pair, features_last=features_last)


def draw(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).to(str(DEVICE))


def close(got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    off = float((got.double() - wanted).abs().max()) if wanted.numel() else 0.0
    assert off <= TOLERANCE[got.dtype] * scale


@EACH_LAYOUT
@pytest.mark.parametrize("transpose", [False, True])
@EACH_BLOCK
def test_product(block_size: tuple[int, int], transpose: bool, features_last: bool) -> None:
    for seed, (density, dtype) in enumerate(
        [(0.2, torch.float32), (0.7, torch.bfloat16), (0.4, torch.float16), (0.4, torch.float64)]
    ):
        pattern = draw_pattern((5, 4), block_size, density, seed)
        values = draw(pattern.values_shape, dtype, seed)
        x = draw((2, pattern.shape[0 if transpose else 1], 3), dtype, seed + 9)
        dense = pattern.to_dense(values.double())
        got = multiply(pattern, values, x, transpose, features_last)
        assert got.dtype == dtype
        close(got, (dense.mT if transpose else dense) @ x.double())


@EACH_LAYOUT
@EACH_BLOCK
def test_outer_product(block_size: tuple[int, int], features_last: bool) -> None:
    for seed, (density, dtype) in enumerate(
        [(0.2, torch.float32), (0.7, torch.bfloat16), (0.4, torch.float16), (0.4, torch.float64)]
    ):
        pattern = draw_pattern((5, 4), block_size, density, seed)
        dy = draw((2, pattern.shape[0], 3), dtype, seed)
        x = draw((2, pattern.shape[1], 3), dtype, seed + 9)
        got = block_outer(pattern, dy, x, features_last)
        assert got.dtype == dtype
        close(got, pattern.to_values((dy.double() @ x.double().mT).sum(0)))


@EACH_LAYOUT
def test_more_columns_than_a_tile_and_longer_rows_than_a_step(features_last: bool) -> None:
    pattern = draw_pattern((2, 40), (4, 4), 0.9, 0)
    values, x = draw(pattern.values_shape, torch.float32, 1), draw((160, 150), torch.float32, 2)
    dense = pattern.to_dense(values.double())
    close(multiply(pattern, values, x, False, features_last), dense @ x.double())
    dy = draw((8, 150), torch.float32, 3)
    close(multiply(pattern, values, dy, True, features_last), dense.mT @ dy.double())
    close(
        block_outer(pattern, dy, x, features_last), pattern.to_values(dy.double() @ x.double().mT)
    )


@settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    seed=st.integers(0, 2**31),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    block_size=st.tuples(st.sampled_from([1, 4, 8, 16]), st.sampled_from([1, 4, 8, 16])),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    columns=st.integers(0, 18),
    transpose=st.booleans(),
)
def test_any_pattern(
    seed: int,
    grid: tuple[int, int],
    block_size: tuple[int, int],
    density: float,
    columns: int,
    transpose: bool,
) -> None:
    """Empty rows, empty columns, no block at all, no column of x."""
    pattern = draw_pattern(grid, block_size, density, seed)
    values = draw(pattern.values_shape, torch.float64, seed)
    dense = pattern.to_dense(values)
    x = draw((pattern.shape[0 if transpose else 1], columns), torch.float64, seed + 1)
    close(multiply(pattern, values, x, transpose, False), (dense.mT if transpose else dense) @ x)
    dy, x = (
        draw((pattern.shape[0], columns), torch.float64, 1),
        draw((pattern.shape[1], columns), torch.float64, 2),
    )
    close(block_outer(pattern, dy, x, False), pattern.to_values(dy @ x.mT))


def test_empty_rows_are_zero() -> None:
    mask = torch.zeros(3, 2, dtype=torch.bool)
    mask[1, 0] = True
    pattern = BlockPattern.from_mask(mask, 8).to(str(DEVICE))
    values, x = draw((1, 8, 8), torch.float32, 0), draw((16, 4), torch.float32, 1)
    y = multiply(pattern, values, x, False, False)
    assert bool((y[:8] == 0).all())
    assert bool((y[16:] == 0).all())
    assert bool((y[8:16] != 0).all())
    # What a block does not read may be anything.
    x[8:] = torch.nan
    assert torch.equal(multiply(pattern, values, x, False, False), y)


def test_strides_and_a_single_vector() -> None:
    pattern = draw_pattern((4, 3), (8, 4), 0.5, 0)
    values = draw((pattern.nnz, 4, 8), torch.float32, 1).mT
    x = draw((12, 2, 3), torch.float32, 2).permute(1, 0, 2)
    dense = pattern.to_dense(values.double())
    close(multiply(pattern, values, x, False, False), dense @ x.double())
    close(multiply(pattern, values, x, False, True), dense @ x.double())
    from diffrender.blocksparse import triton_products

    one = triton_products.multiply(pattern, values, x[0, :, 0], transpose=False, features_last=True)
    close(one, dense @ x[0, :, 0].double())


def test_the_same_bits_twice() -> None:
    for block_size in ((1, 1), (4, 4), (16, 16)):
        pattern = draw_pattern((6, 8), block_size, 0.5, 3)
        values = draw(pattern.values_shape, torch.float32, 0)
        x, dy = (draw((side, 20), torch.float32, 1) for side in pattern.shape[::-1])
        first = multiply(pattern, values, x, False, False)
        fresh = BlockPattern.from_mask(pattern.mask(), block_size)
        assert torch.equal(multiply(fresh, values, x, False, False), first)
        assert torch.equal(block_outer(fresh, dy, x, False), block_outer(pattern, dy, x, False))


@pytest.mark.parametrize("block_size", [(1, 1), (4, 4), (16, 16)])
def test_places_beyond_the_present_count_are_left_alone(block_size: tuple[int, int]) -> None:
    """A pattern of fixed capacity: nothing reads or writes what the offsets do not reach."""
    full = draw_pattern((4, 6), block_size, 0.5, 5)
    spare = torch.full((3,), 1, dtype=torch.int32, device=full.device)
    names = ("column_indices", "row_indices", "transpose_row_indices", "transpose_order")
    longer = {name: torch.cat([getattr(full, name), spare]) for name in names}
    padded = dataclasses.replace(full, **longer)
    values = draw(full.values_shape, torch.float32, 0)
    beyond = torch.cat([values, torch.full_like(values[:3], torch.nan)])
    for transpose in (False, True):
        x = draw((full.shape[0 if transpose else 1], 5), torch.float32, 1)
        close(
            multiply(padded, beyond, x, transpose, False),
            multiply(full, values, x, transpose, False).double(),
        )
    dy, x = (draw((side, 5), torch.float32, 1) for side in full.shape)
    found = block_outer(padded, dy, x, False)
    close(found[: full.nnz], block_outer(full, dy, x, False).double())
    assert bool((found[full.nnz :] == 0).all())


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_launches_do_not_depend_on_the_pattern(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffrender.blocksparse import triton_products

    programs: list[int] = []
    monkeypatch.setattr(
        triton_products, "launch", lambda _, count, *rest, **named: programs.append(count)
    )
    offsets = torch.tensor([0, count, count, count, 20])
    columns = torch.cat([torch.arange(count), torch.arange(20 - count)])
    pattern = BlockPattern.from_offsets((64, 320), 16, offsets, columns)
    values, x = torch.ones(20, 16, 16), torch.ones(320, 40)
    multiply(pattern.to(str(DEVICE)), values.to(str(DEVICE)), x.to(str(DEVICE)), False, False)
    block_outer(pattern.to(str(DEVICE)), x[:64].to(str(DEVICE)), x.to(str(DEVICE)), False)
    assert len(set(programs)) <= 2
    assert programs == [4 // members_of(pattern), 4 // members_of(pattern) * 10]


def members_of(pattern: BlockPattern) -> int:
    from diffrender.blocksparse.triton_lists import count_members

    return count_members(pattern, False, 4)


@pytest.mark.parametrize("block_size", [(1, 4), (4, 4)])
def test_gradients(block_size: tuple[int, int]) -> None:
    pattern = draw_pattern((2, 2), block_size, 0.6, 0)
    values = draw(pattern.values_shape, torch.float64, 1).requires_grad_()
    x = draw((pattern.shape[1], 2), torch.float64, 2).requires_grad_()

    def product(values: Tensor, x: Tensor) -> Tensor:
        return spmm(pattern, values, x, backend="triton")

    assert torch.autograd.gradcheck(product, (values, x), nondet_tol=0.0)


def test_a_layer_whose_mask_changes() -> None:
    """Launches keep their size, gradients their places."""
    config = SparsityConfig(0.5, 8, "dynamic", "triton")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = DynamicBlockSparseLinear(64, 32, config, device=str(DEVICE))
    generator = torch.Generator().manual_seed(0)
    x = draw((3, 5, 64), torch.float32, 0)
    for density in (0.5, 0.1, 0.3):
        layer.set_mask(BlockPattern.random((32, 64), 8, density, generator=generator))
        dense = layer.weight.detach().double().requires_grad_()
        wanted = x.double() @ dense.mT + layer.bias.double()
        found = layer(x)
        close(found.detach(), wanted.detach())
        layer.zero_grad()
        found.square().sum().backward()
        wanted.square().sum().backward()
        current = layer.pattern.current
        grads = current.to_values(dense.grad)
        torch.testing.assert_close(
            layer.values.grad[: current.nnz].double(), grads, rtol=1e-5, atol=1e-4
        )
        assert not bool(layer.values.grad[current.nnz :].any())
