"""The C++ products of bfloat16 and float16: what they read, sum and round."""

from __future__ import annotations

import pytest
import torch
from blocksparse_cases import at_pattern, dense_of, gappy_pattern
from torch import Tensor

from diffrender.blocksparse.native_products import block_outer, multiply
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import reason_missing

pytestmark = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_reads_and_rounds_as_torch_does(dtype: torch.dtype) -> None:
    """Every 16-bit pattern times one; and sums that lie between two numbers."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    numbers = bits.view(dtype).view(1, -1)
    pattern = BlockPattern.from_mask(torch.ones(1, 1, dtype=torch.bool), 1)
    one = torch.ones(1, 1, 1, dtype=dtype)
    found = multiply(pattern, one, numbers, transpose=False, features_last=False)
    same = (found == numbers) | (found.isnan() & numbers.isnan())
    assert bool(same.all())
    pair = BlockPattern.from_mask(torch.ones(1, 2, dtype=torch.bool), 1)
    values = torch.ones(2, 1, 1, dtype=dtype)
    generator = torch.Generator().manual_seed(5)
    wide = torch.randn(2, 5000, generator=generator) * torch.logspace(-9, 5, 5000)
    x = wide.to(dtype)
    wanted = (x[0].float() + x[1].float()).to(dtype)
    found = multiply(pair, values, x, transpose=False, features_last=False)[0]
    assert bool(((found == wanted) | (found.isnan() & wanted.isnan())).all())


def _integers(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).to(torch.bfloat16)


@pytest.mark.parametrize(
    "block_size", [(4, 4), (8, 8), (16, 16), (64, 64), (4, 32), (16, 8)], ids=str
)
@pytest.mark.parametrize("features_last", [False, True])
@pytest.mark.parametrize("n", [2, 7, 48, 130, 1030])
def test_bfloat16_is_exact_on_small_integers(
    block_size: tuple[int, int], features_last: bool, n: int
) -> None:
    """By pairs or one by one, whichever the processor has: sums of integers have no rounding."""
    pattern = gappy_pattern(block_size, 0.4, (256, 384))
    values = _integers(pattern.nnz, *block_size, seed=1)
    weight = dense_of(pattern, values)
    x, dy = _integers(384, n, seed=2), _integers(256, n, seed=3)
    given = [t.mT.contiguous() if features_last else t for t in (x, dy)]
    for transpose in (False, True):
        found = multiply(
            pattern, values, given[transpose], transpose=transpose, features_last=features_last
        )
        wanted = (weight.mT @ dy.double() if transpose else weight @ x.double()).bfloat16()
        assert torch.equal(found, wanted.mT if features_last else wanted)
    found = block_outer(pattern, given[1], given[0], features_last=features_last)
    assert torch.equal(found, at_pattern(pattern, dy.double() @ x.double().mT).bfloat16())


def test_bfloat16_at_odd_places_and_in_batches() -> None:
    pattern = gappy_pattern((8, 8), 0.4)
    values, x = _integers(pattern.nnz, 8, 8, seed=1), _integers(3, 128, 50, seed=2)
    dy = _integers(3, 192, 50, seed=3)

    def moved(t: Tensor) -> Tensor:
        """The same numbers, two bytes beside a multiple of four."""
        memory = t.new_empty(t.numel() + 1)[1:]
        assert memory.data_ptr() % 4 == 2
        return memory.view(t.shape).copy_(t)

    wanted = dense_of(pattern, values) @ x.double()
    gradient = at_pattern(pattern, (dy.double() @ x.double().mT).sum(0)).bfloat16()
    for place in (Tensor.clone, moved):
        given = (place(values), place(x), place(dy))
        found = multiply(pattern, *given[:2], transpose=False, features_last=False)
        assert torch.equal(found, wanted.bfloat16())
        assert torch.equal(block_outer(pattern, given[2], given[1], features_last=False), gradient)


def test_float32_sums_are_kept_in_float32() -> None:
    """256 + 1 + 1 + ... loses every 1 where sums are rounded to bfloat16."""
    pattern = BlockPattern.from_mask(torch.ones(1, 16, dtype=torch.bool), 4)
    values = torch.ones(16, 4, 4, dtype=torch.bfloat16)
    x = torch.ones(64, 1, dtype=torch.bfloat16)
    x[0] = 256
    found = multiply(pattern, values, x, transpose=False, features_last=False)
    assert bool((found.float() == torch.tensor(319.0).bfloat16().float()).all())
