"""The fused LayerNorm and GELU against torch's own, for value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffrender.graph.norm_gelu import gelu, norm_gelu
from diffrender.native import reason_missing

pytestmark = pytest.mark.skipif(reason_missing() is not None, reason="no native kernels")


def layer(width: int, dtype: torch.dtype) -> nn.LayerNorm:
    norm = nn.LayerNorm(width, dtype=dtype)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(300, 64), (1, 7), (129, 33)])
def test_equals_torch(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    norm = layer(shape[1], dtype)
    x = (3 * torch.randn(shape, dtype=dtype) + 1).requires_grad_()
    up = torch.randn(shape, dtype=dtype)
    leaves = [x, norm.weight, norm.bias]
    for ours, theirs, wanted in (
        (norm_gelu(x, norm), F.gelu(norm(x), approximate="tanh"), leaves),
        (gelu(x), F.gelu(x, approximate="tanh"), leaves[:1]),
    ):
        torch.testing.assert_close(ours, theirs)
        found = torch.autograd.grad(ours, wanted, up)
        for a, b in zip(found, torch.autograd.grad(theirs, wanted, up), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5)


def test_gradcheck() -> None:
    norm = layer(5, torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: norm_gelu(a, norm), (x,))
    assert torch.autograd.gradcheck(gelu, (x,))


def test_far_values_stay_finite() -> None:
    x = torch.tensor([[-1e4, -100.0, 0.0, 100.0, 1e4]], requires_grad=True)
    y = gelu(x)
    y.sum().backward()
    torch.testing.assert_close(y, F.relu(x), rtol=0, atol=1e-6)
    assert x.grad is not None
    expected = torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.0]])
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_whose_cube_overflows(dtype: torch.dtype) -> None:
    x = torch.tensor([[-1e30, -1e20, -1e15, 1e15, 1e20, 1e30]], dtype=dtype, requires_grad=True)
    y = gelu(x)
    y.sum().backward()
    torch.testing.assert_close(y, F.relu(x), rtol=0, atol=1e-30)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, (x > 0).to(dtype), rtol=0, atol=1e-30)


@pytest.mark.parametrize("affine", [(False, False), (True, False)])
def test_a_norm_without_weight_or_bias_is_applied(affine: tuple[bool, bool]) -> None:
    norm = nn.LayerNorm(8, elementwise_affine=affine[0], bias=affine[1])
    x = torch.randn(3, 8)
    assert torch.equal(norm_gelu(x, norm), F.gelu(norm(x), approximate="tanh"))


def test_a_norm_of_another_width_is_refused_as_by_torch() -> None:
    with pytest.raises(RuntimeError, match="normalized_shape"):
        norm_gelu(torch.randn(3, 8), nn.LayerNorm(4))


def test_weights_may_lie_apart() -> None:
    """Members of an ensemble beside each other, or one number for all columns."""
    torch.manual_seed(0)
    x = torch.randn(20, 16, dtype=torch.float64, requires_grad=True)
    apart = layer(16, torch.float64)
    for name in ("weight", "bias"):
        members = torch.stack([getattr(apart, name).detach(), torch.full((16,), 7.0)], -1)
        setattr(apart, name, nn.Parameter(members[:, 0]))
        assert not getattr(apart, name).is_contiguous()
    one = nn.LayerNorm(16, dtype=torch.float64)
    one.weight = nn.Parameter(torch.tensor([1.5], dtype=torch.float64).expand(16))
    for norm in (apart, one):
        wanted = [x, norm.weight, norm.bias]
        ours, theirs = norm_gelu(x, norm), F.gelu(norm(x), approximate="tanh")
        torch.testing.assert_close(ours, theirs)
        for a, b in zip(
            torch.autograd.grad(ours.sum(), wanted), torch.autograd.grad(theirs.sum(), wanted),
            strict=True,
        ):  # fmt: skip
            torch.testing.assert_close(a, b)
