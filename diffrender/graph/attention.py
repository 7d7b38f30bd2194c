"""Biased multi-head attention within each graph of a ragged batch: never across graphs."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.graph._attention_ops import native_attention
from diffrender.graph._kernels import native_inputs

__all__ = ["AttentionGroup", "PairLayout", "attend", "torch_attend"]


@dataclass(frozen=True)
class AttentionGroup:
    """Some graphs, or packs of graphs, as blocks of equal size for dense attention.

    Attributes:
        rows: (g, n) int64 rows of the batch; a padded place holds row 0.
        pairs: (g, n, n) int64 index of the pair (query, key), -1 where the key is not of the
            query's graph or a place is padded.
        real: (g, n) bool, False at padded places.
    """

    rows: Tensor
    pairs: Tensor
    real: Tensor


@dataclass(frozen=True)
class PairLayout:
    """Where the P = sum n^2 pairs (query, key) of all graphs lie, row by row, graph by graph.

    Attributes:
        node_offsets, pair_offsets: (G+1,) int64; they are made contiguous.
        packs: packs of graphs for dense attention over each pack; None for attention graph by
            graph, which is faster.

    Raises:
        InputError: offsets that are not int64, not two rows of one length, or not of n and n^2.
    """

    node_offsets: Tensor
    pair_offsets: Tensor
    packs: AttentionGroup | None = None

    def __post_init__(self) -> None:
        nodes, pairs = self.node_offsets, self.pair_offsets
        fits = nodes.dim() == 1 and nodes.shape == pairs.shape and len(nodes)
        if not fits or not nodes.dtype == pairs.dtype == torch.int64:
            raise InputError(
                f"node_offsets are {nodes.dtype} {tuple(nodes.shape)} and pair_offsets "
                f"{pairs.dtype} {tuple(pairs.shape)}, expected two rows of torch.int64, a number "
                "more than there are graphs"
            )
        if not torch.compiler.is_compiling() and nodes.device.type == "cpu":
            sizes = nodes.diff()
            whole = int(nodes[0]) == int(pairs[0]) == 0 and bool((sizes >= 0).all())
            if not whole or not torch.equal(pairs.diff(), sizes.square()):
                raise InputError(
                    f"node_offsets are {nodes[:8].tolist()} and pair_offsets "
                    f"{pairs[:8].tolist()}, expected both to begin at 0, and n^2 pairs for every "
                    "graph of n nodes"
                )
        for name in ("node_offsets", "pair_offsets"):  # the kernel reads them as they lie
            if not getattr(self, name).is_contiguous():
                object.__setattr__(self, name, getattr(self, name).contiguous())

    @functools.cached_property
    def count(self) -> int:
        """P."""
        return int(self.pair_offsets[-1])

    @functools.cached_property
    def nodes(self) -> int:
        """N."""
        return int(self.node_offsets[-1])

    @functools.cached_property
    def groups(self) -> tuple[AttentionGroup, ...]:
        """The packs, or else the graphs of each size together: no padding."""
        if self.packs is not None:
            return (self.packs,)
        sizes = self.node_offsets.diff()
        groups = []
        for size in sizes.unique().tolist():
            chosen = (sizes == size).nonzero()[:, 0]
            inside = torch.arange(size * size, device=sizes.device)
            rows = self.node_offsets[chosen, None] + inside[:size]
            pairs = self.pair_offsets[chosen, None] + inside
            real = torch.ones_like(rows, dtype=torch.bool)
            groups.append(AttentionGroup(rows, pairs.view(-1, size, size), real))
        return tuple(groups)

    def to(self, device: torch.device | str) -> PairLayout:
        """The same on a device."""
        packs = self.packs
        if packs is not None:
            packs = AttentionGroup(*(t.to(device) for t in (packs.rows, packs.pairs, packs.real)))
        return PairLayout(self.node_offsets.to(device), self.pair_offsets.to(device), packs)


def attend(
    qkv: Tensor,  # (N, 3 H D)
    bias: Tensor | None,  # (P, H)
    keep: Tensor | None,  # (P, H)
    layout: PairLayout,
    heads: int,
) -> Tensor:
    """softmax(Q K^T / sqrt(D) + B) V for every head and graph.

    Args:
        qkv: (N, 3 H D) queries, keys and values side by side, each by heads.
        bias: (P, H) added to the scores, None for none.
        keep: (P, H) factors of the weights after the softmax (dropout), None for none.

    Returns:
        (N, H D). Differentiable once in `qkv` and `bias`. Memory grows with P, the sum of the
        squares of the graphs' sizes, never with N^2.

    Raises:
        InputError: the shapes do not fit the layout and the heads.
    """
    _check(qkv, bias, keep, layout, heads)
    if layout.packs is None and (taken := native_inputs(qkv, bias, keep)) is not None:
        index = (layout.node_offsets, layout.pair_offsets)
        return native_attention(*taken, *index, heads, layout.count)[0].to(qkv.dtype)
    return torch_attend(qkv, bias, keep, layout, heads)


def torch_attend(
    qkv: Tensor, bias: Tensor | None, keep: Tensor | None, layout: PairLayout, heads: int
) -> Tensor:
    """`attend` in torch's own operations, on any device, one group of blocks after another."""
    width = qkv.shape[1] // (3 * heads)
    found, places = [], []
    for group in layout.groups:
        g, n = group.rows.shape
        block = qkv[group.rows].view(g, n, 3, heads, width).permute(2, 0, 3, 1, 4)
        query, key, value = block.unbind(0)  # (g, H, n, D)
        scores = query @ key.transpose(-1, -2) / width**0.5
        inside = group.pairs >= 0
        if bias is not None:
            scores = scores + _by_head(bias, group.pairs)
        # Graphs of a pack do not see each other, whatever their bias says. A padded place has no
        # key of its own; it sees all, and nobody reads it.
        apart = ~inside & inside.any(-1, keepdim=True)
        weights = scores.masked_fill(apart[:, None], -torch.inf).softmax(-1)
        if keep is not None:
            weights = weights * _by_head(keep, group.pairs)
        out = (weights @ value).transpose(1, 2).reshape(g, n, heads * width)
        real = group.real.flatten()
        found.append(out.flatten(0, 1)[real])
        places.append(group.rows.flatten()[real])
    return torch.cat(found)[torch.argsort(torch.cat(places))]


def _check(
    qkv: Tensor, bias: Tensor | None, keep: Tensor | None, layout: PairLayout, heads: int
) -> None:
    """Raise InputError unless the shapes fit: the kernel reads as far as the layout says."""
    if qkv.dim() != 2 or qkv.shape[0] != layout.nodes:
        check_shape("qkv", qkv, layout.nodes, None)
    if heads < 1 or qkv.shape[1] % (3 * heads):
        raise InputError(
            f"qkv has {qkv.shape[1]} columns for {heads} heads, expected a multiple of three times "
            "the heads: queries, keys and values of each"
        )
    for name, value in (("bias", bias), ("keep", keep)):
        if value is not None and value.shape != (layout.count, heads):
            check_shape(name, value, layout.count, heads)


def _by_head(values: Tensor, pairs: Tensor) -> Tensor:  # (P, H), (g, n, n)
    """(g, H, n, n), zero where there is no pair."""
    taken = values[pairs.clamp(min=0)] * (pairs >= 0)[..., None]
    return taken.permute(0, 3, 1, 2)
