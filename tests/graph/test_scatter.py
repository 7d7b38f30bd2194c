"""Sums along links: native and torch forms, gradients, order, broken inputs."""

from __future__ import annotations

import pytest
import torch

from diffrender.errors import InputError
from diffrender.graph.scatter import (
    edge_sum,
    link_sum,
    make_links,
    torch_edge_sum,
    torch_link_sum,
)
from diffrender.native import reason_missing

FORMS = ["torch", "native"]


@pytest.fixture(params=FORMS)
def total(request: pytest.FixtureRequest):
    if request.param == "native" and reason_missing():
        pytest.skip(reason_missing())
    return {"torch": torch_link_sum, "native": link_sum}[request.param]


def random_links(sources: int = 7, targets: int = 5, count: int = 20):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(sources, (count,), generator=generator)
    columns = torch.randint(targets - 1, (count,), generator=generator)  # the last has none
    return rows, columns, make_links(rows, columns, sources, targets)


def test_links_sum_is_the_product_with_the_matrix(total) -> None:
    rows, columns, links = random_links()
    values = torch.randn(7, 33, dtype=torch.float64)
    matrix = torch.zeros(5, 7, dtype=torch.float64)
    matrix.index_put_((columns, rows), torch.ones(20, dtype=torch.float64), accumulate=True)
    torch.testing.assert_close(total(values, links), matrix @ values)
    torch.testing.assert_close(total(matrix @ values, links.back), matrix.T @ (matrix @ values))
    assert total(values, links)[4].abs().max() == 0


def test_link_sum_gradient(total) -> None:
    _, _, links = random_links()
    values = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: total(v, links), (values,))


def test_order_is_that_of_the_links(total) -> None:
    """1e8 + 1 - 1e8 is 0 in float32 only in this order."""
    values = torch.tensor([[1e8], [1.0], [-1e8]])
    zero = torch.zeros(3, dtype=torch.int64)
    assert total(values, make_links(torch.tensor([0, 1, 2]), zero, 3, 1)).item() == 0.0
    assert total(values, make_links(torch.tensor([0, 2, 1]), zero, 3, 1)).item() == 1.0


@pytest.mark.skipif(reason_missing() is not None, reason="no native kernels")
def test_threads_do_not_change_the_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(300, (5000,), generator=generator)
    columns = torch.randint(700, (5000,), generator=generator)
    links = make_links(rows, columns, 300, 700)
    values = torch.randn(300, 40, generator=generator)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(link_sum(values, links))
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_edge_sum_both_forms_and_gradient() -> None:
    sender, receiver = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 1, 0, 3])
    edges = torch.arange(4)
    to_receiver, to_sender = (make_links(edges, node, 4, 4) for node in (receiver, sender))
    inputs = [torch.randn(4, 6, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    expected = inputs[0] + inputs[1][receiver] + inputs[2][sender]
    for form in (edge_sum, torch_edge_sum):
        torch.testing.assert_close(form(*inputs, to_receiver, to_sender), expected)
        assert torch.autograd.gradcheck(lambda *x, f=form: f(*x, to_receiver, to_sender), inputs)


def test_no_links_and_no_rows() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    links = make_links(empty, empty, 0, 3)
    assert link_sum(torch.zeros(0, 4), links).tolist() == torch.zeros(3, 4).tolist()


def test_the_compiler_sees_the_operators() -> None:
    _, _, links = random_links()
    values = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    arguments = (values, links.rows, links.offsets, links.back_rows, links.back_offsets)
    if reason_missing():
        pytest.skip(reason_missing())
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.diffrender.link_sum.default, arguments, test_utils=checks)


def test_links_outside_the_rows_are_refused() -> None:
    one = torch.tensor([3])
    with pytest.raises(InputError, match="sources run from 3 to 3, expected 0 to 2"):
        make_links(one, torch.tensor([0]), 3, 1)
    with pytest.raises(InputError, match=r"targets has shape \(2,\), expected \(1\)"):
        make_links(one, torch.tensor([0, 0]), 4, 1)


def test_links_on_another_device_are_refused() -> None:
    links = make_links(torch.tensor([0, 1]), torch.tensor([1, 0]), 2, 2)
    with pytest.raises(InputError, match="values are on cpu, the links on meta"):
        link_sum(torch.rand(2, 3), links.to("meta"))
