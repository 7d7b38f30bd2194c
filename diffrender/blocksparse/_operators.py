"""The products as registered operators, for torch.compile and torch.export.

A pattern travels as its index tensors and its sizes. The operator finds the pattern that they
belong to again, so that plans are remembered; a graph that carries its own copies of the tensors
gets an equal pattern.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffrender.blocksparse import passes
from diffrender.blocksparse.dynamic import DynamicPattern
from diffrender.blocksparse.pattern import INDEX_FIELDS, BlockPattern, known_patterns
from diffrender.native.operators import define, library

__all__ = ["multiply", "outer", "padded"]

_INDICES = ", ".join(f"Tensor {name}" for name in INDEX_FIELDS) + ", SymInt[] sizes"
_OFFSETS = [i for i, name in enumerate(INDEX_FIELDS) if name.endswith("offsets")]
_COUNT = len(INDEX_FIELDS) + 1  # arguments that make up a pattern
_KEPT = 256  # patterns of graphs that carry their own tensors
_rebuilt: OrderedDict[int, BlockPattern] = OrderedDict()


def _arguments(pattern: BlockPattern | DynamicPattern) -> tuple[Any, ...]:
    return (*pattern.index_tensors, [*pattern.shape, *pattern.block_size])


def _pattern(indices: Sequence[Tensor], sizes: Sequence[int]) -> BlockPattern:
    """The pattern that these tensors belong to."""
    m, k, rows, columns = sizes
    place = indices[0].data_ptr()
    found = known_patterns.get(place)
    if (
        found is not None
        and found.shape == (m, k)
        and found.block_size == (rows, columns)
        and found.column_indices.data_ptr() == indices[1].data_ptr()
    ):
        return found
    count = int(indices[0][-1])  # a dynamic pattern's buffers have room for more
    cut = [t if t.shape[0] == count or i in _OFFSETS else t[:count] for i, t in enumerate(indices)]
    found = BlockPattern((m, k), (rows, columns), *cut)
    _rebuilt[place] = found
    if len(_rebuilt) > _KEPT:
        _rebuilt.popitem(last=False)
    return found


def multiply(
    pattern: BlockPattern | DynamicPattern,
    values: Tensor,  # (nnz, b_m, b_k)
    x: Tensor,  # (..., k, n) or (..., n, k)
    transpose: bool,
    features_last: bool,
    backend: str | None,
) -> Tensor:
    """W x or W^T x by the registered operator; differentiable any number of times."""
    options = (transpose, features_last, backend or "")
    return torch.ops.diffrender.blocksparse_multiply(values, x, *_arguments(pattern), *options)


def outer(
    pattern: BlockPattern | DynamicPattern,
    dy: Tensor,  # (..., m, n) or (..., n, m)
    x: Tensor,  # (..., k, n) or (..., n, k)
    features_last: bool,
    backend: str | None,
) -> Tensor:
    """dy x^T at the stored blocks by the registered operator."""
    options = (features_last, backend or "")
    return torch.ops.diffrender.blocksparse_outer(dy, x, *_arguments(pattern), *options)


def padded(values: Tensor, slots: int) -> Tensor:  # (nnz, b_m, b_k)
    """Values with zeros behind them, up to a dynamic pattern's room."""
    if values.shape[0] == slots:
        return values
    return torch.cat([values, values.new_zeros((slots - values.shape[0], *values.shape[1:]))])


def _multiply(values: Tensor, x: Tensor, *rest: Any) -> Tensor:
    pattern = _pattern(rest[: _COUNT - 1], rest[_COUNT - 1])
    transpose, features_last, backend = rest[_COUNT:]
    run = passes.grad_input if transpose else passes.forward
    stored = values[: pattern.nnz]
    y = run(pattern, stored, x, features_last=features_last, backend=backend or None)
    return y.contiguous()  # as the fake version promises


def _outer(dy: Tensor, x: Tensor, *rest: Any) -> Tensor:
    pattern = _pattern(rest[: _COUNT - 1], rest[_COUNT - 1])
    features_last, backend = rest[_COUNT:]
    found = passes.grad_weight(pattern, dy, x, features_last=features_last, backend=backend or None)
    return padded(found, rest[1].shape[0])


def _fake_multiply(values: Tensor, x: Tensor, *rest: Any) -> Tensor:
    (m, k, _, _), (transpose, features_last, _) = rest[_COUNT - 1], rest[_COUNT:]
    features = k if transpose else m
    if features_last:
        return x.new_empty((*x.shape[:-1], features))
    return x.new_empty((*x.shape[:-2], features, x.shape[-1]))


def _fake_outer(dy: Tensor, x: Tensor, *rest: Any) -> Tensor:
    return x.new_empty((rest[1].shape[0], *rest[_COUNT - 1][2:]))


_MULTIPLY = define(
    f"blocksparse_multiply(Tensor values, Tensor x, {_INDICES}, bool transpose, "
    f"bool features_last, str backend) -> Tensor",
    _multiply,
    _fake_multiply,
    "CompositeExplicitAutograd",
)
_OUTER = define(
    f"blocksparse_outer(Tensor dy, Tensor x, {_INDICES}, bool features_last, str backend) "
    f"-> Tensor",
    _outer,
    _fake_outer,
    "CompositeExplicitAutograd",
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[: _COUNT + 1])
    ctx.rest = inputs[_COUNT + 1 :]


def _multiply_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    values, x, *indices = ctx.saved_tensors
    sizes, transpose, features_last, backend = ctx.rest
    pattern, grads = (*indices, sizes), [None, None]
    if ctx.needs_input_grad[0]:
        pair = (x, grad) if transpose else (grad, x)
        grads[0] = torch.ops.diffrender.blocksparse_outer(*pair, *pattern, features_last, backend)
    if ctx.needs_input_grad[1]:
        grads[1] = torch.ops.diffrender.blocksparse_multiply(
            values, grad, *pattern, not transpose, features_last, backend
        )
    return (*grads, *[None] * (_COUNT + 3))


def _outer_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    dy, x, *indices = ctx.saved_tensors
    sizes, features_last, backend = ctx.rest
    pattern, grads = (*indices, sizes), [None, None]
    multiplied = torch.ops.diffrender.blocksparse_multiply
    if ctx.needs_input_grad[0]:
        grads[0] = multiplied(grad, x, *pattern, False, features_last, backend)
    if ctx.needs_input_grad[1]:
        grads[1] = multiplied(grad, dy, *pattern, True, features_last, backend)
    return (*grads, *[None] * (_COUNT + 2))


torch.library.register_autograd(_MULTIPLY, _multiply_backward, setup_context=_setup, lib=library)
torch.library.register_autograd(_OUTER, _outer_backward, setup_context=_setup, lib=library)
