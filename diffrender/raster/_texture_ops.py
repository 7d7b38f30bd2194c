"""The texture kernels as torch operators; see `_native_ops.py` for how they work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender.native import kernel_threads
from diffrender.native.operators import once, plain
from diffrender.raster._native_ops import check_status, define, kernel, library

__all__ = ["ops"]

_LOOKUP = "Tensor texture, Tensor mips, Tensor uv, Tensor? level, bool repeat"
_ARGUMENTS = "iiiiiii pp pp"


def _lookup(
    texture: Tensor,  # (T, h, w, C)
    mips: Tensor,  # (T, texels of the smaller levels, C)
    uv: Tensor,  # (T, N, 2)
    level: Tensor | None,  # (T, N)
    repeat: bool,
) -> list[int | None]:
    """The arguments that both kernels begin with."""
    return [
        *texture.shape,
        mips.shape[1],
        uv.shape[1],
        repeat,
        uv.data_ptr(),
        None if level is None else level.data_ptr(),
        texture.data_ptr(),
        mips.data_ptr(),
    ]


def _fake(texture: Tensor, mips: Tensor, uv: Tensor, level: Tensor | None, repeat: bool) -> Tensor:
    return texture.new_empty((*uv.shape[:2], texture.shape[-1]))


def _forward(*lookup: Any) -> Tensor:
    out = _fake(*lookup)
    run = kernel("sample_texture", f"{_ARGUMENTS} i p", out.dtype)
    check_status(run(*_lookup(*lookup), kernel_threads(), out.data_ptr()))
    return out


def _backward(
    texture: Tensor,
    mips: Tensor,
    uv: Tensor,
    level: Tensor | None,
    repeat: bool,
    grad: Tensor,
    want_texels: bool,
    want_uv: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    nothing = grad.new_empty(0)
    grad_texture = torch.zeros_like(texture) if want_texels else nothing
    grad_mips = torch.zeros_like(mips) if want_texels else nothing
    grad_uv = torch.empty_like(uv) if want_uv else nothing
    grad_level = torch.empty_like(level) if want_uv and level is not None else nothing
    run = kernel("sample_texture_backward", f"{_ARGUMENTS} p i pppp", grad.dtype)
    status = run(
        *_lookup(texture, mips, uv, level, repeat),
        grad.data_ptr(),
        kernel_threads(),
        grad_texture.data_ptr() if want_texels else None,
        grad_mips.data_ptr() if want_texels else None,
        grad_uv.data_ptr() if want_uv else None,
        grad_level.data_ptr() if want_uv and level is not None else None,
    )
    check_status(status)
    return grad_texture, grad_mips, grad_uv, grad_level


def _backward_fake(
    texture: Tensor,
    mips: Tensor,
    uv: Tensor,
    level: Tensor | None,
    repeat: bool,
    grad: Tensor,
    want_texels: bool,
    want_uv: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    nothing = grad.new_empty(0)
    return (
        torch.empty_like(texture) if want_texels else nothing,
        torch.empty_like(mips) if want_texels else nothing,
        torch.empty_like(uv) if want_uv else nothing,
        torch.empty_like(level) if want_uv and level is not None else nothing,
    )


define(f"sample_texture({_LOOKUP}) -> Tensor", _forward, _fake)
define(
    f"sample_texture_backward({_LOOKUP}, Tensor grad, bool want_texels, bool want_uv) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _backward_fake,
)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    texture, mips, uv, level, ctx.repeat = inputs
    ctx.save_for_backward(texture, mips, uv, level)


def _grad(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    base, rest, place, between, _ = ctx.needs_input_grad
    grads = torch.ops.diffrender.sample_texture_backward(
        *ctx.saved_tensors, ctx.repeat, plain(grad), base or rest, place or between
    )
    wanted = (base, rest, place, between)
    return *(g if w else None for g, w in zip(grads, wanted, strict=True)), None


torch.library.register_autograd(
    "diffrender::sample_texture", once(_grad), setup_context=_setup, lib=library
)

ops = torch.ops.diffrender
