"""The products under torch's transforms: torch.func, forward mode, batches, compiled and not."""

from __future__ import annotations

import pytest
import torch
from blocksparse_cases import Case, dense_outer, dense_product, make_case
from torch import Tensor
from torch.autograd import forward_ad

from diffrender.blocksparse import BlockSparseLinear, SparsityConfig, sddmm, spmm
from diffrender.native import reason_missing

NEEDS_NATIVE = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)

# torch's own, at the first use of its forward mode.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


def _layer() -> BlockSparseLinear:
    torch.manual_seed(0)
    return BlockSparseLinear(16, 8, SparsityConfig(0.5, 4))


@pytest.mark.parametrize("compiled", [False, True])
def test_derivatives_of_a_layer_in_all_modes(compiled: bool) -> None:
    layer, x = _layer(), torch.rand(16)
    weight = layer.weight.detach()

    def rows(x: Tensor) -> Tensor:
        return torch.func.jacrev(layer)(x)

    def columns(x: Tensor) -> Tensor:
        return torch.func.jacfwd(layer)(x)

    def along(x: Tensor) -> Tensor:
        return torch.func.jvp(layer, (x,), (torch.ones_like(x),))[1]

    def summed(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: layer(x).sum())(x)

    wanted = (weight, weight, weight.sum(1), weight.sum(0))
    for function, expected in zip((rows, columns, along, summed), wanted, strict=True):
        if compiled:
            torch.compiler.reset()
            function = torch.compile(function, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(function(x), expected)


@pytest.mark.parametrize("frozen", [False, True])
def test_forward_mode_tangents_pass_a_layer(frozen: bool) -> None:
    layer = _layer().requires_grad_(not frozen)
    x, tangent = torch.rand(3, 16), torch.rand(3, 16)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
        assert found is not None
    torch.testing.assert_close(found, tangent @ layer.weight.T)


def test_compiled_frozen_layers_see_tangents_from_outside() -> None:
    layer = _layer().requires_grad_(False)
    x, tangent = torch.rand(3, 16), torch.rand(3, 16)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    compiled(x)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(compiled(forward_ad.make_dual(x, tangent))).tangent
    assert found is not None
    torch.testing.assert_close(found, tangent @ layer.weight.T)


def test_forward_mode_of_values_and_of_the_outer_product() -> None:
    case = make_case()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(case.values, case.values)
        y = forward_ad.unpack_dual(spmm(case.pattern, dual, case.x)).tangent
        dual = forward_ad.make_dual(case.dy, case.dy)
        values = forward_ad.unpack_dual(sddmm(case.pattern, dual, case.x)).tangent
    torch.testing.assert_close(y, dense_product(case, transpose=False))
    torch.testing.assert_close(values, dense_outer(case))


def test_transforms_work_under_autocast() -> None:
    layer, x = _layer(), torch.rand(5, 16)
    parameters = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,)).float().square().sum()

    exact = torch.func.grad(loss)(parameters)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.func.grad(loss)(parameters)
        assert torch.vmap(layer)(x).dtype == torch.bfloat16
    for name, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[name], rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    "case",
    [
        make_case(),
        make_case(leading=(2,)),
        make_case(features_last=True),
        make_case(features_last=True, leading=(2,)),
    ],
    ids=str,
)
def test_batched_gradients(case: Case) -> None:
    leaves = (case.values.requires_grad_(), case.x.requires_grad_())
    y = spmm(case.pattern, *leaves, features_last=case.features_last)
    several = torch.rand(3, *y.shape, dtype=y.dtype)
    found = torch.autograd.grad(y, leaves, several, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(y, leaves, one, retain_graph=True) for one in several]
    for batched, each in zip(found, zip(*single, strict=True), strict=True):
        torch.testing.assert_close(batched, torch.stack(each))


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorised_jacobians(strategy: str) -> None:
    case = make_case()

    def product(values: Tensor) -> Tensor:
        return spmm(case.pattern, values, case.x)

    found = torch.autograd.functional.jacobian(
        product, case.values, vectorize=True, strategy=strategy
    )
    torch.testing.assert_close(found, torch.autograd.functional.jacobian(product, case.values))


@pytest.mark.parametrize("backend", [pytest.param("native", marks=NEEDS_NATIVE), "torch", None])
def test_a_sign_that_is_kept_in_a_bit_is_read(backend: str | None) -> None:
    case = make_case((4, 4))
    turned = [torch._neg_view(t) for t in (case.values, case.x, case.dy)]
    values, x, dy = turned
    assert x.is_neg()
    found = spmm(case.pattern, case.values, x, backend=backend)
    torch.testing.assert_close(found, -dense_product(case, transpose=False))
    found = spmm(case.pattern, values, case.x, backend=backend)
    torch.testing.assert_close(found, -dense_product(case, transpose=False))
    torch.testing.assert_close(sddmm(case.pattern, dy, x, backend=backend), dense_outer(case))
