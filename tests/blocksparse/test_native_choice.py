"""What blocks weigh and which are the heaviest, by the C++ kernels against their twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffrender.blocksparse import BlockPattern, native_choice
from diffrender.blocksparse import _structure as structure
from diffrender.native import reason_missing

pytestmark = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)


def _by_sorting(scores: Tensor, count: int) -> Tensor:
    """Stable: of equal scores the first come first."""
    kept = np.argsort(-scores.numpy().astype(np.float64), kind="stable")[:count]
    mask = torch.zeros(len(scores), dtype=torch.bool)
    mask[torch.from_numpy(kept)] = True
    return mask


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60),
    st.integers(0, 1000),
)
def test_strongest_of_any_numbers(numbers: list[float], wish: int) -> None:
    scores = torch.tensor(numbers, dtype=torch.float32)
    count = 1 + wish % len(numbers)
    assert torch.equal(native_choice.strongest(scores, count), _by_sorting(scores, count))


def test_of_equal_scores_the_first_are_kept_and_both_zeros_are_equal() -> None:
    scores = torch.tensor([1.0, -0.0, 0.0, 1.0, -0.0, 0.0, -1.0])
    kept = native_choice.strongest(scores, 4)
    assert kept.tolist() == [True, True, True, True, False, False, False]


@pytest.mark.parametrize("count", [1, 7, 40_000, 299_999, 300_000])
def test_strongest_of_many_over_several_tasks(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(-3, 300, (300_000,), generator=generator).float() / 7
    assert torch.equal(native_choice.strongest(scores, count), _by_sorting(scores, count))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("block", [(4, 4), (16, 16), (1, 8), (64, 1)], ids=str)
def test_energy_is_the_sum_of_squares(dtype: torch.dtype, block: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(128, 192, generator=generator).to(dtype)
    found = native_choice.energy(weight, block)
    tiles = weight.double().reshape(128 // block[0], block[0], 192 // block[1], block[1])
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, tiles.square().sum((1, 3)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_energy_of_numbers_whose_squares_float32_does_not_hold(size: float) -> None:
    weight = size * torch.tensor([[1.0] * 4 + [2.0] * 4] * 4)
    found = native_choice.energy(weight, (4, 4)) / float(weight[0, 0].double()) ** 2
    torch.testing.assert_close(found, torch.tensor([[16.0, 64.0]], dtype=torch.float64))


@pytest.mark.parametrize("block", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_pruned_patterns_are_the_same_without_the_kernels(
    block: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 96, generator=generator).to(dtype)
    ours = BlockPattern.from_dense(weight, block, 0.3)
    monkeypatch.setattr(native_choice, "can_weigh", lambda _: False)
    monkeypatch.setattr(native_choice, "can_choose", lambda _: False)
    twin = BlockPattern.from_dense(weight, block, 0.3)
    assert torch.equal(ours.mask(), twin.mask())
    assert ours.nnz == structure.stored_blocks(ours.grid, 0.3)
