"""How a kernel becomes a torch operator: one library, registered operators, fast eager calls.

Every kernel is registered with `torch.library` as `diffrender::...`, with a fake version and a
gradient, so that torch.compile and torch.export see it. In eager mode the same Python functions
run under a plain `torch.autograd.Function`: the dispatcher would cost more than a small image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["define", "differentiable", "library", "plain", "pointer"]

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
    torch.library.register_autograd(name, traced_backward, setup_context=setup, lib=library)
    operator = getattr(torch.ops.diffrender, name.split("::")[1])

    def run(ctx: Any, *arguments: Any) -> Any:  # torch binds a separate setup_context slowly
        output = forward(*arguments)
        setup(ctx, arguments, output)
        return output

    refuse_twice = torch.autograd.function.once_differentiable(backward)

    def run_backward(ctx: Any, *grads: Any) -> Any:
        # Gradients are tracked here only with create_graph=True; the check then costs its time.
        return (refuse_twice if torch.is_grad_enabled() else backward)(ctx, *grads)

    members = {"forward": staticmethod(run), "backward": staticmethod(run_backward)}
    eager: Any = type(name.split("::")[1], (torch.autograd.Function,), members)

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling() or type(arguments[0]) not in (
            Tensor,
            torch.nn.Parameter,
        ):
            return operator(*arguments)
        return eager.apply(*arguments)

    return call
