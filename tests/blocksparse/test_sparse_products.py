"""The products' contract, on every back-end that can run here: values against the dense product."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from blocksparse_cases import Case, cases, dense_outer, dense_product, make_case
from hypothesis import given, settings
from torch import Tensor

from diffrender.blocksparse import BlockPattern, backends, sddmm, spmm
from diffrender.blocksparse.backends import Products, products
from diffrender.errors import InputError
from diffrender.native import small_tensors

# Nobody asks for "dense", but it keeps the same contract. Triton has tests of its own.
NAMES = [name for name, missing in backends().items() if missing is None and name != "triton"]
NAMES.append("dense")
DTYPES = {torch.float32: 2e-6, torch.float64: 1e-14, torch.bfloat16: 8e-3, torch.float16: 1e-3}


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def products_of(case: Case, module: Products) -> tuple[Tensor, Tensor, Tensor]:
    """forward, grad_input and grad_weight by a back-end's own functions."""
    pattern, values, layout = case.pattern, case.values, case.features_last
    return (
        module.multiply(pattern, values, case.x, transpose=False, features_last=layout),
        module.multiply(pattern, values, case.dy, transpose=True, features_last=layout),
        module.block_outer(pattern, case.dy, case.x, features_last=layout),
    )


def dense_of(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    return (
        dense_product(case, transpose=False),
        dense_product(case, transpose=True),
        dense_outer(case),
    )


def in_dtype(case: Case, dtype: torch.dtype) -> Case:
    moved = {name: getattr(case, name).to(dtype) for name in ("values", "x", "dy")}
    return dataclasses.replace(case, **moved)


def assert_close(found: Tensor, expected: Tensor, share: float) -> None:
    """Within a share of the largest entry, and in the same shape."""
    assert found.shape == expected.shape
    if found.numel():
        error = float((found.double() - expected.double()).abs().max())
        assert error <= share * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_random_patterns_match_the_dense_product(name: str, case: Case) -> None:
    for found, expected in zip(products_of(case, products(name)), dense_of(case), strict=True):
        assert found.dtype == torch.float64
        assert_close(found, expected, 1e-13)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("features_last", [False, True])
def test_every_dtype(backend: str, dtype: torch.dtype, features_last: bool) -> None:
    for size, columns in (((1, 1), 17), ((4, 4), 5), ((16, 8), 33), ((64, 32), 3)):
        case = make_case(size, (4, 5), 0.5, columns, features_last=features_last)
        case = in_dtype(case, dtype)
        exact = dense_of(in_dtype(case, torch.float64))
        for found, expected in zip(products_of(case, products(backend)), exact, strict=True):
            assert found.dtype == dtype
            assert_close(found, expected, DTYPES[dtype])


def test_half_precision_is_summed_in_float32(backend: str) -> None:
    """1 + 4096 × 2^-12 is 2 in float32; bfloat16 sums would stay at 1."""
    if backend == "dense":
        pytest.skip("the dense product sums as torch does")
    pattern = BlockPattern.from_mask(torch.ones(1, 4097, dtype=torch.bool), 1)
    values = torch.full((4097, 1, 1), 2.0**-12, dtype=torch.bfloat16)
    values[0] = 1.0
    x = torch.ones(4097, 2, dtype=torch.bfloat16)
    found = products(backend).multiply(pattern, values, x, transpose=False, features_last=False)
    assert found.tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("features_last", [False, True])
def test_strided_operands(backend: str, features_last: bool) -> None:
    case = make_case((4, 8), (3, 4), 0.5, 6, features_last=features_last, leading=(2, 3))
    expected = dense_of(case)
    twisted = dataclasses.replace(
        case,
        x=case.x.transpose(0, -1).contiguous().transpose(0, -1),
        dy=torch.stack([case.dy, case.dy], -1)[..., 1],
    )
    assert not twisted.x.is_contiguous() and not twisted.dy.is_contiguous()
    for found, wanted in zip(products_of(twisted, products(backend)), expected, strict=True):
        assert_close(found, wanted, 1e-13)


def test_empty_rows_columns_and_patterns(backend: str) -> None:
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[1, 2] = True
    for kept in (mask, torch.zeros_like(mask)):
        pattern = BlockPattern.from_mask(kept, (4, 8))
        values = torch.ones(pattern.values_shape)
        y = products(backend).multiply(
            pattern, values, torch.ones(32, 5), transpose=False, features_last=False
        )
        assert torch.equal(y, pattern.to_dense(values) @ torch.ones(32, 5))
        assert float(y[:4].abs().max()) == 0 and float(y[8:].abs().max()) == 0
        d_values = products(backend).block_outer(
            pattern, torch.ones(12, 5), torch.ones(32, 5), features_last=False
        )
        assert torch.equal(d_values, torch.full(pattern.values_shape, 5.0))


def test_no_columns_at_all(backend: str) -> None:
    for features_last in (False, True):
        case = make_case(columns=0, features_last=features_last, dtype=torch.float32)
        y, d_x, d_values = products_of(case, products(backend))
        assert y.shape == case.dy.shape and d_x.shape == case.x.shape
        assert torch.equal(d_values, torch.zeros_like(case.values))


def test_the_same_bits_whatever_the_threads(backend: str) -> None:
    if backend == "dense":
        pytest.skip("the dense product is torch's own")
    case = make_case((4, 4), (40, 40), 0.3, 70, dtype=torch.float32)
    first = products_of(case, products(backend))
    again = products_of(case, products(backend))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        more = products_of(case, products(backend))
    finally:
        torch.set_num_threads(threads)
    with small_tensors():
        fewer = products_of(case, products(backend))
    for others in (again, more, fewer):
        for one, two in zip(first, others, strict=True):
            assert torch.equal(one, two)


def test_what_is_not_stored_stays_out(backend: str) -> None:
    """An infinite input reaches only the rows that have a block for it."""
    if backend == "dense":
        pytest.skip("0 × inf is NaN in a dense product")
    pattern = BlockPattern.from_mask(torch.tensor([[True, False], [False, True]]), 4)
    x = torch.ones(8, 3)
    x[0, 0] = torch.inf
    y = spmm(pattern, torch.ones(2, 4, 4), x, backend=backend)
    assert bool(y[:4, 0].isinf().all()) and torch.equal(y[4:], torch.full((4, 3), 4.0))


def test_calls_that_do_not_fit_are_refused() -> None:
    case = make_case(dtype=torch.float32)
    pattern, values, x = case.pattern, case.values, case.x
    with pytest.raises(InputError, match=r"x has shape \(3, 16\), expected \(..., 16, n\)"):
        spmm(pattern, values, x.mT)
    with pytest.raises(InputError, match=r"expected \(..., 20, n\) .* transposed"):
        spmm(pattern, values, x, transpose=True)
    with pytest.raises(InputError, match="values has shape"):
        spmm(pattern, values[:1], x)
    with pytest.raises(InputError, match="expected one floating dtype"):
        spmm(pattern, values, x.double())
    with pytest.raises(InputError, match="expected one floating dtype"):
        spmm(pattern, values.int(), x.int())
    with pytest.raises(InputError, match="dy has shape"):
        sddmm(pattern, x, x)
    with pytest.raises(InputError, match="backend is 'cusparse', expected one of"):
        spmm(pattern, values, x, backend="cusparse")
    with pytest.raises(InputError, match="move it with pattern.to"):
        spmm(pattern, values.to("meta"), x.to("meta"))
