"""Half precision and autocast: kernels sum in float32, and what comes out is rounded once."""

from __future__ import annotations

import pytest
import torch
from molecule_like import batch_of
from torch import Tensor, nn

from diffrender.graph import (
    GraphNetwork,
    GraphSettings,
    attend,
    edge_sum,
    graph_loss,
    link_sum,
    make_links,
)
from diffrender.graph.norm_gelu import gelu, norm_gelu
from diffrender.graph.scatter import torch_link_sum
from diffrender.native import reason_missing

needs_kernels = pytest.mark.skipif(reason_missing() is not None, reason="no native kernels")
HALF = [torch.bfloat16, torch.float16]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@needs_kernels
@pytest.mark.parametrize("dtype", HALF)
def test_sums_are_taken_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    receivers = torch.randint(8, (40,), generator=generator)
    senders = torch.randint(8, (40,), generator=generator)
    edges = torch.arange(40)
    to_receiver = make_links(edges, receivers, 40, 8)
    to_sender = make_links(edges, senders, 40, 8)
    norm = nn.LayerNorm(6)
    nn.init.normal_(norm.weight)
    layout, pairs = batch_of([3, 1, 4]).layout, 9 + 1 + 16
    operations = [
        (lambda a: link_sum(a, to_receiver), [draw(40, 6)]),
        (lambda e, r, s: edge_sum(e, r, s, to_receiver, to_sender),
         [draw(40, 6), draw(8, 6, seed=1), draw(8, 6, seed=2)]),
        (lambda q, b: attend(q, b, None, layout, 2), [draw(8, 24), draw(pairs, 2, seed=1)]),
        (gelu, [draw(5, 6)]),
        (lambda a: norm_gelu(a, norm), [draw(5, 6)]),
    ]  # fmt: skip
    for run, inputs in operations:
        half = [t.to(dtype).requires_grad_() for t in inputs]
        wide = [t.detach().float().requires_grad_() for t in half]
        found, wanted = run(*half), run(*wide)
        assert found.dtype == dtype
        assert torch.equal(found, wanted.to(dtype))
        up = draw(*found.shape, seed=3).to(dtype)
        grads = torch.autograd.grad(found, half, up)
        for a, b in zip(grads, torch.autograd.grad(wanted, wide, up.float()), strict=True):
            assert a.dtype == dtype
            assert torch.equal(a, b.to(dtype))


@pytest.mark.parametrize("form", [link_sum, torch_link_sum])
def test_small_numbers_are_not_lost_beside_large_ones(form) -> None:
    """256 + 1 + 1 + ... stays at 256 where sums are rounded to bfloat16."""
    links = make_links(torch.arange(65), torch.zeros(65, dtype=torch.int64), 65, 1)
    values = torch.ones(65, 1, dtype=torch.bfloat16)
    values[0] = 256
    assert form(values, links).item() == 320


@needs_kernels
def test_a_float32_operand_widens_what_comes_out() -> None:
    links = make_links(torch.arange(3), torch.tensor([0, 1, 0]), 3, 2)
    edges, nodes = draw(3, 4), draw(2, 4, seed=1).bfloat16()
    found = edge_sum(edges, nodes, nodes, links, links)
    assert found.dtype == torch.float32
    assert torch.equal(found, edge_sum(edges, nodes.float(), nodes.float(), links, links))


def test_a_step_under_autocast_is_nearly_that_of_float32() -> None:
    torch.manual_seed(0)
    net = GraphNetwork(
        GraphSettings(layers=2, node_width=64, edge_width=32, global_width=32, heads=8)
    )
    batch = batch_of([5, 3, 7])
    steps = []
    for autocast in (False, True):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = net(batch, torch.Generator().manual_seed(1))
            loss = graph_loss(output, batch, net.settings, label_mean=0.0, label_std=1.0).total
        loss.backward()
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 for g in grads)
        steps.append((loss.item(), torch.cat([g.flatten() for g in grads])))
    (wide, exact), (half, rounded) = steps
    assert half != wide  # autocast was on
    assert half == pytest.approx(wide, rel=0.02)
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.99


@pytest.mark.parametrize("dtype", HALF)
def test_a_converted_network_learns_with_positions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    sizes = {"layers": 1, "node_width": 32, "edge_width": 16, "global_width": 8, "heads": 4}
    net = GraphNetwork(GraphSettings(**sizes)).to(dtype)
    batch = batch_of([5, 3, 7])
    for seed in range(4):  # other graphs hide other inputs
        output = net(batch, torch.Generator().manual_seed(seed))
        assert output.prediction.dtype == dtype
        graph_loss(output, batch, net.settings, label_mean=0.0, label_std=1.0).total.backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
