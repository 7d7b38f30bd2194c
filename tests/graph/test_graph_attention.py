"""Attention within graphs: against torch's own, gradients, packs, no leak."""

from __future__ import annotations

import pytest
import torch
from molecule_like import batch_of

from diffrender.errors import InputError
from diffrender.graph import PackSize, attend, pack_batch
from diffrender.graph.attention import PairLayout, torch_attend
from diffrender.native import reason_missing

SIZES = [3, 1, 5, 3, 2]
needs_kernels = pytest.mark.skipif(reason_missing() is not None, reason="no native kernels")


def inputs(heads: int, width: int, dtype: torch.dtype = torch.float64):
    batch = batch_of(SIZES)
    pairs = batch.layout.count
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(sum(SIZES), 3 * heads * width, generator=generator, dtype=dtype)
    bias = torch.randn(pairs, heads, generator=generator, dtype=dtype)
    keep = (torch.rand(pairs, heads, generator=generator) > 0.3).to(dtype) / 0.7
    return batch, qkv.requires_grad_(), bias.requires_grad_(), keep


@pytest.mark.parametrize("form", [torch_attend, attend])
def test_one_graph_is_scaled_dot_product_attention(form) -> None:
    batch, qkv, bias, _ = inputs(2, 4)
    found = form(qkv, bias, None, batch.layout, 2)
    start = pair = 0
    for n in SIZES:
        q, k, v = qkv[start : start + n].view(n, 3, 2, 4).permute(1, 2, 0, 3)
        mask = bias[pair : pair + n * n].view(n, n, 2).permute(2, 0, 1)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        expected = expected.transpose(0, 1).reshape(n, 8)
        torch.testing.assert_close(found[start : start + n], expected)
        start, pair = start + n, pair + n * n


@needs_kernels
@pytest.mark.parametrize("heads", [32, 8, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_equals_its_twin_for_value_and_gradient(heads: int, dtype: torch.dtype) -> None:
    batch, qkv, bias, keep = inputs(heads, 4, dtype)
    found = []
    for form in (attend, torch_attend):
        out = form(qkv, bias, keep, batch.layout, heads)
        up = torch.linspace(-1, 1, out.numel(), dtype=dtype).view_as(out)
        found.append([out, *torch.autograd.grad((out * up).sum(), [qkv, bias])])
    for kernel, twin in zip(*found, strict=True):
        torch.testing.assert_close(kernel, twin)


@pytest.mark.parametrize("form", [torch_attend, attend])
def test_gradcheck(form) -> None:
    batch, qkv, bias, keep = inputs(2, 2)
    assert torch.autograd.gradcheck(lambda a, b: form(a, b, keep, batch.layout, 2), (qkv, bias))
    assert torch.autograd.gradcheck(lambda a: form(a, None, None, batch.layout, 2), (qkv,))


def test_packs_give_the_same_numbers() -> None:
    batch, qkv, bias, keep = inputs(2, 4)
    packed, packing = pack_batch(batch, PackSize(nodes=9, edges=30, graphs=3))
    assert packing.packs == ((0, 1, 2), (3, 4))
    expected = attend(qkv, bias, keep, batch.layout, 2)
    torch.testing.assert_close(attend(qkv, bias, keep, packed.layout, 2), expected)


def test_convention_no_graph_sees_another_of_its_pack() -> None:
    """Whatever the bias: the mask is the layout's own, so a hidden bias opens nothing."""
    batch, qkv, bias, _ = inputs(2, 4)
    packed, _ = pack_batch(batch, PackSize(nodes=14, edges=60, graphs=8))
    changed = qkv.detach().clone()
    changed[:3] = 100.0  # the first graph
    for shown in (bias, torch.zeros_like(bias), None):
        before = attend(qkv, shown, None, packed.layout, 2)
        after = attend(changed, shown, None, packed.layout, 2)
        assert torch.equal(before[3:], after[3:])
        assert not torch.equal(before[:3], after[:3])


@needs_kernels
def test_the_compiler_sees_the_operator() -> None:
    batch, qkv, bias, keep = inputs(2, 2)
    layout = batch.layout
    arguments = (qkv, bias, keep, layout.node_offsets, layout.pair_offsets, 2, layout.count)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(
        torch.ops.diffrender.ragged_attention.default, arguments, test_utils=checks
    )


@pytest.mark.parametrize(
    ("nodes", "pairs"),
    [([0, 400], [0, 3]), ([0, 2, 5], [0, 4, 25]), ([1, 3], [0, 4]), ([3, 0], [0, 9])],
)
def test_layouts_that_kernels_cannot_trust_are_refused(nodes: list[int], pairs: list[int]) -> None:
    with pytest.raises(InputError, match="n\\^2 pairs for every graph of n nodes"):
        PairLayout(torch.tensor(nodes), torch.tensor(pairs))
