"""Tensors that are not stored as they read: signs kept in a bit, rows apart from each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from raster_scenes import BACKENDS, FACES, VERTICES, pinhole
from torch import Tensor

from diffrender.meshes import Mesh
from diffrender.raster import antialias, interpolate, rasterize, render_attributes, sample_texture

CAMERA = pinhole((24, 28))
COLOURS = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TEXTURE = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def negative(tensor: Tensor) -> Tensor:
    """The same numbers, stored with the other sign."""
    view = torch._neg_view(-tensor)
    assert view.is_neg() and torch.equal(view, tensor)
    return view


def apart(tensor: Tensor) -> Tensor:
    """The same numbers in every other row of a larger tensor."""
    view = torch.stack([tensor, tensor + 7], dim=1)[:, 0]
    assert not view.is_contiguous() and torch.equal(view, tensor)
    return view


def picture(stored: Callable[[Tensor], Tensor], backend: str) -> list[Tensor]:
    """What all functions make of a scene and, with gradients taken, of its leaves."""
    vertices, colours, texture = (t.clone().requires_grad_() for t in (VERTICES, COLOURS, TEXTURE))
    mesh = Mesh(stored(vertices), FACES)
    fragments = rasterize(mesh, CAMERA, backend=backend)
    colour = interpolate(stored(colours), fragments, backend=backend)
    smooth = antialias(stored(colour), fragments, mesh, CAMERA, backend=backend)
    at_once = render_attributes(stored(colours), mesh, CAMERA, backend=backend)
    uv = 0.5 + 0.2 * colour[..., :2]
    sampled = sample_texture(stored(texture), stored(uv), backend=backend)
    images = [colour, smooth, at_once, sampled]
    weight = torch.linspace(-1, 1, smooth.numel(), dtype=torch.float64).view(smooth.shape)
    grads = torch.autograd.grad(images, (vertices, colours, texture), [stored(weight)] * 4)
    return [*images, *grads]


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b in ("native", "torch")])
@pytest.mark.parametrize("stored", [negative, apart])
def test_pictures_do_not_hang_on_how_numbers_are_stored(
    stored: Callable[[Tensor], Tensor], backend: str
) -> None:
    got, expected = picture(stored, backend), picture(lambda t: t, backend)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
