"""How a C++ kernel becomes a torch operator: fast in eager mode, an ordinary operator elsewhere.

Every kernel is registered with `torch.library` as `diffrender::...`, with a fake version and a
gradient, so that torch.compile and torch.export see it. In eager mode the same Python functions
run under a plain `torch.autograd.Function`: the dispatcher would cost more than a small image.
Tensors arrive contiguous, on the CPU, all floating ones in one dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.native import signature

__all__ = [
    "NotFiniteError",
    "check_status",
    "define",
    "differentiable",
    "kernel",
    "library",
    "pointer",
]

_NOT_FINITE, _BAD_INDEX, _NO_MEMORY = 1, 2, 3


class NotFiniteError(InputError):
    """A projected vertex is NaN or infinite; the caller finds out which tensor brought it."""


@functools.cache
def kernel(name: str, arguments: str, dtype: torch.dtype) -> Callable[..., int]:
    """The C++ function of that name for a dtype; `arguments` as `native.signature` takes them."""
    suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    return signature(f"diffrender_{name}_{suffix}", arguments)


def check_status(status: int, culprit: int | None = None) -> None:
    """Raise what a kernel's status stands for; 0 is success."""
    if status == _NOT_FINITE:
        raise NotFiniteError("a projected vertex is NaN or infinite")
    if status == _BAD_INDEX:
        where = "" if culprit is None else f" (packed face {culprit})"
        raise InputError(
            f"meshes.faces points outside its own mesh's vertices{where}; "
            f"check faces, vertex_offsets and face_offsets"
        )
    if status == _NO_MEMORY:
        raise MemoryError("the native rasterizer ran out of memory")


def pointer(tensor: Tensor | None) -> int | None:
    """Address of a tensor's data, None for no tensor."""
    return None if tensor is None else tensor.data_ptr()


library = torch.library.Library("diffrender", "FRAGMENT")


def define(schema: str, cpu: Callable[..., Any], fake: Callable[..., Any]) -> str:
    """Register an operator with its CPU and fake versions; returns its qualified name."""
    name = "diffrender::" + schema.split("(")[0]
    library.define(schema)
    library.impl(schema.split("(")[0], cpu, "CPU")
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
