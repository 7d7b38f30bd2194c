"""The picture of a derivative by backpropagation: how every pixel changes with one scalar."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.evaluate.moves import Move
from diffrender.catalogue.registry import Technique
from diffrender.catalogue.scene import Rendering, Scene

__all__ = ["GradientPictures", "every", "gradient_pictures", "stacked"]


_COARSEST = 8  # of the strides: with fewer pixels a cosine says little


@dataclass(frozen=True)
class GradientPictures:
    """What a technique's backward pass says of every pixel, for K moves at once.

    Attributes:
        pictures: (K, H / stride, W / stride, 4), of red, green, blue and the silhouette, at the
            pixels that `every` keeps of the whole picture.
        stride: 1 where every pixel was asked, 2 where every second one of each row and column.
        linear: whether backward is linear in the incoming gradient. Where it is not, the mean of
            the answers to an incoming gradient of +1 and (with its sign turned) of -1.
    """

    pictures: Tensor  # (K, H / stride, W / stride, 4)
    stride: int
    linear: bool


def stacked(rendering: Rendering) -> Tensor:
    """(H, W, 4): the image's channels, then the silhouette."""
    return torch.cat([rendering.image, rendering.silhouette[..., None]], dim=-1)


def gradient_pictures(
    technique: Technique,
    prepared: Scene,
    camera: Camera,
    moves: Sequence[Move],
    *,
    seconds: float = 60.0,
) -> GradientPictures:
    """Derivatives of the picture along moves, as the technique's backward pass has them.

    Backward gives u -> <u, dI/dt>, which is linear in the incoming picture u: its own derivative to
    u is the picture dI/dt, one more backward pass. That is believed only where it answers fresh
    random u as backward does. Elsewhere (kernels without second derivatives, rules that look at
    the sign of u) every pixel is asked by itself, or every second, fourth or eighth of each row
    and column where all of them would take more than about `seconds`.

    Args:
        prepared: the scene as `technique.prepare` returned it.
        seconds: of patience with pixels asked one by one.
    """
    t = torch.zeros(len(moves), requires_grad=True, dtype=torch.float64)
    for number, move in enumerate(moves):
        prepared, camera = move.apply(prepared, camera, t[number])
    picture = stacked(technique.render(prepared, camera))
    if not picture.requires_grad:
        return GradientPictures(picture.new_zeros(len(moves), *picture.shape), 1, True)
    generator = torch.Generator().manual_seed(1)
    u = [torch.randn(picture.shape, generator=generator).to(picture) for _ in range(2)]
    answers = [_backward(picture, t, each) for each in u]
    twice = _double_backward(picture, t)
    if twice is not None and all(
        _near((twice * each).sum((1, 2, 3)), answer)
        for each, answer in zip(u, answers, strict=True)
    ):
        return GradientPictures(twice, 1, True)
    linear = _near(_backward(picture, t, u[0] + u[1]), answers[0] + answers[1])
    return _one_by_one(picture, t, linear, seconds)


def every(stride: int, picture: Tensor) -> Tensor:  # (H, W, ...)
    """The pixels in the middle of squares of `stride` pixels, (H / stride, W / stride, ...)."""
    height, width = picture.shape[0] // stride, picture.shape[1] // stride
    return picture[stride // 2 :: stride, stride // 2 :: stride][:height, :width]


def _backward(picture: Tensor, t: Tensor, u: Tensor) -> Tensor:
    found = torch.autograd.grad(picture, t, u, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(t) if found is None else found


def _double_backward(picture: Tensor, t: Tensor) -> Tensor | None:
    """(K, H, W, 4), or None where the graph of the backward pass cannot be followed."""
    u = torch.zeros_like(picture, requires_grad=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch warns of kernels without second derivatives
            (answer,) = torch.autograd.grad(picture, t, u, create_graph=True)
            pictures = [
                torch.autograd.grad(one, u, retain_graph=True, allow_unused=True)[0]
                for one in answer
            ]
    except (RuntimeError, UserWarning):  # once_differentiable, or a backward pass without a graph
        return None
    return torch.stack([torch.zeros_like(u) if p is None else p for p in pictures]).detach()


def _near(found: Tensor, expected: Tensor) -> bool:
    """To a thousandth of the largest: rounding adds up over a picture."""
    size = expected.abs().max().clamp(min=1e-12)
    return bool(((found.to(expected) - expected).abs() <= 1e-3 * size).all())


def _one_by_one(picture: Tensor, t: Tensor, linear: bool, seconds: float) -> GradientPictures:
    height, width, channels = picture.shape
    signs = (1.0,) if linear else (1.0, -1.0)
    u = torch.zeros_like(picture)
    u[0, 0, 0] = 1
    start = time.perf_counter()
    _backward(picture, t, u)
    each = time.perf_counter() - start
    u[0, 0, 0] = 0
    stride, asked = 1, each * height * width * channels * len(signs)
    while stride < min(height, width, _COARSEST) and asked / stride**2 > seconds:
        stride *= 2
    rows, columns = height // stride, width // stride
    out = picture.new_zeros(len(t), rows, columns, channels)
    chosen = every(stride, u)  # a view
    for row in range(rows):
        for column in range(columns):
            for channel in range(channels):
                for sign in signs:
                    chosen[row, column, channel] = sign
                    answer = _backward(picture, t, u)
                    out[:, row, column, channel] += (sign / len(signs) * answer).to(out)
                chosen[row, column, channel] = 0
    return GradientPictures(out, stride, linear)
