"""What has first derivatives only says so when a second one is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.raster import (
    SoftShading,
    interpolate,
    rasterize,
    rasterize_points,
    sample_texture,
    soft_shade,
    soft_silhouette,
)

K = torch.tensor([[30.0, 0, 16], [0, 30, 16], [0, 0, 1]], dtype=torch.float64)
CAMERA = Camera.from_intrinsics(K, (32, 32), pixel_centres="half")
CORNERS = torch.tensor([[-1.0, -1, 4], [1.3, -1, 3.1], [0, 1, 5]], dtype=torch.float64)
FACE = torch.tensor([[0, 1, 2]])
COLOURS = torch.eye(3, dtype=torch.float64)
TEXTURE = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0)).double()

DRAWN: dict[str, Callable[[Tensor, str], Tensor]] = {
    "depth": lambda v, b: rasterize((v, FACE), CAMERA, backend=b).depth,
    "interpolate": lambda v, b: interpolate(
        COLOURS, rasterize((v, FACE), CAMERA, backend=b), backend=b
    ),
    "silhouette": lambda v, b: soft_silhouette((v, FACE), CAMERA, sigma=1e-2, backend=b),
    "shade": lambda v, b: soft_shade(
        COLOURS, (v, FACE), CAMERA, settings=SoftShading(sigma=1e-2, gamma=1e-1), backend=b
    ),
    "points": lambda v, b: rasterize_points(v, CAMERA, radius=3.0, backend=b).squared_distance,
}


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("name", list(DRAWN))
def test_second_derivatives_are_refused_and_not_taken_for_zero(name: str, backend: str) -> None:
    v = CORNERS.clone().requires_grad_()
    loss = DRAWN[name](v, backend).square().sum() + v.square().sum()
    (first,) = torch.autograd.grad(loss, v, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(first.sum(), v, retain_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        first.sum().backward()
    (plain,) = torch.autograd.grad(
        DRAWN[name](v, backend).square().sum() + v.square().sum(), v
    )  # and the first ones are what they are without
    torch.testing.assert_close(first.detach(), plain)


def test_second_derivatives_of_the_native_lookup_are_refused() -> None:
    uv = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    (first,) = torch.autograd.grad(
        sample_texture(TEXTURE, uv, backend="native").square().sum(), uv, create_graph=True
    )
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(first.sum(), uv)
