"""Gradients of the products, also under autocast, torch.func and torch.compile."""

from __future__ import annotations

import io

import pytest
import torch
from blocksparse_cases import make_case
from torch import Tensor

from diffrender.blocksparse import SparsityConfig, _operators, backends, linear, sddmm, spmm

NAMES = [name for name, missing in backends().items() if missing is None and name != "triton"]


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (4, 8)])
@pytest.mark.parametrize("features_last", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_spmm_gradients(
    backend: str, size: tuple[int, int], features_last: bool, transpose: bool
) -> None:
    case = make_case(size, (2, 2), 0.6, 2, features_last=features_last, leading=(2,))
    x = (case.dy if transpose else case.x).requires_grad_()
    values = case.values.requires_grad_()

    def product(values: Tensor, x: Tensor) -> Tensor:
        return spmm(
            case.pattern,
            values,
            x,
            transpose=transpose,
            features_last=features_last,
            backend=backend,
        )

    assert torch.autograd.gradcheck(product, (values, x))
    assert torch.autograd.gradgradcheck(product, (values, x))


@pytest.mark.parametrize("features_last", [False, True])
def test_sddmm_gradients(backend: str, features_last: bool) -> None:
    case = make_case((4, 8), (2, 2), 0.6, 2, features_last=features_last)
    operands = (case.dy.requires_grad_(), case.x.requires_grad_())

    def product(dy: Tensor, x: Tensor) -> Tensor:
        return sddmm(case.pattern, dy, x, features_last=features_last, backend=backend)

    assert torch.autograd.gradcheck(product, operands)
    assert torch.autograd.gradgradcheck(product, operands)


def test_only_what_is_needed_gets_a_gradient() -> None:
    case = make_case(dtype=torch.float32)
    values = case.values.clone().requires_grad_()
    spmm(case.pattern, values, case.x).sum().backward()
    assert values.grad is not None and case.x.grad is None
    frozen = spmm(case.pattern, values.detach(), case.x)
    assert not frozen.requires_grad
    with torch.inference_mode():
        assert spmm(case.pattern, values, case.x).is_inference()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_its_dtype(dtype: torch.dtype) -> None:
    case = make_case((4, 4), (6, 6), 0.5, 7, dtype=torch.float32)
    values, x = case.values.clone().requires_grad_(), case.x.clone().requires_grad_()
    with torch.autocast("cpu", dtype):
        y = spmm(case.pattern, values, x)
        linear = torch.nn.functional.linear(x.mT, case.pattern.to_dense(case.values)).mT
        d_values = sddmm(case.pattern, case.dy, x.detach())
    assert y.dtype == linear.dtype == d_values.dtype == dtype
    assert float((y - linear).detach().abs().max()) < 0.05
    y.float().sum().backward()
    assert values.grad is not None and values.grad.dtype == torch.float32
    # float64 is left alone, as nn.Linear leaves it.
    with torch.autocast("cpu", dtype):
        assert spmm(case.pattern, values.double(), x.double()).dtype == torch.float64


def test_functional_transforms() -> None:
    case = make_case((4, 4), (2, 2), 0.6, 3)
    pattern, values, x = case.pattern, case.values, case.x
    many = torch.stack([x, 2 * x, x - 1])
    mapped = torch.func.vmap(lambda each: spmm(pattern, values, each))(many)
    assert torch.allclose(mapped, spmm(pattern, values, many))
    weights = torch.stack([values, -values])
    mapped = torch.func.vmap(lambda each: spmm(pattern, each, x))(weights)
    assert torch.allclose(mapped[1], -mapped[0])
    gradient = torch.func.grad(lambda v: spmm(pattern, v, x).square().sum())(values)
    values.requires_grad_()
    (expected,) = torch.autograd.grad(spmm(pattern, values, x).square().sum(), values)
    assert torch.allclose(gradient, expected)
    jacobian = torch.func.jacrev(lambda v: spmm(pattern, values, v))(x)
    assert torch.allclose(jacobian[:, 0, :, 0], pattern.to_dense(values))


@pytest.mark.parametrize("transpose", [False, True])
def test_torch_compile_sees_one_operator(transpose: bool) -> None:
    case = make_case((4, 8), (3, 3), 0.5, 5, dtype=torch.float32)
    x = (case.dy if transpose else case.x).clone().requires_grad_()
    values = case.values.clone().requires_grad_()

    def run(values: Tensor, x: Tensor) -> Tensor:
        return spmm(case.pattern, values, x, transpose=transpose).relu().sum()

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(run(values, x), (values, x))
    found = torch.autograd.grad(compiled(values, x), (values, x))
    for one, two in zip(found, expected, strict=True):
        assert torch.allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("features_last", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
def test_operators_keep_their_promises(features_last: bool, transpose: bool) -> None:
    case = make_case((4, 4), (3, 4), 0.5, 5, features_last=features_last, leading=(2,))
    indices = case.pattern.index_tensors
    sizes = [*case.pattern.shape, *case.pattern.block_size]
    values, x = case.values.requires_grad_(), (case.dy if transpose else case.x).requires_grad_()
    for backend in NAMES:
        options = (*indices, sizes, transpose, features_last, backend)
        multiply = torch.ops.diffrender.blocksparse_multiply.default
        torch.library.opcheck(multiply, (values, x, *options))
        outer = torch.ops.diffrender.blocksparse_outer.default
        options = (*indices, sizes, features_last, backend)
        torch.library.opcheck(outer, (case.dy.detach(), case.x.detach(), *options))


def test_exported_programs_carry_their_pattern() -> None:
    case = make_case((4, 4), (3, 3), 0.5, 5, dtype=torch.float32)

    class Product(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return spmm(case.pattern, case.values, x)

    program = torch.export.export(Product(), (case.x,))
    assert torch.equal(program.module()(case.x), spmm(case.pattern, case.values, case.x))


def test_a_deep_exported_program_finds_its_patterns_again(monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Sequential(*(linear(8, 8, SparsityConfig(0.5, 4)) for _ in range(12)))
    x = torch.rand(2, 8)
    file, wanted = io.BytesIO(), net(x)
    torch.export.save(torch.export.export(net, (x,)), file)
    file.seek(0)
    program = torch.export.load(file).module()  # with tensors of its own
    assert torch.equal(program(x), wanted)
    monkeypatch.setattr(_operators, "BlockPattern", None)  # none is made anew
    assert torch.equal(program(x), wanted)
