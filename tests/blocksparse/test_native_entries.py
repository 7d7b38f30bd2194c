"""Products of single numbers with many columns, whose rows are sorted and summed in step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffrender.blocksparse import DynamicPattern
from diffrender.blocksparse.native_plans import native_plan
from diffrender.blocksparse.native_products import multiply
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import instruction_set, reason_missing

pytestmark = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)


def _drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def _masked(m: int, k: int, kind: str) -> Tensor:
    """(m, k) bool masks whose rows have like or unlike numbers."""
    generator = torch.Generator().manual_seed(3)
    if kind == "triangle":  # every row has another count
        return torch.ones(m, k).tril().bool()
    if kind == "one full row":
        mask = torch.zeros(m, k, dtype=torch.bool)
        mask[m // 2] = True
        return mask
    return torch.rand(m, k, generator=generator) < float(kind)


def _check(
    mask: Tensor, n: int, dtype: torch.dtype, *, transpose: bool, features_last: bool
) -> None:
    pattern = BlockPattern.from_mask(mask, 1)
    values = _drawn(*pattern.values_shape, dtype=dtype)
    weight = torch.zeros(mask.shape, dtype=torch.float64)
    weight[mask] = values.double().flatten()
    weight = weight.T if transpose else weight
    x = _drawn(weight.shape[1], n, seed=1, dtype=dtype)
    wanted, scale = weight @ x.double(), weight.abs() @ x.double().abs()
    found = multiply(
        pattern,
        values,
        x.T.contiguous() if features_last else x,
        transpose=transpose,
        features_last=features_last,
    )
    found = found.T if features_last else found
    limits = torch.finfo(dtype)
    sums = 1e-14 if dtype == torch.float64 else 4e-6
    least = limits.tiny * limits.eps / 2  # half of the spacing of subnormal numbers
    allowed = limits.eps / 2 * wanted.abs() + sums * scale + least
    assert bool(((found.double() - wanted).abs() <= allowed).all())


@pytest.mark.parametrize("features_last", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("kind", ["0.01", "0.05", "0.4", "1.0", "triangle", "one full row"])
def test_sorted_rows_change_no_product(kind: str, transpose: bool, features_last: bool) -> None:
    layout = {"transpose": transpose, "features_last": features_last}
    _check(_masked(301, 277, kind), 77, torch.float32, **layout)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("features_last", [False, True])
def test_every_storage(dtype: torch.dtype, features_last: bool) -> None:
    for kind in ("0.05", "0.4"):
        _check(_masked(130, 99, kind), 90, dtype, transpose=False, features_last=features_last)


@pytest.mark.parametrize("features_last", [False, True])
@pytest.mark.parametrize(("m", "k", "n"), [(2600, 1300, 64), (40, 2100, 400), (3, 5, 64)])
def test_many_bands_and_pieces(m: int, k: int, n: int, features_last: bool) -> None:
    for kind in ("0.03", "0.3"):
        _check(_masked(m, k, kind), n, torch.float32, transpose=False, features_last=features_last)


def test_outputs_past_the_caches() -> None:
    # From 8 MB on y is written past the caches, where its rows begin on lines of 64 bytes.
    mask = _masked(1040, 64, "0.2")
    for n in (2064, 2059):
        _check(mask, n, torch.float32, transpose=False, features_last=False)


@pytest.mark.parametrize("kind", ["0.05", "0.4", "triangle"])
def test_same_bits_as_of_few_columns(kind: str) -> None:
    """Few columns go another way, with the same chain of multiply-adds for every number."""
    pattern = BlockPattern.from_mask(_masked(700, 600, kind), 1)
    values, x = _drawn(*pattern.values_shape), _drawn(600, 96, seed=1)
    whole = multiply(pattern, values, x, transpose=False, features_last=False)
    part = multiply(pattern, values, x[:, 7:33], transpose=False, features_last=False)
    assert torch.equal(whole[:, 7:33], part)


def test_convention_not_finite_inputs_reach_only_stored_numbers() -> None:
    mask = torch.tensor([[True, False, False], [False, True, False], [False, False, False]])
    pattern = BlockPattern.from_mask(mask, 1)
    x = torch.ones(3, 70)
    x[0], x[2] = torch.nan, torch.inf
    found = multiply(pattern, torch.ones(2, 1, 1), x, transpose=False, features_last=False)
    assert bool(found[0].isnan().all())
    assert torch.equal(found[1:], torch.tensor([[1.0], [0.0]]).expand(2, 70))


def test_nothing_stored() -> None:
    pattern = BlockPattern.from_mask(torch.zeros(40, 30, dtype=torch.bool), 1)
    for features_last in (False, True):
        x = torch.ones(100, 30) if features_last else torch.ones(30, 100)
        found = multiply(
            pattern, torch.ones(0, 1, 1), x, transpose=False, features_last=features_last
        )
        assert found.shape == ((100, 40) if features_last else (40, 100))
        assert int(found.count_nonzero()) == 0


def test_the_plan_shares_index_and_value_among_more_columns_where_rows_are_full() -> None:
    lanes = {"baseline": 4, "avx2": 8, "avx512": 16}[instruction_set() or "baseline"]
    for density, vectors in ((0.4, 4), (0.03, 2 if lanes == 16 else 4)):
        pattern = BlockPattern.from_mask(_masked(256, 256, str(density)), 1)
        plan = native_plan(pattern, "forward", torch.float32, 1, 128, features_last=False)
        assert (plan.kernel, plan.panel) == ("entries", vectors * lanes)
        assert plan.group % plan.panel == 0
        few = native_plan(pattern, "forward", torch.float32, 1, 8, features_last=False)
        assert few.kernel == "multiply"


def test_masks_that_change_are_arranged_anew() -> None:
    dynamic = DynamicPattern.for_density((64, 48), (1, 1), 0.5)
    x = _drawn(48, 80, seed=1)
    for seed in (1, 2):
        generator = torch.Generator().manual_seed(seed)
        mask = torch.rand(64, 48, generator=generator) < 0.3
        dynamic.update(mask)
        values = _drawn(int(mask.sum()), 1, 1, seed=seed)
        weight = torch.zeros(64, 48)
        weight[mask] = values.flatten()
        found = multiply(dynamic.current, values, x, transpose=False, features_last=False)
        torch.testing.assert_close(found, weight @ x, rtol=1e-5, atol=1e-5)
