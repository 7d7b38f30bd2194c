"""How a kernel becomes a torch operator: one library, registered operators, fast eager calls.

Every kernel is registered with `torch.library` as `diffrender::...`, with a fake version and a
gradient, so that torch.compile and torch.export see it. In eager mode the same Python functions
run under a plain `torch.autograd.Function`: the dispatcher would cost more than a small image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["define", "differentiable", "library", "once", "plain", "pointer", "refuse_tangents"]

library = torch.library.Library("diffrender", "FRAGMENT")


def plain(tensor: Tensor) -> Tensor:
    """The same numbers as a kernel reads them: row by row, no sign kept in a bit beside them."""
    tensor = tensor.contiguous()
    if torch.compiler.is_compiling():
        return tensor.resolve_neg()  # how it is stored cannot be looked at there
    return tensor.resolve_neg() if tensor.is_neg() else tensor


def pointer(tensor: Tensor | None) -> int | None:
    """Address of a tensor's data, None for no tensor."""
    return None if tensor is None else tensor.data_ptr()


def define(schema: str, run: Callable[..., Any], fake: Callable[..., Any], key: str = "CPU") -> str:
    """Register an operator with its function for a dispatch key and its fake version.

    Returns the operator's qualified name.
    """
    name = "diffrender::" + schema.split("(")[0]
    library.define(schema)
    library.impl(schema.split("(")[0], run, key)
    torch.library.register_fake(name, fake, lib=library)
    return name


def _is_plain(tensor: Tensor) -> bool:
    """No subclass, which would want the dispatcher."""
    return type(tensor) in (Tensor, torch.nn.Parameter)


def refuse_tangents(what: str, *tensors: Tensor | None) -> None:
    """Raise where forward-mode derivatives are asked for, which the kernels do not have.

    An operator under torch's dispatcher would pass them by, as if they were zero.

    Raises:
        RuntimeError: a tensor has a forward-mode tangent.
    """
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return
    for tensor in tensors:
        if tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None:
            raise RuntimeError(
                f"{what} has no forward-mode derivative (jvp) by the native back-end: ask for "
                "backend='torch', or use reverse mode"
            )


class _Once(torch.autograd.Function):
    """Gradients as they are, tied to what they were made of by a gradient that is refused."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.detach() for t in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(
            "this operation has first derivatives only: its gradient was differentiated "
            "(a Hessian, or backward through a gradient of create_graph=True)"
        )


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A gradient that raises when it is differentiated itself, in place of counting as constant.

    torch's `once_differentiable` hangs its refusal on tensors that no leaf knows, so that
    `torch.autograd.grad` and Hessians pass it by.
    """

    @functools.wraps(backward)
    def run(ctx: Any, *grads: Any) -> Any:
        found = backward(ctx, *grads)
        # Gradients are tracked here only with create_graph=True, and by compilers.
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return found
        all_found = found if isinstance(found, tuple) else (found,)
        made = [t for t in all_found if isinstance(t, Tensor)]
        of = [t for t in (*ctx.saved_tensors, *grads) if isinstance(t, Tensor) and t.requires_grad]
        if not made or not of or not all(map(_is_plain, made)):
            return found
        tied = iter(_Once.apply(len(made), *made, *of))
        result = tuple(next(tied) if isinstance(t, Tensor) else t for t in all_found)
        return result if isinstance(found, tuple) else result[0]

    return run


def differentiable(
    name: str,
    forward: Callable[..., Any],
    setup: Callable[[Any, tuple[Any, ...], Any], None],
    backward: Callable[..., Any],
    traced_backward: Callable[..., Any],
) -> Callable[..., Any]:
    """Give an operator its gradient, and return the function that callers use.

    Args:
        name: qualified name, as `define` returned it.
        forward: what the operator does; runs as it is in eager mode.
        setup: keeps in `ctx` what the gradient needs.
        backward, traced_backward: the gradient by Python functions, and by registered operators.
    """
    torch.library.register_autograd(name, once(traced_backward), setup_context=setup, lib=library)
    operator = getattr(torch.ops.diffrender, name.split("::")[1])

    def run(ctx: Any, *arguments: Any) -> Any:  # torch binds a separate setup_context slowly
        output = forward(*arguments)
        setup(ctx, arguments, output)
        return output

    members = {"forward": staticmethod(run), "backward": staticmethod(once(backward))}
    eager: Any = type(name.split("::")[1], (torch.autograd.Function,), members)

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling() or not _is_plain(arguments[0]):
            return operator(*arguments)
        return eager.apply(*arguments)

    return call
