"""The inverse of lens distortion near the rim of the valid disc, where tangential terms matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.lens import distort, undistort, valid_radius

DOUBLE = torch.float64


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


# Tangential terms that put points inside the rim at seen radii that no radius alone reaches.
TANGENTIAL = [
    [-0.3728755, 0.2037299, 0.002219027, 0.001383707, -0.07233722],  # a KITTI camera's
    [-0.3, 0.0, 1e-3, 1e-3],
    [-0.25, 0.02, -2e-3, 1e-3, 0.0, 0.05, -0.01, 0.0],
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(TANGENTIAL), st.floats(0, 0.98), st.floats(0, 2 * np.pi), st.booleans())
def test_undistort_finds_what_lies_inside_the_valid_radius(
    lens: list[float], share: float, angle: float, single: bool
) -> None:
    k = tensor(lens).to(torch.float32 if single else DOUBLE)
    points = share * valid_radius(k) * tensor([[np.cos(angle), np.sin(angle)]]).to(k)
    seen = distort(points, k)
    back = undistort(seen, k)
    assert float((distort(back, k) - seen).abs().max()) < (1e-5 if single else 1e-12)
    assert float((back - points).abs().max()) < (1e-3 if single else 1e-9)


@pytest.mark.parametrize("lens", TANGENTIAL)
def test_undistort_is_right_across_the_rim(lens: list[float]) -> None:
    """All around, from well inside to well outside; near the rim two points may look the same."""
    share, angle = torch.meshgrid(
        torch.linspace(0.9, 1.1, 41, dtype=DOUBLE),
        torch.linspace(0, 6.28, 90, dtype=DOUBLE),
        indexing="ij",
    )
    radius, k = share * valid_radius(tensor(lens)), tensor(lens)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], -1).flatten(0, 1)
    seen = distort(points, k).requires_grad_()
    back = undistort(seen, k)
    assert float((distort(back, k) - seen).detach().abs().max()) < 1e-12
    (grad,) = torch.autograd.grad(back.sum(), seen)
    assert bool(torch.isfinite(grad).all())
    # Together with others, or alone, or as one of many lenses: the same point.
    assert torch.equal(undistort(seen[:7], k), back[:7])
    assert torch.equal(undistort(seen.expand(2, -1, -1), k.expand(2, -1))[1], back)


def test_unproject_near_the_rim_of_a_kitti_lens() -> None:
    k = tensor([[960.0, 0.0, 700.0], [0.0, 960.0, 256.0], [0.0, 0.0, 1.0]])
    ours = Camera(
        k, torch.eye(3, dtype=DOUBLE), torch.zeros(3, dtype=DOUBLE), (512, 1392),
        tensor(TANGENTIAL[0]),
    )  # fmt: skip
    point = tensor([[-1.8803597523, 5.3279214711, 5.0]])
    back = ours.unproject(*ours.project(point))
    assert float((back - point).abs().max()) < 1e-9
