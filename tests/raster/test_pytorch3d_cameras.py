"""Cameras to PyTorch3D and back: the same pixels, axes and rows, and what cannot be said there."""

from __future__ import annotations

import types

import pytest
import torch
from pytorch3d_cases import posed, their_ndc
from raster_scenes import DOUBLE, pinhole, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.raster import pytorch3d as bridge


@pytest.mark.parametrize("space", ["ndc", "screen"])
def test_convention_the_same_point_falls_on_the_same_pixel(space: str) -> None:
    camera = posed()
    points = weights(torch.Size((20, 3)), 1) - 0.5
    ndc = their_ndc(bridge.perspective(camera, space), points)  # type: ignore[arg-type]
    # Pixel i of N has its centre at NDC 1 - (2 i + 1) / N on the shorter side, so pixel
    # coordinate x = (W - s ndc_x) / 2 with s the shorter side.
    theirs = (torch.tensor([72.0, 40.0]).double() - 40.0 * ndc) / 2
    torch.testing.assert_close(theirs, camera.project(points)[0])


def test_convention_camera_axes_and_rows() -> None:
    """A point to the right and below is at negative x and y in their camera frame."""
    camera = pinhole((40, 72))
    numbers = bridge.perspective(camera)
    view = torch.tensor([[1.0, 2.0, 5.0]], dtype=DOUBLE) @ numbers.R[0] + numbers.T[0]
    assert view.tolist() == [[-1.0, -2.0, 5.0]]


@pytest.mark.parametrize("space", ["ndc", "screen"])
def test_cameras_come_back(space: str) -> None:
    camera = posed()
    back = bridge.from_cameras(bridge.perspective(camera, space))  # type: ignore[arg-type]
    torch.testing.assert_close(back.intrinsics, camera.intrinsics.expand(2, 3, 3))
    torch.testing.assert_close(back.rotation, camera.rotation)
    torch.testing.assert_close(back.translation, camera.translation)
    assert back.size == camera.size


def test_gradients_pass_through_cameras() -> None:
    base = posed()

    def both(numbers: Tensor, shift: Tensor) -> tuple[Tensor, ...]:
        fx, cx, fy, cy = numbers
        zero = torch.zeros_like(fx)
        rows = [torch.stack([fx, zero, cx]), torch.stack([zero, fy, cy]), base.intrinsics[2]]
        theirs = bridge.perspective(Camera(torch.stack(rows), base.rotation, shift, base.size))
        back = bridge.from_cameras(theirs)
        return theirs.focal_length, theirs.principal_point, theirs.T, back.intrinsics

    numbers = torch.tensor([70.0, 33.5, 80.0, 19.25], dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(both, (numbers, base.translation.requires_grad_()), eps=1e-6)


def test_what_theirs_cannot_say_is_refused() -> None:
    camera = posed()
    skewed = camera.intrinsics.clone()
    skewed[0, 1] = 1.0
    with pytest.raises(InputError, match="no skew"):
        bridge.perspective(Camera(skewed, camera.rotation, camera.translation, camera.size))
    lens = torch.zeros(5, dtype=DOUBLE)
    with pytest.raises(InputError, match="no lens distortion"):
        bridge.perspective(
            Camera(camera.intrinsics, camera.rotation, camera.translation, camera.size, lens)
        )
    with pytest.raises(InputError, match="space is 'clip'"):
        bridge.perspective(camera, "clip")  # type: ignore[arg-type]
    numbers = bridge.perspective(camera)
    no_size = types.SimpleNamespace(
        **{**vars(numbers), "image_size": None, "in_ndc": numbers.in_ndc}
    )
    with pytest.raises(InputError, match="no image_size"):
        bridge.from_cameras(no_size)
    assert bridge.from_cameras(no_size, (40, 72)).size == (40, 72)
    with pytest.raises(InputError, match="4x4 K"):
        bridge.from_cameras(types.SimpleNamespace(K=torch.eye(4)))
