"""Derivatives of texture coordinates across the image, and the footprints that follow."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import DOUBLE, EACH_BACKEND, FACES, VERTICES, pinhole, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.raster import interpolate, interpolate_derivatives, rasterize, sample_texture


@pytest.mark.parametrize("corners", [False, True])
def test_derivatives_against_finite_differences(corners: bool) -> None:
    """Moving the principal point by a step looks at the face a step further on."""
    mesh = Mesh(VERTICES, FACES)
    camera = pinhole((24, 26), focal=30.0)
    values = weights(torch.Size((2, 3, 2) if corners else (4, 2)))
    found = rasterize(mesh, camera, layers=2)
    got = interpolate_derivatives(values, found)
    assert got.shape == (24, 26, 2, 2)
    step = 1e-5
    for axis in range(2):
        shift = torch.zeros_like(camera.intrinsics)
        shift[axis, 2] = step
        images, same = [], found.face[..., 0] >= 0
        for sign in (1, -1):
            moved = rasterize(
                mesh,
                Camera(
                    camera.intrinsics - sign * shift,
                    camera.rotation,
                    camera.translation,
                    camera.size,
                ),
            )
            images.append(interpolate(values, moved))
            same &= moved.face[..., 0] == found.face[..., 0]
        wanted = (images[0] - images[1]) / (2 * step)
        assert int(same.sum()) > 100
        assert float((got[..., axis] - wanted)[same].abs().max()) < 1e-7
    assert bool((got[found.face[..., 0] < 0] == 0).all())
    with pytest.raises(InputError, match="layer is 2"):
        interpolate_derivatives(values, found, 2)
    with pytest.raises(InputError, match="attributes has 5 rows"):
        interpolate_derivatives(weights(torch.Size((5, 2))), found)


def test_gradcheck_derivatives() -> None:
    base = pinhole((6, 7), focal=7.0)

    def slopes(values: Tensor, vertices: Tensor, rows: Tensor, shift: Tensor) -> Tensor:
        k = torch.cat([rows, base.intrinsics[2:]])
        found = rasterize(Mesh(vertices, FACES), Camera(k, base.rotation, shift, base.size))
        return interpolate_derivatives(values, found)

    inputs = (weights(torch.Size((4, 2))), VERTICES, base.intrinsics[:2], base.translation + 0.1)
    leaves = tuple(t.detach().clone().requires_grad_() for t in inputs)
    assert torch.autograd.gradcheck(slopes, leaves, eps=1e-7, atol=1e-5)


def test_no_gradient_of_derivatives_comes_through_silhouettes() -> None:
    """A slope of 10 / (right - left) at each of the pixels that are hit, and no more of them."""
    right = torch.tensor(9.3, dtype=DOUBLE, requires_grad=True)
    left, one = torch.tensor(2.2, dtype=DOUBLE), torch.ones((), dtype=DOUBLE)
    places = [(left, 0.7), (right, 0.7), (right, 6.6), (left, 6.6)]
    vertices = torch.stack([torch.stack([x, y * one, one]) for x, y in places])
    mesh = Mesh(vertices, torch.tensor([[0, 2, 1], [0, 3, 2]]))
    values = torch.tensor([[0.0], [10.0], [10.0], [0.0]], dtype=DOUBLE)
    found = rasterize(mesh, pinhole((8, 12), focal=1.0, centre=(0.0, 0.0)))
    total = interpolate_derivatives(values, found)[..., 0, 0].sum()
    hit = float(found.mask().sum())
    assert hit == 7 * 6
    assert float(total.detach()) == pytest.approx(hit * 10 / 7.1)
    (grad,) = torch.autograd.grad(total, right)
    assert float(grad) == pytest.approx(-hit * 10 / 7.1**2)


@EACH_BACKEND
def test_a_far_checkerboard_fades_to_grey(backend: str) -> None:
    """Without mip maps a distant floor is noise; with its footprint it is the mean."""
    rows = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    texture = rows[..., None].double()
    floor = torch.tensor([[-40, 1, 2], [40, 1, 2], [-40, 1, 90], [40, 1, 90]], dtype=DOUBLE)
    uv = floor[:, ::2] / 2.13 + 0.017
    found = rasterize(Mesh(floor, torch.tensor([[0, 2, 1], [1, 2, 3]])), pinhole((48, 48), 60.0))
    place, footprint = interpolate(uv, found), interpolate_derivatives(uv, found)
    image = sample_texture(texture, place, footprint=footprint, wrap="repeat", backend=backend)
    far = (found.face[..., 0] >= 0) & (found.depth[..., 0] > 20)
    assert int(far.sum()) > 50
    noisy = sample_texture(texture, place, wrap="repeat", backend=backend)
    assert float((image[far] - 0.5).abs().max()) < 0.01
    assert float((noisy[far] - 0.5).abs().max()) > 0.1
