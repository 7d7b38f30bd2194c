"""The values' gradient in slices of columns, whose sums are added up at the end."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffrender.blocksparse.native_plans import native_plan
from diffrender.blocksparse.native_products import block_outer
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import reason_missing

pytestmark = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)


def _drawn(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def _pattern(block: int) -> BlockPattern:
    generator = torch.Generator().manual_seed(0)
    return BlockPattern.random((128, 192), block, 1 / 8, generator=generator)


def _slices(pattern: BlockPattern, batch: int, n: int, *, features_last: bool) -> int:
    plan = native_plan(pattern, "outer", torch.float32, batch, n, features_last=features_last)
    return int(plan.product.slices)


def _wanted(pattern: BlockPattern, dy: Tensor, x: Tensor) -> Tensor:
    """At the stored blocks, of (..., features, n)."""
    dense = torch.einsum("...mn,...kn->mk", dy.double(), x.double())
    rows, columns = pattern.block_size
    tiles = dense.reshape(dense.shape[0] // rows, rows, dense.shape[1] // columns, columns)
    tiles = tiles.transpose(1, 2)
    return tiles[pattern.row_indices.long(), pattern.column_indices.long()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block", [1, 4, 8, 16, 32])
def test_slices_of_columns_make_the_dense_gradient(block: int, dtype: torch.dtype) -> None:
    pattern = _pattern(block)
    for n in (512, 1001):
        assert _slices(pattern, 1, n, features_last=True) == 4
        dy, x = _drawn(128, n, seed=1, dtype=dtype), _drawn(192, n, seed=2, dtype=dtype)
        found = block_outer(pattern, dy.T.contiguous(), x.T.contiguous(), features_last=True)
        scale = _wanted(pattern, dy.abs(), x.abs())
        wanted = _wanted(pattern, dy, x)
        sums = 1e-14 if dtype == torch.float64 else 4e-6
        allowed = torch.finfo(dtype).eps / 2 * wanted.abs() + sums * scale
        assert bool(((found.double() - wanted).abs() <= allowed).all())


@pytest.mark.parametrize("block", [1, 16])
def test_a_batch_is_cut_into_slices_too(block: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pattern = BlockPattern.random((256, 512), block, 1 / 4, generator=generator)
    assert _slices(pattern, 3, 1100, features_last=False) == 4
    dy, x = _drawn(3, 256, 1100, seed=1), _drawn(3, 512, 1100, seed=2)
    found = block_outer(pattern, dy, x, features_last=False)
    torch.testing.assert_close(found.double(), _wanted(pattern, dy, x), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("block", [1, 4, 16, 32])
def test_slices_have_the_same_bits_with_any_number_of_threads(block: int) -> None:
    pattern = _pattern(block)
    dy, x = _drawn(777, 128, seed=1), _drawn(777, 192, seed=2)
    assert _slices(pattern, 1, 777, features_last=True) == 4
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 4, 6):  # from five on they share what they pack
            torch.set_num_threads(threads)
            found.append(block_outer(pattern, dy, x, features_last=True))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_many_values_are_summed_in_one_slice() -> None:
    """Adding slices up would cost as much as packing columns."""
    generator = torch.Generator().manual_seed(0)
    pattern = BlockPattern.random((512, 512), 16, 0.5, generator=generator)
    assert _slices(pattern, 1, 256, features_last=True) == 1


def test_no_block_in_a_part_of_the_rows() -> None:
    mask = torch.zeros(16, 12, dtype=torch.bool)
    mask[3, 2] = mask[15, 11] = True
    pattern = BlockPattern.from_mask(mask, 8)
    dy, x = _drawn(900, 128, seed=1), _drawn(900, 96, seed=2)
    found = block_outer(pattern, dy, x, features_last=True)
    wanted = _wanted(pattern, dy.T, x.T)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-3)
