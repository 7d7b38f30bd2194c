"""Sums along the links of a graph in a fixed order: gathering, scattering, neighbour sums.

Links are a 0/1 matrix P from sources to targets, kept by rows and by columns, so that P x and its
gradient P^T y are both sums of rows in a known order. One product covers what other packages call
gather (one link a target), scatter (edges to nodes) and message passing without messages (nodes to
their neighbours, no copy for each edge). Results do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.graph._kernels import native_inputs
from diffrender.graph._sum_ops import native_edge_sum, native_link_sum

__all__ = ["Links", "edge_sum", "link_sum", "make_links", "torch_edge_sum", "torch_link_sum"]

_INDEX = torch.int64


@dataclass(frozen=True)
class Links:
    """M links from S sources to T targets.

    Attributes:
        rows: (M,) int64 the source of every link, links grouped by target.
        offsets: (T+1,) int64 where each target's links begin.
        back_rows: (M,) the target of every link, links grouped by source.
        back_offsets: (S+1,).

    They are made contiguous.

    Raises:
        InputError: an index is not int64, or the lists of links are of different lengths or no
            rows.
            `make_links` also takes other integers, and checks the numbers themselves.
    """

    rows: Tensor
    offsets: Tensor
    back_rows: Tensor
    back_offsets: Tensor

    def __post_init__(self) -> None:
        rows, offsets, back_rows, back_offsets = (
            self.rows,
            self.offsets,
            self.back_rows,
            self.back_offsets,
        )
        # Kernels read these as they lie.
        if not (rows.dtype == offsets.dtype == back_rows.dtype == back_offsets.dtype == _INDEX):
            raise InputError(
                f"links have dtypes {rows.dtype}, {offsets.dtype}, {back_rows.dtype} and "
                f"{back_offsets.dtype}, expected torch.int64; build them with make_links"
            )
        if rows.shape != back_rows.shape or rows.dim() != 1:
            raise InputError(
                f"links have rows {tuple(rows.shape)} and back_rows {tuple(back_rows.shape)}, "
                "expected one row of the same length; build them with make_links"
            )
        for name, ends in (("offsets", offsets), ("back_offsets", back_offsets)):
            if ends.dim() != 1 or not len(ends):
                raise InputError(
                    f"links have {name} {tuple(ends.shape)}, expected one row, a number more than "
                    "there are ends; build them with make_links"
                )
        for name in self.__dataclass_fields__:
            if not getattr(self, name).is_contiguous():
                object.__setattr__(self, name, getattr(self, name).contiguous())

    @property
    def back(self) -> Links:
        """The transposed links, from targets to sources."""
        return Links(self.back_rows, self.back_offsets, self.rows, self.offsets)

    def to(self, device: torch.device | str) -> Links:
        """The same on a device."""
        return Links(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def make_links(
    sources: Tensor,  # (M,)
    targets: Tensor,  # (M,)
    source_count: int,
    target_count: int,
) -> Links:
    """Links from sources[m] to targets[m], integers; links of one target keep their order.

    Raises:
        InputError: different lengths, no integers, or an index outside its count.
    """
    check_shape("sources", sources, None)
    check_shape("targets", targets, len(sources))
    sources, targets = _whole("sources", sources), _whole("targets", targets)
    for name, index, count in (
        ("sources", sources, source_count),
        ("targets", targets, target_count),
    ):
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < count:
            raise InputError(
                f"{name} run from {int(index.min())} to {int(index.max())}, expected 0 to "
                f"{count - 1}"
            )
    rows, offsets = _grouped(sources, targets, target_count)
    back_rows, back_offsets = _grouped(targets, sources, source_count)
    return Links(rows, offsets, back_rows, back_offsets)


def link_sum(
    values: Tensor,  # (S, F)
    links: Links,
) -> Tensor:
    """y_t = sum of values over the links that arrive at target t, in their order.

    Shapes: (S, F) -> (T, F). Differentiable once in `values`; the gradient is `link_sum` along
    `links.back`. Deterministic, whatever the threads. Half precision is summed in float32.

    Raises:
        InputError: not a row of values for every source of the links.
    """
    if values.dim() != 2 or values.shape[0] != links.back_offsets.shape[0] - 1:
        check_shape("values", values, links.back_offsets.shape[0] - 1, None)
    if values.device != links.rows.device:
        raise InputError(f"values are on {values.device}, the links on {links.rows.device}")
    if (taken := native_inputs(values)) is not None:
        index = (links.rows, links.offsets, links.back_rows, links.back_offsets)
        return native_link_sum(*taken, *index).to(values.dtype)
    return torch_link_sum(values, links)


def edge_sum(
    edges: Tensor,  # (E, F)
    at_receiver: Tensor,  # (N, F)
    at_sender: Tensor,  # (N, F)
    to_receiver: Links,
    to_sender: Links,
) -> Tensor:
    """edges_e + at_receiver[receiver of e] + at_sender[sender of e].

    Shapes: (E, F), two of (N, F) -> (E, F). Differentiable once in all three. The links run from
    edges to nodes, one for each edge.

    Raises:
        InputError: the shapes do not fit each other or the links.
    """
    _check_edges(edges, at_receiver, to_receiver, "receiver")
    _check_edges(edges, at_sender, to_sender, "sender")
    if (taken := native_inputs(edges, at_receiver, at_sender)) is not None:
        r, s = to_receiver, to_sender
        index = (r.back_rows, r.rows, r.offsets, s.back_rows, s.rows, s.offsets)
        dtype = torch.promote_types(edges.dtype, at_receiver.dtype)
        dtype = torch.promote_types(dtype, at_sender.dtype)
        return native_edge_sum(*taken, *index).to(dtype)
    return torch_edge_sum(edges, at_receiver, at_sender, to_receiver, to_sender)


def torch_link_sum(values: Tensor, links: Links) -> Tensor:  # (S, F)
    """`link_sum` in torch's own operations, on any device."""
    gathered = values[links.rows]
    if values.dtype in (torch.bfloat16, torch.float16):
        gathered = gathered.float()  # sums of many small numbers would be lost
    total = torch.segment_reduce(gathered, "sum", offsets=links.offsets, axis=0, initial=0.0)
    return total.to(values.dtype)


def torch_edge_sum(
    edges: Tensor, at_receiver: Tensor, at_sender: Tensor, to_receiver: Links, to_sender: Links
) -> Tensor:
    """`edge_sum` in torch's own operations, on any device."""
    return edges + at_receiver[to_receiver.back_rows] + at_sender[to_sender.back_rows]


def _check_edges(edges: Tensor, at_node: Tensor, to_node: Links, name: str) -> None:
    """Raise InputError unless edges and the rows of one of their nodes fit the links."""
    links, nodes = to_node.back_rows.shape[0], to_node.offsets.shape[0] - 1
    if edges.dim() != 2 or edges.shape[0] != links or to_node.back_offsets.shape[0] - 1 != links:
        raise InputError(
            f"edges have shape {tuple(edges.shape)} and to_{name} has {links} links from "
            f"{to_node.back_offsets.shape[0] - 1} edges, expected one link for every row of edges"
        )
    if at_node.dim() != 2 or at_node.shape[0] != nodes or at_node.shape[1] != edges.shape[1]:
        check_shape(f"at_{name}", at_node, nodes, edges.shape[1])


def _whole(name: str, index: Tensor) -> Tensor:
    """As int64, which the kernels read; raises InputError for what counts nothing."""
    if index.dtype == torch.bool or index.dtype.is_floating_point or index.dtype.is_complex:
        raise InputError(f"{name} have dtype {index.dtype}, expected integers such as torch.int64")
    return index.to(_INDEX)


def _grouped(values: Tensor, keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    order = torch.argsort(keys, stable=True)
    offsets = torch.zeros(count + 1, dtype=torch.int64, device=keys.device)
    torch.cumsum(torch.bincount(keys, minlength=count), 0, out=offsets[1:])
    return values[order], offsets
