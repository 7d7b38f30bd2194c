"""`antialias` in Triton, as the operators `diffrender::triton_antialias...`.

Twin: `torch_antialias.antialias`; maths: native/src/antialias.cpp. Rows first, then columns on the
result of the rows; backward in the opposite order. Gradients of vertices add up over their edges
in order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native.operators import plain
from diffrender.raster._topology import Topology
from diffrender.raster._triton import define, library
from diffrender.raster.triton_blend import blend, edge_gradients, slides_of
from diffrender.raster.triton_crossings import Crossings, find_crossings
from diffrender.raster.triton_edges import Edges, find_edges
from diffrender.raster.triton_sums import to_vertices
from diffrender.raster.triton_unproject import to_homogeneous

__all__ = ["antialias"]


def _find(
    image: Tensor, h: Tensor, face: Tensor, depth: Tensor, tables: tuple[Tensor, ...]
) -> tuple[Edges, Crossings]:
    vertex_offsets, index, edge_offsets, edges, opposite_offsets, opposite = tables
    table = Topology(edges, opposite_offsets, opposite, edge_offsets, index)
    _, height, width, _ = image.shape
    found = find_edges(h, vertex_offsets, table, (height, width))
    return found, find_crossings(h, found, face, depth)


def _forward(
    image: Tensor, h: Tensor, face: Tensor, depth: Tensor, *tables: Tensor
) -> tuple[Tensor, Tensor]:
    _, crossings = _find(image, h, face, depth, tables)
    rows = blend(crossings, image, upright=False)
    return blend(crossings, rows, upright=True), rows


def _backward(
    image: Tensor, h: Tensor, face: Tensor, depth: Tensor, *others: Tensor
) -> tuple[Tensor, Tensor]:
    *tables, rows, grad = others
    edges, crossings = _find(image, h, face, depth, tuple(tables))
    slides = torch.empty(edges.total, dtype=torch.float64, device=h.device)
    slides_of(crossings, edges, rows, grad, slides, upright=True)
    middle = blend(crossings, grad, upright=True, backward=True)
    slides_of(crossings, edges, image, middle, slides, upright=False)
    result = blend(crossings, middle, upright=False, backward=True)
    ends = edge_gradients(h, edges, crossings, slides)
    places = to_vertices(ends, edges.ends.reshape(-1), ends.new_empty(len(h), 2))
    return result, to_homogeneous(places, h, 1.0)


_TABLES = (
    "Tensor vertex_offsets, Tensor index, Tensor edge_offsets, Tensor edges, "
    "Tensor opposite_offsets, Tensor opposite"
)
_name = define(
    f"triton_antialias(Tensor image, Tensor h, Tensor face, Tensor depth, {_TABLES}) "
    "-> (Tensor, Tensor)",
    _forward,
    lambda image, *_: (torch.empty_like(image), torch.empty_like(image)),
)
define(
    f"triton_antialias_backward(Tensor image, Tensor h, Tensor face, Tensor depth, {_TABLES}, "
    "Tensor rows, Tensor grad) -> (Tensor, Tensor)",
    _backward,
    lambda image, h, *_: (torch.empty_like(image), torch.empty_like(h)),
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs, output[1])


def _grad(ctx: Any, grad: Tensor | None, _: None) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 10
    grad_image, grad_h = torch.ops.diffrender.triton_antialias_backward(
        *ctx.saved_tensors, plain(grad)
    )
    return grad_image, grad_h, *([None] * 8)


torch.library.register_autograd(_name, _grad, setup_context=_setup, lib=library)


def antialias(
    image: Tensor,  # (B, H, W, C)
    h: Tensor,  # (sum V, 3)
    face: Tensor,  # (B, H, W, K)
    depth: Tensor,  # (B, H, W, K)
    vertex_offsets: Tensor,  # (B + 1,)
    table: Topology,
) -> Tensor:
    """Rows first, then columns, by layer 0. Shape (B, H, W, C)."""
    return torch.ops.diffrender.triton_antialias(
        plain(image),
        h,
        plain(face),
        plain(depth),
        vertex_offsets,
        table.index,
        table.edge_offsets,
        table.edges,
        table.opposite_offsets,
        table.opposite,
    )[0]
