"""Texture look-up."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import DOUBLE, weights

from diffrender.errors import InputError
from diffrender.raster import sample_texture


def test_convention_texel_centres_lie_at_half() -> None:
    texture = weights(torch.Size((3, 4, 2)))
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    uv = torch.stack([(columns + 0.5) / 4, (rows + 0.5) / 3], dim=-1).double()
    torch.testing.assert_close(sample_texture(texture, uv), texture)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, -1.0]], dtype=DOUBLE)
    wanted = torch.stack([texture[0, 0], texture[0, 3], texture[2, 0], texture[0, 3]])
    torch.testing.assert_close(sample_texture(texture, corners), wanted)
    between = torch.tensor([0.5, 0.5], dtype=DOUBLE)
    torch.testing.assert_close(
        sample_texture(texture, between), (texture[1, 1] + texture[1, 2]) / 2
    )


def test_gradcheck() -> None:
    texture = weights(torch.Size((3, 4, 2))).requires_grad_()
    uv = (weights(torch.Size((5, 2)), 1) * 0.5 + 0.21).requires_grad_()
    assert torch.autograd.gradcheck(sample_texture, (texture, uv), eps=1e-7)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match="uv has shape"):
        sample_texture(torch.zeros(3, 4, 2), torch.zeros(5, 3))
    with pytest.raises(InputError, match="texture is torch"):
        sample_texture(torch.zeros(3, 4, 2), torch.zeros(5, 2, dtype=DOUBLE))
